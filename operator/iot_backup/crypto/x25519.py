"""age's X25519 recipients: a stanza that only the holder of one identity can open."""

from __future__ import annotations

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from iot_backup.crypto import bech32
from iot_backup.crypto.age_header import FILE_KEY, Stanza, b64, derived, unb64
from iot_backup.errors import CorruptData, InvalidSpec

KIND = "X25519"
_INFO = b"age-encryption.org/v1/X25519"
_ZERO = bytes(12)
"""Nonce: each wrapping key is used once."""
_TAG = 16


def public_bytes(recipient: str) -> bytes:
    """The 32 bytes of `age1...`. InvalidSpec if it is not an X25519 recipient of age."""
    if recipient.upper().startswith("AGE-SECRET-KEY-"):
        raise InvalidSpec(
            "an age identity (AGE-SECRET-KEY-...) stands where a recipient (age1...) belongs: others can read it now. Make a new one."
        )
    try:
        prefix, data = bech32.decode(recipient)
    except ValueError as error:
        raise InvalidSpec(f"{recipient[:80]!r} is not an age recipient (age1...): {error}. Copy it from age-keygen.") from error
    if recipient != recipient.lower() or prefix != "age" or len(data) != 32:
        raise InvalidSpec(f"{recipient[:80]!r} is not an age recipient (age1...): ssh keys and plugins are not supported. Use age-keygen.")
    return data


def wrapped(recipient: str, file_key: bytes) -> Stanza:
    """The file key, sealed to one recipient. InvalidSpec if no key agreement with it is possible."""
    public = public_bytes(recipient)
    ephemeral = X25519PrivateKey.generate()
    share = ephemeral.public_key().public_bytes_raw()
    try:
        shared = ephemeral.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError as error:
        raise InvalidSpec(f"{recipient!r} is not a usable age recipient: it is a point of low order") from error
    key = derived(shared, share + public, _INFO)
    return Stanza((KIND, b64(share)), ChaCha20Poly1305(key).encrypt(_ZERO, file_key, None))


def unwrapped(stanza: Stanza, secret: X25519PrivateKey) -> bytes | None:
    """The file key; None if this stanza is for another identity. CorruptData if no writer could have made it."""
    if len(stanza.arguments) != 2 or len(stanza.body) != FILE_KEY + _TAG:
        raise CorruptData("the age header is malformed: an X25519 stanza has another length or number of arguments")
    share = unb64(stanza.arguments[1])
    if len(share) != 32:
        raise CorruptData("the age header is malformed: an X25519 share is not 32 bytes")
    try:
        shared = secret.exchange(X25519PublicKey.from_public_bytes(share))
    except ValueError as error:
        raise CorruptData("the age header holds an X25519 share of low order: nobody's honest file has one") from error
    key = derived(shared, share + secret.public_key().public_bytes_raw(), _INFO)
    try:
        return ChaCha20Poly1305(key).decrypt(_ZERO, stanza.body, None)
    except InvalidTag:
        return None
