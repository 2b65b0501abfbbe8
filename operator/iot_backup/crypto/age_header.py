"""The header of an age v1 file (c2sp.org/age): recipient stanzas around a file key, and a MAC over all of it.

A file of another cipher differs in its first line (`cipher.py`), which the MAC covers, too.

Reading is strict: one way to write each value, nothing before, between or behind. It costs an attacker's file no more than
MAX_HEADER bytes and the X25519 operations that fit in them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from iot_backup.crypto.cipher import Cipher
from iot_backup.errors import CorruptData

MAX_HEADER = 16384
"""Bytes of a header we write or read: some 150 recipients. The format itself has no limit."""
FILE_KEY = 16
"""Bytes."""
_MAC_LINE = re.compile(rb"--- ([A-Za-z0-9+/]{43})\n")
_ARGUMENTS = re.compile(rb"-> ([!-~]+(?: [!-~]+)*)\n")
_LINE = 64
"""Columns of a stanza's body; a shorter line ends it."""


@dataclass(frozen=True)
class Stanza:
    """One wrapped copy of the file key."""

    arguments: tuple[str, ...]
    """The first names the kind of recipient."""
    body: bytes

    def encoded(self) -> bytes:
        text = b64(self.body)
        lines = [text[i : i + _LINE] for i in range(0, len(text), _LINE)]
        if len(text) % _LINE == 0:
            lines.append("")
        return f"-> {' '.join(self.arguments)}\n".encode() + "".join(f"{line}\n" for line in lines).encode()


@dataclass(frozen=True)
class Header:
    """A header as read."""

    stanzas: tuple[Stanza, ...]
    signed: bytes
    """What the MAC covers: everything up to and with the dashes."""
    mac: bytes

    def check(self, file_key: bytes) -> None:
        """CorruptData unless the MAC was made with this file key over these very bytes."""
        if not hmac.compare_digest(_mac(file_key, self.signed), self.mac):
            raise CorruptData("the age header was changed after it was written: its MAC does not fit")


def written(stanzas: Sequence[Stanza], file_key: bytes, cipher: Cipher) -> bytes:
    """The header's bytes."""
    signed = cipher.intro + b"".join(stanza.encoded() for stanza in stanzas) + b"---"
    return signed + f" {b64(_mac(file_key, signed))}\n".encode()


def fetched(read: Callable[[int], bytes], cipher: Cipher) -> tuple[bytes, bytes]:
    """Pull until the header is complete: its bytes, and what was pulled beyond it. CorruptData if it never ends."""
    got = b""
    while True:
        begins = got.find(b"\n--- ")
        ends = got.find(b"\n", begins + 1) if begins >= 0 else -1
        if ends >= 0:
            return got[: ends + 1], got[ends + 1 :]
        if not cipher.intro.startswith(got[: len(cipher.intro)]):
            raise _foreign(cipher)
        if len(got) > MAX_HEADER:
            raise CorruptData(f"the age header does not end within {MAX_HEADER} bytes")
        piece = read(4096)
        if not piece:
            raise CorruptData("the age file ends within its header: it was cut off")
        got += piece


def parsed(data: bytes, cipher: Cipher) -> Header:
    """A header's bytes, taken apart. CorruptData says what is wrong."""
    if not data.startswith(cipher.intro):
        raise _foreign(cipher)
    lines = data[len(cipher.intro) :].splitlines(keepends=True) if b"\r" not in data else []
    if len(data) > MAX_HEADER or len(lines) < 3 or not (end := _MAC_LINE.fullmatch(lines[-1])):
        raise CorruptData("the age header is malformed")
    stanzas = []
    position = 0
    while position < len(lines) - 1:
        stanza, position = _stanza(lines, position)
        stanzas.append(stanza)
    return Header(tuple(stanzas), data[: -len(lines[-1]) + 3], unb64(end[1].decode()))


def _foreign(cipher: Cipher) -> CorruptData:
    return CorruptData(f"this is not a file of the cipher {cipher.name}: its first line is not {cipher.intro.decode().strip()!r}")


def _stanza(lines: list[bytes], position: int) -> tuple[Stanza, int]:
    head = _ARGUMENTS.fullmatch(lines[position])
    if head is None:
        raise CorruptData("the age header is malformed: a stanza does not begin with '-> ' and its arguments")
    body = b""
    for at in range(position + 1, len(lines) - 1):
        line = lines[at][:-1]
        body += line
        if len(line) < _LINE:
            return Stanza(tuple(head[1].decode().split(" ")), unb64(body.decode("ascii", "replace"))), at + 1
        if len(line) > _LINE:
            break
    raise CorruptData("the age header is malformed: a stanza's body has no end")


def b64(data: bytes) -> str:
    """Base64 without padding, as age writes it."""
    return base64.b64encode(data).rstrip(b"=").decode()


def unb64(text: str) -> bytes:
    """The bytes of unpadded, canonical base64; CorruptData for any other spelling of them."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if b64(data) != text:
        raise CorruptData("the age header is malformed: a value is not in canonical base64")
    return data


def derived(key: bytes, salt: bytes | None, info: bytes) -> bytes:
    """HKDF-SHA-256, 32 bytes."""
    return HKDF(hashes.SHA256(), 32, salt, info).derive(key)


def _mac(file_key: bytes, signed: bytes) -> bytes:
    return hmac.new(derived(file_key, None, b"header"), signed, hashlib.sha256).digest()
