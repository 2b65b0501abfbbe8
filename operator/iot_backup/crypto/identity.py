"""The identity of a repository: the age key pair that everything in it is sealed to, and the root key derived from it."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from iot_backup.crypto import bech32, x25519
from iot_backup.crypto.age_header import Stanza, derived
from iot_backup.crypto.signing import SigningKey
from iot_backup.errors import CorruptData, InvalidSpec, WrongKey

_PREFIX = "AGE-SECRET-KEY-"
_ROOT = b"iot-backup-operator/v1/root"
MOST = 64
"""Lines of an identity file."""
_LINE = re.compile(r"^\s*(AGE-SECRET-KEY-1\S+)\s*$", re.MULTILINE)


@dataclass(frozen=True)
class Identity:
    """Opens what was sealed to `recipient`, and what was sealed to it before the repository's identity was renewed."""

    secret: bytes = field(repr=False)
    """32 bytes, X25519."""
    older: tuple[Identity, ...] = field(default=(), repr=False)
    """What was sealed to before, newest first; none of them has older ones itself."""

    @classmethod
    def generated(cls) -> Identity:
        return cls(os.urandom(32))

    @classmethod
    def parsed(cls, text: str) -> Identity:
        """From lines `AGE-SECRET-KEY-1...` with comments between them, as age-keygen writes and `age -i` takes them.

        The first is the identity, the others are its older ones. InvalidSpec, without quoting the text.
        """
        lines = _LINE.findall(text)
        if not 1 <= len(lines) <= MOST:
            raise InvalidSpec(f"an age identity is a line AGE-SECRET-KEY-1..., beside comments; this text has {len(lines)} of them")
        first, *others = [_secret(line) for line in lines]
        return cls(first, tuple(map(cls, others)))

    @property
    def text(self) -> str:
        """AGE-SECRET-KEY-1...: the secret itself."""
        return bech32.encode(_PREFIX.lower(), self.secret).upper()

    @property
    def recipient(self) -> str:
        """age1...: the public half."""
        return bech32.encode("age", self._key.public_key().public_bytes_raw())

    @property
    def alone(self) -> Identity:
        """Without its older ones."""
        return Identity(self.secret)

    @property
    def recipients(self) -> tuple[str, ...]:
        """Of all that it opens, newest first."""
        return self.recipient, *(identity.recipient for identity in self.older)

    @property
    def root(self) -> SigningKey:
        """The key that admits writers: who can open the repository can vouch for them."""
        return SigningKey(derived(self.secret, None, _ROOT))

    @property
    def _key(self) -> X25519PrivateKey:
        return X25519PrivateKey.from_private_bytes(self.secret)

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes:
        """The file key of an age file. WrongKey if it was sealed to others; CorruptData if a stanza is malformed."""
        kinds = [stanza.arguments[0] for stanza in stanzas]
        if "scrypt" in kinds:
            if len(kinds) > 1:
                raise CorruptData("the age header is malformed: a passphrase stanza must be alone")
            raise WrongKey("this file is sealed with a passphrase, and an identity was given")
        keys = [self._key, *(identity._key for identity in self.older)]
        ours = [stanza for stanza in stanzas if stanza.arguments[0] == x25519.KIND]
        found = [x25519.unwrapped(stanza, key) for key in keys for stanza in ours]
        file_key = next((k for k in found if k is not None), None)
        if file_key is None:
            raise WrongKey(f"the identity of {self.recipient} does not open this file: it was sealed to other recipients")
        return file_key


def _secret(line: str) -> bytes:
    """The 32 bytes of a line. InvalidSpec."""
    try:
        prefix, secret = bech32.decode(line)
    except ValueError as error:
        raise InvalidSpec(f"the age identity cannot be read: {error}") from None
    if prefix.upper() != _PREFIX or len(secret) != 32:
        raise InvalidSpec("the age identity cannot be read: it is of another kind or length")
    return secret
