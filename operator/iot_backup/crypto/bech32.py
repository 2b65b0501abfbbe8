"""Bech32 (BIP 173), without its limit of 90 characters: how age writes recipients and identities."""

from __future__ import annotations

_ALPHABET = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
_GENERATOR = (0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)
_CHECKSUM = 6
"""Characters of the checksum."""


def encode(prefix: str, data: bytes) -> str:
    """Lower-case bech32 of `data`."""
    values = _regroup(data, 8, 5, pad=True)
    check = _polymod([*_expanded(prefix), *values, *([0] * _CHECKSUM)]) ^ 1
    values += [check >> 5 * (_CHECKSUM - 1 - i) & 31 for i in range(_CHECKSUM)]
    return f"{prefix}1" + "".join(_ALPHABET[v] for v in values)


def decode(text: str) -> tuple[str, bytes]:
    """Prefix in lower case, and data. ValueError says what is wrong, without quoting the text: it may be a secret."""
    if text != text.lower() and text != text.upper():
        raise ValueError("upper and lower case are mixed")
    prefix, separator, payload = text.lower().rpartition("1")
    if not separator or not prefix or len(payload) < _CHECKSUM:
        raise ValueError("it is too short or has no '1' after its prefix")
    if any(not 33 <= ord(c) <= 126 for c in prefix) or any(c not in _ALPHABET for c in payload):
        raise ValueError("it holds a character that cannot occur there")
    values = [_ALPHABET.index(c) for c in payload]
    if _polymod([*_expanded(prefix), *values]) != 1:
        raise ValueError("its checksum is wrong: it was mistyped or cut")
    return prefix, bytes(_regroup(values[:-_CHECKSUM], 5, 8, pad=False))


def _expanded(prefix: str) -> list[int]:
    return [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix]


def _polymod(values: list[int]) -> int:
    check = 1
    for value in values:
        top = check >> 25
        check = (check & 0x1FFFFFF) << 5 ^ value
        for bit, generator in enumerate(_GENERATOR):
            if top >> bit & 1:
                check ^= generator
    return check


def _regroup(values: bytes | list[int], width: int, to: int, *, pad: bool) -> list[int]:
    """Cut the same bits into groups of another width. Without `pad`, left-over bits must be few and zero."""
    pending = bits = 0
    out = []
    for value in values:
        pending = (pending << width | value) & 0xFFF
        bits += width
        while bits >= to:
            bits -= to
            out.append(pending >> bits & (1 << to) - 1)
    rest = pending & (1 << bits) - 1
    if pad and bits:
        out.append(rest << to - bits)
    elif not pad and (bits >= width or rest):
        raise ValueError("its length or its last character is wrong")
    return out
