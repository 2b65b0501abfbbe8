"""A store in memory: the double that tests use, held to the same contract as the real ones."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from iot_backup.errors import AlreadyExists, CorruptData, NotFound
from iot_backup.storage import keys
from iot_backup.storage.store import READ_LIMIT, Chunk, ObjectInfo

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

STREAM_CHUNK = 1 << 20
"""Bytes."""


class MemoryStore:
    """Objects in a dictionary. `objects` is open to tests that tamper: key -> (bytes, time stored)."""

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.clock = clock
        """Set it to move the store's time."""
        self.objects: dict[str, tuple[bytes, datetime]] = {}
        self._lock = threading.Lock()

    def create(self, key: str, body: bytes) -> None:
        keys.parts(key)
        with self._lock:
            if key in self.objects:
                raise AlreadyExists(f"{key} is in the store already")
            self.objects[key] = (bytes(body), self.clock())

    def create_stream(self, key: str, chunks: Iterable[Chunk], *, size_hint: int = 0) -> None:  # noqa: ARG002 - nothing to plan for in memory
        self.create(key, b"".join(map(bytes, chunks)))

    def read(self, key: str, *, limit: int = READ_LIMIT) -> bytes:
        body, _ = self._get(key)
        if len(body) > limit:
            raise CorruptData(f"{key} has {len(body)} bytes, but an object of its kind has at most {limit}")
        return body

    def read_range(self, key: str, start: int, length: int) -> bytes:
        return self._get(key)[0][start : start + length]

    def stream(self, key: str) -> Iterator[bytes]:
        body, _ = self._get(key)
        for start in range(0, len(body), STREAM_CHUNK):
            yield body[start : start + STREAM_CHUNK]

    def head(self, key: str) -> ObjectInfo:
        body, modified = self._get(key)
        return ObjectInfo(key, len(body), modified)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        keys.folder(prefix)
        with self._lock:
            found = [ObjectInfo(key, len(body), modified) for key, (body, modified) in self.objects.items() if key.startswith(prefix)]
        return iter(found)

    def delete(self, key: str) -> None:
        keys.parts(key)
        with self._lock:
            self.objects.pop(key, None)

    def abandon(self, key: str) -> None:
        keys.parts(key)

    def now(self) -> datetime:
        return self.clock()

    def _get(self, key: str) -> tuple[bytes, datetime]:
        keys.parts(key)
        with self._lock:
            found = self.objects.get(key)
        if found is None:
            raise NotFound(f"{key} is not in the store")
        return found
