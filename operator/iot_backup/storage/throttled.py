"""A store that takes and gives no more bytes a second than it may."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from iot_backup.storage.store import READ_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from datetime import datetime

    from iot_backup.storage.store import Chunk, ObjectInfo, Store

_TURN = 0.05
"""Seconds: a stream pays for so much of the line at once, then another one has its turn."""
_SHORTEST_WAIT = 0.005
"""Seconds: less is owed, and waited for with what comes next. A system wakes nobody so soon."""
_CREDIT = 0.1
"""Seconds of an idle line that are made up for: who slept a little too long loses nothing, and who did nothing cannot save up."""


class Budget:
    """Bytes per second, shared by all streams of one run: a token bucket.

    Who wants to send takes the line's next free piece of time, and waits for its end. All pieces are short and each stream holds one at most,
    so streams that want more than there is get the same.
    """

    def __init__(self, rate: int, clock: Callable[[], float], wait: Callable[[float], None]) -> None:
        """`rate`: bytes per second. `clock`: seconds, never going back. `wait`: sleeps so many seconds, or raises what ends the run, at once."""
        self._rate, self._clock, self._wait = rate, clock, wait
        self._piece = max(1, int(rate * _TURN))
        self._lock = threading.Lock()
        self._free = clock()
        """When the line is free again."""

    def take(self, count: int) -> None:
        """Return when `count` more bytes may pass. Raises what `wait` raises."""
        while count > 0:
            piece = min(count, self._piece)
            with self._lock:
                now = self._clock()
                self._free = max(self._free, now - _CREDIT) + piece / self._rate
                owed = self._free - now
            if owed >= _SHORTEST_WAIT:
                self._wait(owed)
            count -= piece


class Throttled:
    """The store behind it, with large objects at the budget's pace.

    What is read or written whole is small, and passes as it comes. Bytes that come are paid for when they are here: a store that reads ahead
    goes no further ahead while its reader waits.
    """

    def __init__(self, store: Store, budget: Budget) -> None:
        self._store, self._budget = store, budget

    def create(self, key: str, body: bytes) -> None:
        self._store.create(key, body)

    def create_stream(self, key: str, chunks: Iterable[Chunk], *, size_hint: int = 0) -> None:
        self._store.create_stream(key, self._paced(chunks), size_hint=size_hint)

    def read(self, key: str, *, limit: int = READ_LIMIT) -> bytes:
        return self._store.read(key, limit=limit)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        found = self._store.read_range(key, start, length)
        self._budget.take(len(found))
        return found

    def stream(self, key: str) -> Iterator[bytes]:
        for chunk in self._store.stream(key):
            self._budget.take(len(chunk))
            yield chunk

    def head(self, key: str) -> ObjectInfo:
        return self._store.head(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._store.list(prefix)

    def delete(self, key: str) -> None:
        self._store.delete(key)

    def abandon(self, key: str) -> None:
        self._store.abandon(key)

    def now(self) -> datetime:
        return self._store.now()

    def _paced(self, chunks: Iterable[Chunk]) -> Iterator[Chunk]:
        for chunk in chunks:
            self._budget.take(memoryview(chunk).nbytes)
            yield chunk


def throttled(store: Store, rate: int | None, clock: Callable[[], float], wait: Callable[[float], None]) -> Store:
    """The store at `rate` bytes per second, as for Budget; None = as it is."""
    return store if rate is None else Throttled(store, Budget(rate, clock, wait))
