"""The container of a state, by its page: written out by hand, and refused wherever it is another one."""

from __future__ import annotations

import hashlib
import os

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from iot_backup.crypto.signing import WriterKey
from iot_backup.crypto.state import StateReader, StateSealer
from iot_backup.errors import CorruptData, Internal
from iot_backup.repository.reading import Pull

WRITER = WriterKey(b"\x17" * 32)
REPOSITORY, BACKUP = "ab" * 16, "cd" * 8
SALT = bytes(range(32))
SIZES = [0, 1, 65535, 65536, 65537, 200_000, 16 * 65536, 16 * 65536 + 1]


def sealed(content: bytes, writer: WriterKey = WRITER, repository: str = REPOSITORY, backup: str = BACKUP) -> bytes:
    sealer = StateSealer(writer, repository, backup, SALT)
    out = bytearray(sealer.room(len(content)))
    end = sealer.feed(content, out, 0)
    return sealer.header + bytes(out[:end]) + sealer.finish()


def opened(
    data: bytes, writer: WriterKey = WRITER, repository: str = REPOSITORY, backup: str = BACKUP, header: bytes | None = None
) -> bytes:
    signed = hashlib.sha256(data[:61] if header is None else header).hexdigest()
    return StateReader(Pull([data]), writer, repository, backup, signed).read()


@pytest.mark.parametrize("size", SIZES)
def test_what_is_sealed_opens(size: int) -> None:
    content = os.urandom(size)
    assert opened(sealed(content)) == content


def test_it_is_as_its_page_says() -> None:
    content = os.urandom(70_000)
    data = sealed(content)
    assert data.startswith(b"iot-backup-operator/state/v1\n" + SALT)
    info = f"iot-backup-operator/v1/state/{REPOSITORY}/{BACKUP}".encode()
    key = ChaCha20Poly1305(HKDF(hashes.SHA256(), 32, SALT, info).derive(WRITER.secret))
    first, second = data[61 : 61 + 65552], data[61 + 65552 :]
    assert key.decrypt(bytes(12), first, None) + key.decrypt(bytes(10) + b"\1\1", second, None) == content


@pytest.mark.parametrize(
    "other",
    [
        {"writer": WriterKey(b"\x18" * 32)},
        {"repository": "ac" * 16},
        {"backup": "ce" * 8},
    ],
)
def test_that_of_another_writer_repository_or_backup_does_not_open(other: dict[str, object]) -> None:
    with pytest.raises(CorruptData):
        opened(sealed(b"content"), **other)  # type: ignore[arg-type]


@pytest.mark.parametrize("at", [0, 28, 29, 60, 61, 100, -1])
def test_a_flipped_bit_is_noticed(at: int) -> None:
    data = bytearray(sealed(b"content" * 100))
    header = bytes(data[:61])
    data[at] ^= 1
    with pytest.raises(CorruptData):
        opened(bytes(data), header=header)


@pytest.mark.parametrize("size", [0, 10, 60, 61, 70, 61 + 65552, -1])
def test_a_cut_state_is_noticed(size: int) -> None:
    data = sealed(os.urandom(100_000))
    with pytest.raises(CorruptData):
        opened(data[:size], header=data[:61])


def test_a_salt_is_as_long_as_it_must_be() -> None:
    with pytest.raises(Internal, match="32 bytes"):
        StateSealer(WRITER, REPOSITORY, BACKUP, b"short")
