"""The two ciphers of the container: which first line a file has, and what seals its chunks.

Key, nonce and tag are of the same length, and everything else of the container is the same, so chunks lie at the same places.
The first line is under the header's MAC: a file of one cipher never passes for one of the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305

from iot_backup.errors import CorruptData

Data = bytes | bytearray | memoryview


class Aead(Protocol):
    """A payload's key. May be used by several threads at once."""

    def encrypt(self, nonce: bytes, data: Data, associated_data: None) -> bytes: ...
    def decrypt(self, nonce: bytes, data: Data, associated_data: None) -> bytes: ...
    def encrypt_into(self, nonce: bytes, data: Data, associated_data: None, buf: bytearray | memoryview) -> int: ...
    def decrypt_into(self, nonce: bytes, data: Data, associated_data: None, buf: bytearray | memoryview) -> int: ...


@dataclass(frozen=True)
class Cipher:
    """One of the container's ciphers."""

    name: str
    """As specs and manifests call it."""
    intro: bytes
    """The file's first line."""
    key: Callable[[bytes], Aead]
    """From its 32 bytes. Its nonces have 12 bytes, its tags 16."""


AGE = Cipher("Age", b"age-encryption.org/v1\n", ChaCha20Poly1305)
"""age v1 itself."""
AES256 = Cipher("AES256", b"iot-backup-operator/aes-256-gcm/v1\n", AESGCM)
"""AES-256-GCM. The stanzas still wrap the file key with ChaCha20-Poly1305."""
_BY_NAME = {cipher.name: cipher for cipher in (AGE, AES256)}


def named(name: str) -> Cipher:
    """The cipher of a signed manifest or a repository. CorruptData for one that this version does not know."""
    try:
        return _BY_NAME[name]
    except KeyError:
        raise CorruptData(f"{name[:40]!r} is no cipher that this version knows: use the version that wrote it, or a newer one") from None
