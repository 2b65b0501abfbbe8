"""The container around an archive or index, by cipher: `Age`, `AES256`, or `None` for repositories without encryption.

Whole, from the beginning, through `opener`; pieces out of the middle through `ranged.RangedReader`.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Protocol

from iot_backup.crypto import cipher
from iot_backup.crypto.age import Encryptor, PlainReader, Read, Unwrapper
from iot_backup.errors import CorruptData, Internal, KeyMissing

NO_HEADER_SHA256 = hashlib.sha256(b"").hexdigest()
"""What a plain container's header hashes to: it has none."""


class Sealer(Protocol):
    """Writes a container: `header`, then whatever `feed` puts out, then `finish()`."""

    header: bytes
    header_sha256: str

    def room(self, size: int) -> int: ...
    def feed(self, data: bytes | bytearray | memoryview, out: bytearray | memoryview, pos: int) -> int: ...
    def finish(self) -> bytes: ...


class Opener(Protocol):
    """Reads a container's content. b"" or 0 means the end, and that nothing was cut off as far as the container can tell."""

    header_sha256: str

    def read(self, size: int = -1) -> bytes: ...
    def readinto(self, buffer: bytearray | memoryview) -> int: ...


class PassThrough:
    """A sealer that seals nothing."""

    def __init__(self) -> None:
        self.header = b""
        self.header_sha256 = NO_HEADER_SHA256

    def room(self, size: int) -> int:
        return size

    def feed(self, data: bytes | bytearray | memoryview, out: bytearray | memoryview, pos: int) -> int:
        view = memoryview(data)
        memoryview(out)[pos : pos + len(view)] = view
        return pos + len(view)

    def finish(self) -> bytes:
        return b""


class PassThroughReader:
    """An opener of bytes that were never sealed. Whether they are whole and unchanged, only their SHA-256 in the manifest tells."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self.header_sha256 = NO_HEADER_SHA256

    def read(self, size: int = -1) -> bytes:
        return self._read(size) if size >= 0 else b"".join(iter(lambda: self._read(1 << 20), b""))

    def readinto(self, buffer: bytearray | memoryview) -> int:
        target = memoryview(buffer).cast("B")
        piece = self._read(len(target)) if len(target) else b""
        target[: len(piece)] = piece
        return len(piece)


def sealer(recipient: str | None, name: str) -> Sealer:
    """Seals to the repository's recipient with the cipher of that name; `None` passes through, where the repository has no recipient."""
    if (recipient is None) != (name == "None"):
        raise Internal(f"cipher {name} and recipient {recipient} contradict each other: nothing was written")
    return PassThrough() if recipient is None else Encryptor([recipient], cipher.named(name))


def opener(read: Read, name: str, key: Unwrapper | None, header_sha256: str) -> Opener:
    """Opens what the manifest says was written: `name` (the cipher) and `header_sha256` are the signed ones.

    KeyMissing, WrongKey; CorruptData if the stored bytes begin otherwise.
    """
    if name == "None":
        check_plain(header_sha256)
        return PassThroughReader(read)
    return PlainReader(read, present(key), cipher.named(name), header_sha256=header_sha256)


def check_plain(header_sha256: str) -> None:
    """CorruptData if a manifest signs a header where there is none."""
    if not hmac.compare_digest(header_sha256, NO_HEADER_SHA256):
        raise CorruptData("the manifest gives a plain archive the header of an encrypted one")


def present(key: Unwrapper | None) -> Unwrapper:
    """The key that an encrypted archive needs. KeyMissing."""
    if key is None:
        raise KeyMissing("the archive is encrypted and no key was given: set the passphrase's Secret, or bring identitySecretRef")
    return key
