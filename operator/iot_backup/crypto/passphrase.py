"""age's scrypt recipient: a file that a passphrase opens. Only key files are sealed so; `age -d` asks for the passphrase."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from iot_backup.crypto.age_header import FILE_KEY, Stanza, b64, unb64
from iot_backup.errors import CorruptData, Internal, KeyMissing, WrongKey

KIND = "scrypt"
LOG_N = 18
"""Work factor of what we write, age's own: 256 MiB and about a second. Also the most we read: a forged file must not ask for more."""
_SALT = 16
_TAG = 16
_LABEL = b"age-encryption.org/v1/scrypt"
_FACTOR = re.compile(r"[1-9][0-9]?")
_CHILD = Path(__file__).with_name("scrypt_child.py")
_ZERO = bytes(12)
"""Nonce: each wrapping key is used once."""


@dataclass(frozen=True)
class Passphrase:
    """Seals and opens key files."""

    text: bytes = field(repr=False)

    @classmethod
    def cleaned(cls, raw: bytes) -> Passphrase:
        """From a file's bytes, without one newline at the end, since nobody can type that one. KeyMissing if nothing is left."""
        text = raw.removesuffix(b"\n").removesuffix(b"\r")
        if not text.strip():
            raise KeyMissing("the passphrase is empty: put one into its Secret, from a password generator, and keep a copy elsewhere")
        if b"\n" in text or b"\r" in text or b"\0" in text:
            raise KeyMissing("the passphrase has several lines or a zero byte: `age -d` could never be told it. Use one line of text.")
        return cls(text)

    def wrapped(self, file_key: bytes) -> Stanza:
        """The file key, sealed with this passphrase."""
        salt = os.urandom(_SALT)
        key = _scrypt(self.text, salt, LOG_N)
        return Stanza((KIND, b64(salt), str(LOG_N)), ChaCha20Poly1305(key).encrypt(_ZERO, file_key, None))

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes:
        """The file key of a key file. WrongKey if the passphrase is another; CorruptData if the stanza is not one to try."""
        found = [stanza for stanza in stanzas if stanza.arguments[0] == KIND]
        if not found:
            raise WrongKey("this file is sealed to age recipients, and a passphrase was given")
        if len(stanzas) > 1 or len(found[0].arguments) != 3 or len(found[0].body) != FILE_KEY + _TAG:
            raise CorruptData("the age header is malformed: a passphrase stanza must be alone, and of one form")
        salt, factor = unb64(found[0].arguments[1]), found[0].arguments[2]
        if len(salt) != _SALT or not _FACTOR.fullmatch(factor) or int(factor) > LOG_N:
            raise CorruptData(f"the passphrase stanza has another salt, or a work factor ({factor[:8]}) beyond {LOG_N}, the most we write")
        try:
            return ChaCha20Poly1305(_scrypt(self.text, salt, int(factor))).decrypt(_ZERO, found[0].body, None)
        except InvalidTag:
            raise WrongKey(
                "the passphrase does not open this key file: it is another one than when the file was made. Put that one back"
            ) from None


def _scrypt(passphrase: bytes, salt: bytes, log_n: int) -> bytes:
    """The wrapping key, from a child that takes the memory with it when it exits."""
    order = f"{(_LABEL + salt).hex()}\n{log_n}\n{passphrase.hex()}\n".encode()
    done = subprocess.run([sys.executable, "-I", "-S", str(_CHILD)], input=order, capture_output=True, check=False)  # noqa: S603
    if done.returncode or len(done.stdout) != 32:
        raise Internal(
            f"the passphrase could not be tried: scrypt ended with {done.returncode}. It needs {(1 << log_n) // 1024} MiB for a second: "
            "raise worker.resources.limits.memory by 300Mi"
        )
    return done.stdout
