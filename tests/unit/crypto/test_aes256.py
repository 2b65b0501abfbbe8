"""The cipher AES256: written and read as docs/format.md says, by code of this file's own; never one cipher for the other."""

from __future__ import annotations

import base64
import hashlib
import hmac
import os
import shutil
import subprocess
from io import BytesIO
from pathlib import Path

import pyrage
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from iot_backup.crypto import bech32
from iot_backup.crypto.container import opener, sealer
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.ranged import RangedReader
from iot_backup.crypto.stream import CHUNK
from iot_backup.errors import CorruptData, Internal, WrongKey

from .sealed import IDENTITY, sealed

INTRO = b"iot-backup-operator/aes-256-gcm/v1\n"
SIZES = sorted({n + d for n in (CHUNK, 2 * CHUNK, 16 * CHUNK) for d in (-1, 0, 1)} | {0, 1, 3 * CHUNK + 17})


def hkdf(key: bytes, salt: bytes | None, info: bytes) -> bytes:
    return HKDF(hashes.SHA256(), 32, salt, info).derive(key)


def b64(data: bytes) -> bytes:
    return base64.b64encode(data).rstrip(b"=")


def written(content: bytes, recipient: str, file_key: bytes, nonce: bytes, ephemeral: bytes) -> bytes:
    """A file by the book: nothing of ours but the recipient's spelling."""
    public, secret = bech32.decode(recipient)[1], X25519PrivateKey.from_private_bytes(ephemeral)
    share = secret.public_key().public_bytes_raw()
    wrap = hkdf(secret.exchange(X25519PublicKey.from_public_bytes(public)), share + public, b"age-encryption.org/v1/X25519")
    body = ChaCha20Poly1305(wrap).encrypt(bytes(12), file_key, None)
    head = INTRO + b"-> X25519 " + b64(share) + b"\n" + b64(body) + b"\n---"
    mac = hmac.digest(hkdf(file_key, None, b"header"), head, "sha256")
    payload = AESGCM(hkdf(file_key, nonce, b"payload"))
    chunks = [content[at : at + CHUNK] for at in range(0, len(content), CHUNK)] or [b""]
    sealed_chunks = [
        payload.encrypt(number.to_bytes(11, "big") + bytes([number == len(chunks) - 1]), chunk, None) for number, chunk in enumerate(chunks)
    ]
    return head + b" " + b64(mac) + b"\n" + nonce + b"".join(sealed_chunks)


def read(data: bytes, identity: Identity) -> bytes:
    """A file's content by the book."""
    head, _, rest = data.partition(b"\n--- ")
    mac, payload = rest[:43], rest[44:]
    intro, stanza, body = head.split(b"\n")
    assert intro + b"\n" == INTRO
    share = base64.b64decode(stanza.split(b" ")[2] + b"==")
    secret = X25519PrivateKey.from_private_bytes(identity.secret)
    shared = secret.exchange(X25519PublicKey.from_public_bytes(share))
    wrap = hkdf(shared, share + secret.public_key().public_bytes_raw(), b"age-encryption.org/v1/X25519")
    file_key = ChaCha20Poly1305(wrap).decrypt(bytes(12), base64.b64decode(body + b"=="), None)
    assert b64(hmac.digest(hkdf(file_key, None, b"header"), head + b"\n---", "sha256")) == mac
    key, chunks = AESGCM(hkdf(file_key, payload[:16], b"payload")), payload[16:]
    pieces = [chunks[at : at + CHUNK + 16] for at in range(0, len(chunks), CHUNK + 16)]
    return b"".join(
        key.decrypt(number.to_bytes(11, "big") + bytes([number == len(pieces) - 1]), piece, None) for number, piece in enumerate(pieces)
    )


def opened(data: bytes, identity: Identity = IDENTITY, cipher: str = "AES256", header_sha256: str | None = None) -> bytes:
    end = data.index(b"\n", data.index(b"\n--- ") + 1) + 17
    return opener(BytesIO(data).read, cipher, identity, header_sha256 or hashlib.sha256(data[:end]).hexdigest()).read()


@pytest.mark.parametrize("size", SIZES)
def test_what_we_seal_is_read_by_the_book_and_what_the_book_says_is_opened(size: int) -> None:
    content = os.urandom(size)
    ours = sealed(content, "AES256").data
    assert ours.startswith(INTRO)
    assert read(ours, IDENTITY) == content
    assert opened(ours) == content
    assert opened(written(content, IDENTITY.recipient, os.urandom(16), os.urandom(16), os.urandom(32))) == content


PINNED = Identity(bytes(range(32)))
SMALL = (
    "aW90LWJhY2t1cC1vcGVyYXRvci9hZXMtMjU2LWdjbS92MQotPiBYMjU1MTkgNEZzYTR5SUNTRGdKWC8zdjJHVkdqZHQzc1VzdDBu"
    "VVhYcUNyUXBUNmJYbwpQODJlemc0NjI3RjRBeUFwdThQTGwrK3BKcTk0WldBR0ZGbGNTNldWQWNjCi0tLSBpZW41VGdZSHVISjBJ"
    "bFhpbmlDL2VFVHMreGtxWVR3UzZ3bVJWeHFwR1lvCmRlZmdoaWprbG1ub3BxcnPsH1DXwDrZuJPDh99IAsO8kz1hwLdkQY8qD8ei"
    "bPow847g53I="
)
VECTORS = {
    0: "9d9ff18fca7e3ebc5ff5a787c0ed5a85850b807c1eb66c6e5d5dc478abc0cccc",
    1: "9fc756e7df6c6178a38cff3035bf2b8c9464806f182dba1248727ec82b142449",
    65535: "d15ccc08ee225c0ac53d5ec7838ac74d273f866940984490db2436f79282e297",
    65536: "f82985ded6a41a6d8bf72e0c443bc1dd90c324fc9ee2cb7f8d70710e1ba5126d",
    65537: "76a000b2a5d03ed0b92f50f1f1683fc80266a38d98863b7748d8dfa61f4ad30b",
    131072: "4a3b62b00492ba6a844e857983ef003f6ebf7e00e01aefd091c753f2651ced49",
    200000: "c95df9f19dc40a47bf94c6f41064046840d8d6040659859fa1cb2f2c72efa106",
}
"""Bytes of content to the SHA-256 of the file."""


