"""A store that fails at one chosen call, in one chosen way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import TypeVar

from iot_backup.errors import AlreadyExists, StorageUnavailable
from iot_backup.storage.memory import MemoryStore
from iot_backup.storage.store import READ_LIMIT, Chunk, ObjectInfo

T = TypeVar("T")


class Killed(BaseException):
    """The process is gone: no handler of ours runs."""


KINDS = ("refused", "answer lost", "own object in the way", "killed before", "killed after")


class FaultyStore:
    """Wraps a store. Call number `at` (from 0) fails as `kind` says; `before` runs ahead of that call instead of a failure."""

    def __init__(self, inner: MemoryStore, at: int, kind: str, before: Callable[[], object] | None = None) -> None:
        self.inner, self.at, self.kind, self.before = inner, at, kind, before
        self.calls: list[str] = []

    @property
    def reached(self) -> bool:
        return len(self.calls) > self.at

    def _call(self, name: str, act: Callable[[], T]) -> T:
        number = len(self.calls)
        self.calls.append(name)
        if number != self.at:
            return act()
        if self.before is not None:
            self.before()
            return act()
        if self.kind == "refused":
            raise StorageUnavailable(f"fault at {name}")
        if self.kind == "killed before":
            raise Killed
        act()
        if self.kind == "killed after":
            raise Killed
        if self.kind == "own object in the way" and name.startswith("create "):
            raise AlreadyExists(f"fault at {name}")
        raise StorageUnavailable(f"fault at {name}")

    def create(self, key: str, body: bytes) -> None:
        self._call(f"create {key}", lambda: self.inner.create(key, body))

    def create_stream(self, key: str, chunks: Iterable[Chunk], *, size_hint: int = 0) -> None:
        self._call(f"upload {key}", lambda: self.inner.create_stream(key, chunks, size_hint=size_hint))

    def read(self, key: str, *, limit: int = READ_LIMIT) -> bytes:
        return self._call(f"read {key}", lambda: self.inner.read(key, limit=limit))

    def read_range(self, key: str, start: int, length: int) -> bytes:
        return self._call(f"range {key}", lambda: self.inner.read_range(key, start, length))

    def stream(self, key: str) -> Iterator[bytes]:
        return self._call(f"stream {key}", lambda: self.inner.stream(key))

    def head(self, key: str) -> ObjectInfo:
        return self._call(f"head {key}", lambda: self.inner.head(key))

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._call(f"list {prefix}", lambda: self.inner.list(prefix))

    def delete(self, key: str) -> None:
        self._call(f"delete {key}", lambda: self.inner.delete(key))

    def abandon(self, key: str) -> None:
        self._call(f"abandon {key}", lambda: self.inner.abandon(key))

    def now(self) -> datetime:
        return self._call("now", self.inner.now)
