"""Signed JSON documents: one file that `jq` opens, and whose exact bytes are signed.

    {
      "format": ...,
      ...
      "signature": "<64 bytes in base64>"
    }

The signed bytes are the file's bytes up to and with the line break before `  "signature"`. What follows has one possible form,
of TAIL bytes, so no byte of the file can change unnoticed: it is either signed or fixed. How they are signed is the matter of `crypto`.
"""

from __future__ import annotations

import base64
import binascii

from iot_backup.errors import CorruptData

SIGNATURE = 64
"""Bytes of an Ed25519 signature."""
_BEFORE = b'  "signature": "'
_AFTER = b'"\n}\n'
_TEXT = 88
"""Characters of the signature in base64."""
TAIL = len(_BEFORE) + _TEXT + len(_AFTER)


def signable(document: str) -> bytes:
    """What to sign: a JSON object, indented by two spaces and with at least one member, left open for one more."""
    if not document.startswith("{\n") or not document.endswith("\n}"):
        raise ValueError("a signed document is a JSON object over several lines")
    return document.removesuffix("\n}").encode() + b",\n"


def closed(signed: bytes, signature: bytes) -> bytes:
    """The file: the signed bytes, the signature, the end."""
    if len(signature) != SIGNATURE:
        raise ValueError("an Ed25519 signature has 64 bytes")
    return signed + _BEFORE + base64.b64encode(signature) + _AFTER


def taken_apart(data: bytes, what: str) -> tuple[bytes, bytes]:
    """The signed bytes and the signature; `what` names the file in messages. CorruptData for anything `closed` would not write."""
    signed, tail = data[:-TAIL], data[-TAIL:]
    text = tail[len(_BEFORE) : -len(_AFTER)]
    try:
        signature = base64.b64decode(text, validate=True)
    except binascii.Error:
        signature = b""
    if not signed.endswith(b",\n") or len(signature) != SIGNATURE or closed(b"", signature) != tail:
        raise CorruptData(f"{what} does not end with a signature as we write it: it was cut off, damaged or edited")
    return signed, signature
