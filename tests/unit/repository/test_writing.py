"""What became of a small object, whatever the store answered."""

from __future__ import annotations

import pytest

from iot_backup.errors import AccessDenied, AlreadyExists, IotBackupError, StorageFull, StorageUnavailable
from iot_backup.repository.writing import found, settled
from iot_backup.storage.memory import MemoryStore


class Store(MemoryStore):
    """Keeps or does not keep, answers with an error or not."""

    def __init__(self, keeps: bytes | None, error: IotBackupError | None, reading: IotBackupError | None = None) -> None:
        super().__init__()
        self.keeps, self.error, self.reading = keeps, error, reading

    def create(self, key: str, body: bytes) -> None:
        if self.keeps is not None:
            super().create(key, self.keeps)
        if self.error:
            raise self.error

    def read(self, key: str, *, limit: int = 1 << 20) -> bytes:
        if self.reading:
            raise self.reading
        return super().read(key, limit=limit)


OURS, OTHER = b"ours", b"other"
GONE = StorageUnavailable("no answer")


@pytest.mark.parametrize(
    ("store", "expected"),
    [
        (Store(OURS, None), True),
        (Store(OURS, GONE), True),
        (Store(OURS, AlreadyExists("taken")), True),
        (Store(OURS, AccessDenied("no")), True),
        (Store(OTHER, AlreadyExists("taken")), False),
        (Store(OTHER, None), False),
        (Store(OTHER, GONE), False),
    ],
)
def test_only_the_bytes_in_the_store_decide(store: Store, expected: bool) -> None:
    assert settled(store, "k", OURS) is expected


@pytest.mark.parametrize(
    ("store", "error", "match"),
    [
        (Store(None, GONE), StorageUnavailable, "no answer"),
        (Store(None, StorageFull("full")), StorageFull, "full"),
        (Store(None, AccessDenied("no")), AccessDenied, "no"),
        (Store(None, None), StorageUnavailable, "contradicts itself"),
        (Store(None, AlreadyExists("taken")), StorageUnavailable, "contradicts itself"),
        (Store(OURS, GONE, GONE), StorageUnavailable, "nobody can tell"),
        (Store(OURS, None, AccessDenied("no reading")), StorageUnavailable, "nobody can tell"),
    ],
)
def test_what_nobody_can_tell_is_said(store: Store, error: type[IotBackupError], match: str) -> None:
    with pytest.raises(error, match=match):
        settled(store, "k", OURS)


def test_absence_is_none_and_silence_is_not() -> None:
    assert found(MemoryStore(), "k") is None
    with pytest.raises(StorageUnavailable):
        found(Store(None, None, GONE), "k")
