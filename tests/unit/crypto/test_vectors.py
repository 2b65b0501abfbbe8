"""The public test vectors of the age format: what must open, what must not, and what may be released before a failure."""

from __future__ import annotations

import hashlib
import zlib
from io import BytesIO
from pathlib import Path

import pytest

from iot_backup.crypto.age import PlainReader, Unwrapper
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.errors import CorruptData, WrongKey

VECTORS = Path(__file__).with_name("vectors")
NAMES = sorted(path.name for path in VECTORS.iterdir() if "." not in path.name)
WITHHELD = {
    "stream_no_final_full",
    "stream_no_final_two_chunks_full",
    "stream_trailing_garbage_long",
    "stream_trailing_garbage_short",
    "stream_two_final_chunks",
    "stream_two_final_chunks_full",
    "stream_two_final_chunks_second",
}
"""Here the vector allows the chunk before the failure to be released; we look one byte ahead and keep it back."""
ANSWERS = {
    "success": "success",
    "header failure": "CorruptData",
    "HMAC failure": "CorruptData",
    "payload failure": "CorruptData",
    "no match": "WrongKey",
}


def loaded(name: str) -> tuple[dict[str, str], bytes]:
    head, _, body = (VECTORS / name).read_bytes().partition(b"\n\n")
    facts = dict(line.split(": ", 1) for line in head.decode().splitlines())
    return facts, zlib.decompress(body) if facts.get("compressed") == "zlib" else body


def key_of(facts: dict[str, str]) -> Unwrapper:
    if "passphrase" in facts:
        return Passphrase(facts["passphrase"].encode())
    return Identity.parsed(facts["identity"]) if "identity" in facts else Identity.generated()


def test_all_vectors_are_here() -> None:
    assert len(NAMES) == 92


@pytest.mark.parametrize("name", NAMES)
def test_vector(name: str) -> None:
    facts, sealed = loaded(name)
    expected = facts["expect"]
    released = bytearray()
    outcome = "success"
    try:
        reader = PlainReader(BytesIO(sealed).read, key_of(facts))
        while piece := reader.read(1000):
            released += piece
    except (CorruptData, WrongKey) as error:
        outcome = type(error).__name__
    assert outcome == ANSWERS[expected]
    digest = hashlib.sha256(released).hexdigest()
    assert (digest != facts["payload"]) == (name in WITHHELD) if "payload" in facts else not released
    assert len(released) % 65536 == 0 or outcome == "success"
