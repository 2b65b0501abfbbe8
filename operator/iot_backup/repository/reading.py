"""Large objects of a repository on their way back: hashed as they lie in the store, opened as the manifest says."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterator

from iot_backup.core.manifest import Manifest, StoredObject
from iot_backup.crypto import container
from iot_backup.crypto.container import Opener
from iot_backup.crypto.identity import Identity
from iot_backup.errors import CorruptData, NotFound
from iot_backup.storage.store import Store


class Pull:
    """An object's bytes by `read(size)`, counted and hashed on the way; CorruptData at their end if they are not the signed ones."""

    def __init__(self, store: Store, key: str, expected: StoredObject) -> None:
        self.size = 0
        """Bytes pulled so far."""
        self._key = key
        self._expected = expected
        self._chunks = stream(store, key)
        self._rest = memoryview(b"")
        self._hash = hashlib.sha256()
        self._ended = False

    def read(self, size: int) -> bytes:
        """At most `size` bytes, none only at the checked end. CorruptData, StorageUnavailable."""
        while not self._rest and not self._ended:
            self._rest = memoryview(self._next())
        piece, self._rest = bytes(self._rest[:size]), self._rest[size:]
        return piece

    def _next(self) -> bytes:
        chunk = next(self._chunks, None)
        if chunk is None:
            self._ended = True
            self._check_end()
            return b""
        self.size += len(chunk)
        if self.size > self._expected.size:
            raise CorruptData(f"{self._key} is longer than the {self._expected.size} bytes that its manifest signs: it was replaced")
        self._hash.update(chunk)
        return chunk

    def _check_end(self) -> None:
        if self.size < self._expected.size:
            raise CorruptData(f"{self._key} ends after {self.size} of {self._expected.size} bytes: it was cut off")
        if not hmac.compare_digest(self._hash.hexdigest(), self._expected.sha256):
            raise CorruptData(
                f"{self._key} is not what its manifest signs: SHA-256 is {self._hash.hexdigest()}, not {self._expected.sha256}"
            )


def verify(store: Store, key: str, expected: StoredObject, progress: Callable[[int], None] = lambda _: None) -> None:
    """Read an object whole and compare it with its manifest; no key is needed. CorruptData."""
    try:
        size = store.head(key).size
    except NotFound:
        raise missing(key) from None
    if size != expected.size:
        raise CorruptData(f"{key} has {size} bytes, and its manifest signs {expected.size}: it was cut off or replaced")
    pull = Pull(store, key, expected)
    while pull.read(1 << 20):
        progress(pull.size)


def opened(store: Store, key: str, expected: StoredObject, cipher: str, identity: Identity | None) -> Opener:
    """An object's content, decrypted and checked while it is pulled: at its end, all of it was what the manifest signs.

    What is read before the end is authentic as long as there is encryption; without, only the end tells. KeyMissing, WrongKey, CorruptData.
    """
    return container.opener(Pull(store, key, expected).read, cipher, identity, expected.header_sha256)


def archive(store: Store, manifest: Manifest, identity: Identity | None) -> Opener:
    """The archive's content: what the compressor put out."""
    return opened(store, manifest.archive_key, manifest.archive, manifest.cipher, identity)


def index(store: Store, manifest: Manifest, identity: Identity | None) -> Opener:
    """The list of files."""
    return opened(store, manifest.member.index, manifest.index, manifest.cipher, identity)


def missing(key: str) -> CorruptData:
    """What to say when a committed backup's object is not there."""
    return CorruptData(f"{key} is not in the store, and its manifest is: somebody deleted it. Restore another backup.")


def stream(store: Store, key: str) -> Iterator[bytes]:
    """The object from its beginning. CorruptData if it is not there: its manifest says that it must be."""
    try:
        yield from store.stream(key)
    except NotFound:
        raise missing(key) from None
