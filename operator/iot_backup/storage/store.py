"""What a store must do: the contract that tests/contract/test_store.py holds every implementation to.

Keys are relative paths of `core/layout.py`; a store adds its own prefix. Bytes are the caller's: a store neither looks into
them nor compresses them. Every method may be called from any thread. Errors are those of `iot_backup.errors`: `NotFound`,
`AlreadyExists`, `AccessDenied`, `UntrustedCertificate`, `BucketMissing`, `StorageFull` are final; `StorageUnavailable` means that the
outcome is unknown or may be better later. A store retries what is safe to retry, for at most about a minute, and never
reports a write as done that the store did not confirm. It never overwrites.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from datetime import datetime

Chunk = bytes | bytearray | memoryview
"""What streams are made of; a consumer that keeps one beyond the next step copies it."""

READ_LIMIT = 1 << 20
"""Bytes a small object may have at most when it is read whole: manifests are below 64 KiB, key files below 8 KiB."""


@dataclass(frozen=True)
class ObjectInfo:
    """What the store says of one object."""

    key: str
    size: int
    """Bytes."""
    modified: datetime
    """On the store's clock, UTC."""


class Store(Protocol):
    """Create-only objects under slash-separated keys."""

    def create(self, key: str, body: bytes) -> None:
        """Store a small object under a new key; durable when this returns.

        AlreadyExists if the key is taken, also where an earlier, uncertain attempt of our own took it: the caller compares bytes.
        """

    def create_stream(self, key: str, chunks: Iterable[Chunk], *, size_hint: int = 0) -> None:
        """Store a large object from a stream in constant memory; durable when this returns.

        Nothing becomes visible under `key` before the stream ended without an error. If iterating `chunks` raises, the upload
        is aborted and that very exception propagates. `size_hint`: expected bytes, 0 = unknown.

        `chunks` is stepped through in the calling thread, and must not call the same store. AlreadyExists if the key is taken. S3
        cannot promise that to two writers at the very same moment once the object has several parts: use a key with an id in it.
        """

    def read(self, key: str, *, limit: int = READ_LIMIT) -> bytes:
        """A small object, whole. NotFound; CorruptData if it is longer than `limit`, without reading on."""

    def read_range(self, key: str, start: int, length: int) -> bytes:
        """`length` bytes from `start`; fewer only where the object ends. NotFound."""

    def stream(self, key: str) -> Iterator[bytes]:
        """A large object from its beginning, in constant memory. NotFound at the first step."""

    def head(self, key: str) -> ObjectInfo:
        """Size and time of one object, asked by its key, never by a listing. NotFound."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects whose key begins with `prefix`, in no promised order. May be old or partial: absence proves nothing."""

    def delete(self, key: str) -> None:
        """Remove an object; no error if there is none."""

    def abandon(self, key: str) -> None:
        """Remove what uploads of this key left that were killed before their end, where the store keeps such and does not let it go by itself.

        An object of that key stays. Not for keys that somebody may be uploading.
        """

    def now(self) -> datetime:
        """The store's own clock, UTC, as of this call."""
