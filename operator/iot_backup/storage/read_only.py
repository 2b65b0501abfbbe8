"""A store that cannot be written to, whoever holds it: what a verification is given.

A check that may also repair has destroyed good data elsewhere. Ours gets nothing to do it with.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from iot_backup.errors import Internal
from iot_backup.storage.store import READ_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iot_backup.storage.store import Chunk, ObjectInfo, Store


class ReadOnly:
    """Reads as the store behind it does; every call that writes is a defect. So is `now`, for which a volume makes a file."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def create(self, key: str, body: bytes) -> NoReturn:  # noqa: ARG002 - the protocol's
        raise _refused(f"create {key}")

    def create_stream(self, key: str, chunks: Iterable[Chunk], *, size_hint: int = 0) -> NoReturn:  # noqa: ARG002 - the protocol's
        raise _refused(f"create {key}")

    def delete(self, key: str) -> NoReturn:
        raise _refused(f"delete {key}")

    def abandon(self, key: str) -> NoReturn:
        raise _refused(f"abandon uploads of {key}")

    def now(self) -> NoReturn:
        raise _refused("ask for the time, which may leave a file,")

    def read(self, key: str, *, limit: int = READ_LIMIT) -> bytes:
        return self._store.read(key, limit=limit)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        return self._store.read_range(key, start, length)

    def stream(self, key: str) -> Iterator[bytes]:
        return self._store.stream(key)

    def head(self, key: str) -> ObjectInfo:
        return self._store.head(key)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        return self._store.list(prefix)


def _refused(what: str) -> Internal:
    return Internal(f"something tried to {what} in a store that is only read. Nothing was changed; this is a defect: please report it.")
