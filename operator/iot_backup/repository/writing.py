"""Small objects, written so that one knows what became of them."""

from __future__ import annotations

from iot_backup.errors import AlreadyExists, IotBackupError, NotFound, StorageUnavailable
from iot_backup.storage.store import Store


def settled(store: Store, key: str, body: bytes) -> bool:
    """Write a new object, then read it back: True if the store holds these very bytes now, False if it holds others.

    Whatever the write answered, only the bytes count: a store may keep what it said it refused, and find its own earlier
    attempt in the way of its retry. If the object is not there, the write's own error is raised; StorageUnavailable where nobody can tell.
    """
    failure: IotBackupError | None = None
    try:
        store.create(key, body)
    except IotBackupError as error:
        failure = error
    try:
        return store.read(key) == body
    except NotFound as error:
        if failure is None or isinstance(failure, AlreadyExists):
            raise StorageUnavailable(f"the store contradicts itself about {key}: it took it, and does not have it") from error
        raise failure from error
    except IotBackupError as error:
        raise StorageUnavailable(
            f"nobody can tell whether {key} was stored: {failure or error}; reading it back failed: {error}"
        ) from error


def found(store: Store, key: str) -> bytes | None:
    """A small object's bytes, or None if the store says that there is none."""
    try:
        return store.read(key)
    except NotFound:
        return None
