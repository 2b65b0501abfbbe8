"""Short tags that tell whether a block of a file is the one of an earlier backup.

They lie in the sealed state alone, and nobody but the writer makes or compares them. So they need no hash that anybody could compute: a
keyed one, AES-256-GMAC, is ten times as fast as SHA-256. Without the key nobody finds two blocks of one tag; with it, one could,
which is why each file's whole content has its SHA-256 besides. The nonce is always the same: what that would give away is in the
tags, which nobody sees.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from iot_backup.crypto.signing import WriterKey

SIZE = 16
"""Bytes of a tag."""
_NONCE = bytes(12)


class BlockTags:
    """One writer's tags; the same for the same bytes, whichever file and backup they are in."""

    def __init__(self, writer: WriterKey) -> None:
        self._key = AESGCM(writer.block_key)

    def __call__(self, block: bytes | bytearray | memoryview) -> bytes:
        """SIZE bytes."""
        return self._key.encrypt(_NONCE, b"", block)