def pinned(size: int) -> tuple[bytes, bytes]:
    """Content and file of a vector: nothing in it is random."""
    content = hashlib.shake_256(b"content").digest(size)
    return content, written(content, PINNED.recipient, bytes(range(16)), bytes(range(100, 116)), bytes(range(50, 82)))


@pytest.mark.parametrize("size", VECTORS)
def test_the_format_is_fixed_for_ever(size: int) -> None:
    """A change here would make archives of earlier versions unreadable. Each file is known by its SHA-256."""
    content, data = pinned(size)
    assert hashlib.sha256(data).hexdigest() == VECTORS[size]
    assert opened(data, PINNED) == content
    end = data.index(b"\n", data.index(b"\n--- ") + 1) + 17
    ranged = RangedReader(lambda at, n: data[at : at + n], len(data), "AES256", PINNED, hashlib.sha256(data[:end]).hexdigest())
    assert ranged.read(size // 2, 1000) == content[size // 2 : size // 2 + 1000]


def test_the_smallest_vector_byte_for_byte() -> None:
    content, data = pinned(20)
    assert base64.b64encode(data).decode() == SMALL
    assert opened(base64.b64decode(SMALL), PINNED) == content


def test_every_flipped_bit_of_a_small_file_is_noticed() -> None:
    file = sealed(b"forty bytes of content, give or take one", "AES256")
    for at in range(len(file.data)):
        for bit in range(8):
            bad = bytearray(file.data)
            bad[at] ^= 1 << bit
            with pytest.raises(CorruptData):
                opener(BytesIO(bytes(bad)).read, "AES256", IDENTITY, file.header_sha256).read()


@pytest.mark.parametrize("part", ["first line", "kind", "share", "body", "mac", "nonce"])
def test_a_changed_header_fails_by_itself_whatever_hash_is_signed(part: str) -> None:
    """As where the thief's own hash were believed: the MAC, the stanza and the first chunk still object."""
    data = sealed(b"content", "AES256").data
    lines = data.split(b"\n", 4)
    at = {
        "first line": len(INTRO) - 2,
        "kind": len(lines[0]) + 5,
        "share": len(lines[0]) + 15,
        "body": len(lines[0]) + len(lines[1]) + 5,
        "mac": data.index(b"\n--- ") + 9,
        "nonce": data.index(b"\n--- ") + 5 + 44 + 3,
    }[part]
    bad = bytearray(data)
    bad[at] = ord("B") if bad[at] != ord("B") else ord("C")
    with pytest.raises((CorruptData, WrongKey)):
        opened(bytes(bad))


@pytest.mark.parametrize(("made", "other"), [("Age", "AES256"), ("AES256", "Age")])
def test_a_file_with_the_other_ciphers_first_line_is_not_opened_as_either(made: str, other: str) -> None:
    first = {"Age": b"age-encryption.org/v1\n", "AES256": INTRO}
    edited = sealed(b"content", made).data.replace(first[made], first[other])
    with pytest.raises(CorruptData, match="MAC"):
        opened(edited, cipher=other)
    with pytest.raises(CorruptData, match="first line"):
        opened(edited, cipher=made)
    with pytest.raises(CorruptData, match="first line"):
        opened(sealed(b"content", made).data, cipher=other)


@pytest.mark.skipif(shutil.which("age") is None, reason="age(1) is not installed (Debian package age)")
def test_age_refuses_it_by_its_first_line(tmp_path: Path) -> None:
    key = tmp_path / "identity"
    key.write_text(IDENTITY.text)
    data = sealed(b"content", "AES256").data
    for refused, why in ((data, b"unexpected intro"), (data.replace(INTRO, b"age-encryption.org/v1\n"), b"bad header MAC")):
        done = subprocess.run(["age", "-d", "-i", str(key)], input=refused, capture_output=True, check=False)
        assert done.returncode != 0
        assert done.stdout == b""
        assert why in done.stderr
    with pytest.raises(pyrage.DecryptError):
        pyrage.decrypt(data, [pyrage.x25519.Identity.from_str(IDENTITY.text)])


@pytest.mark.parametrize(("recipient", "cipher"), [(None, "AES256"), (None, "Age"), (IDENTITY.recipient, "None")])
def test_nothing_is_sealed_where_recipient_and_cipher_contradict(recipient: str | None, cipher: str) -> None:
    with pytest.raises(Internal, match="contradict"):
        sealer(recipient, cipher)


def test_a_cipher_of_the_future_is_not_guessed() -> None:
    with pytest.raises(CorruptData, match="'AES512' is no cipher that this version knows"):
        sealer(IDENTITY.recipient, "AES512")
