"""Signed documents: valid JSON, and not one byte that is neither signed nor fixed."""

from __future__ import annotations

import base64
import hashlib
import json

import pytest

from iot_backup.core import signed
from iot_backup.errors import CorruptData

DOCUMENT = json.dumps({"format": "x", "list": [1, 2]}, indent=2)


def mark(message: bytes) -> bytes:
    """Stands in for a signature: 64 bytes that change with the message."""
    return hashlib.sha512(message).digest()


def holds(data: bytes) -> bool:
    try:
        body, signature = signed.taken_apart(data, "it")
    except CorruptData:
        return False
    return mark(body) == signature


BODY = signed.signable(DOCUMENT)
FILE = signed.closed(BODY, mark(BODY))


def test_the_file_is_json_with_the_signature_as_last_member() -> None:
    document = json.loads(FILE)
    assert list(document) == ["format", "list", "signature"]
    assert base64.b64decode(document["signature"]) == mark(BODY)
    assert FILE.startswith(BODY)
    assert signed.taken_apart(FILE, "it") == (BODY, mark(BODY))


def test_every_changed_bit_is_noticed() -> None:
    for at in range(len(FILE)):
        for bit in range(8):
            bad = bytearray(FILE)
            bad[at] ^= 1 << bit
            assert not holds(bytes(bad)), (at, bit)


def test_every_removed_or_inserted_byte_is_noticed() -> None:
    for at in range(len(FILE) + 1):
        for byte in b" \n}0A":
            assert not holds(FILE[:at] + bytes([byte]) + FILE[at:]), (at, byte)
        assert at == len(FILE) or not holds(FILE[:at] + FILE[at + 1 :])
        assert at == len(FILE) or not holds(FILE[:at])


@pytest.mark.parametrize("document", ["", "{}", "[]", '{"a": 1}', "{\n}x"])
def test_only_objects_over_several_lines_can_be_signed(document: str) -> None:
    with pytest.raises(ValueError, match="JSON object"):
        signed.signable(document)


def test_only_signatures_of_64_bytes_fit() -> None:
    with pytest.raises(ValueError, match="64 bytes"):
        signed.closed(BODY, b"short")


def test_the_message_names_the_file() -> None:
    with pytest.raises(CorruptData, match=r"^chains/x\.manifest\.json does not end"):
        signed.taken_apart(FILE[:-1], "chains/x.manifest.json")
