"""Signatures and the writer's key. Every signature and derived key has a label of its own, so that none can stand in for another."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass, field
from enum import Enum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from iot_backup.crypto.age_header import derived
from iot_backup.errors import KeyMissing

_DOMAIN = "iot-backup-operator/v1/"


class Purpose(Enum):
    """What a signature says. What is signed: this name, a zero byte, the bytes."""

    MANIFEST = _DOMAIN + "manifest"
    WRITER = _DOMAIN + "writer"
    APPLICANT = _DOMAIN + "applicant"
    REPOSITORY = _DOMAIN + "repository"
    GENERATION = _DOMAIN + "generation"
    DOOMED = _DOMAIN + "doomed"
    HOLD = _DOMAIN + "hold"
    REMOVED = _DOMAIN + "removed"

    def bound(self, message: bytes) -> bytes:
        return self.value.encode() + b"\0" + message


@dataclass(frozen=True)
class SigningKey:
    """An Ed25519 key."""

    seed: bytes = field(repr=False)
    """32 bytes."""

    @property
    def public(self) -> bytes:
        """32 bytes."""
        return self._key.public_key().public_bytes_raw()

    @property
    def _key(self) -> Ed25519PrivateKey:
        return Ed25519PrivateKey.from_private_bytes(self.seed)

    def sign(self, purpose: Purpose, message: bytes) -> bytes:
        """64 bytes."""
        return self._key.sign(purpose.bound(message))


def verified(public: bytes, purpose: Purpose, message: bytes, signature: bytes) -> bool:
    """Whether the holder of `public` signed exactly this message for this purpose. A malformed key or signature verifies nothing."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, purpose.bound(message))
    except (InvalidSignature, ValueError):
        return False
    return True


def key_id(public: bytes) -> str:
    """16 hex digits that name a signing key."""
    return hashlib.sha256(public).hexdigest()[:16]


@dataclass(frozen=True)
class WriterKey:
    """The secret of one cluster's (or site's) writer in one repository: 32 random bytes."""

    secret: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if len(self.secret) != 32:
            raise KeyMissing(f"the writer key has {len(self.secret)} bytes, not 32: delete its Secret and let the operator make a new one")

    @property
    def signing(self) -> SigningKey:
        return SigningKey(self._derived("sign"))

    @property
    def id(self) -> str:
        return key_id(self.signing.public)

    @property
    def block_key(self) -> bytes:
        """32 bytes, for `crypto.blocks`."""
        return self._derived("blocks")

    def passphrase_tag(self, passphrase: bytes) -> str:
        """64 hex digits that change with the passphrase and tell nobody else anything: guesses cannot be tried without this key."""
        return hmac.new(self._derived("passphrase"), passphrase, hashlib.sha256).hexdigest()

    def _derived(self, use: str) -> bytes:
        return derived(self.secret, None, f"{_DOMAIN}writer/{use}".encode())
