"""Large objects of a repository on their way back: verified whole, and opened as the manifest says.

A restore verifies index and archives before it writes, and reads them again to write. What it reads of an archive then is
authenticated chunk by chunk under the header that the manifest signs, and each file by its SHA-256 in the index. The index itself
has nothing above it but the manifest: what the store gives of it the second time is checked block by block against the first.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Iterable, Iterator

from iot_backup.core.manifest import Manifest, StoredObject
from iot_backup.crypto import container
from iot_backup.crypto.container import Opener
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.ranged import RangedReader
from iot_backup.errors import CorruptData, NotFound
from iot_backup.storage.store import Store

_BLOCK = 2 << 20
"""Bytes: a digest in memory for each."""

Blocks = tuple[bytes, ...]
"""SHA-256 of each block of an object that was verified."""


def compare(store: Store, key: str, expected: StoredObject, check: Callable[[], None] = lambda: None) -> None:
    """Read an object whole and compare it with its manifest; no key is needed. CorruptData.

    `check` is called now and then, and may raise to stop.
    """
    _check_size(store, key, expected)
    for _ in _signed(store, key, expected):
        check()


def verify(store: Store, key: str, expected: StoredObject, check: Callable[[], None] = lambda: None) -> Blocks:
    """The same, for an object that is read `again`: what it was, block by block."""
    _check_size(store, key, expected)
    digests = []
    for block in _blocks(_signed(store, key, expected)):
        check()
        digests.append(hashlib.sha256(block).digest())
    return tuple(digests)


def archive(store: Store, manifest: Manifest, identity: Identity | None) -> RangedReader:
    """The archive's content, in any order: what the compressor put out. KeyMissing, WrongKey, CorruptData.

    What it hands out is what was written there, as far as the encryption goes: without one, only the archive's SHA-256, or the
    index's SHA-256 of each file, tells.
    """
    key, expected = manifest.archive_key, manifest.archive
    _check_size(store, key, expected)

    def fetch(start: int, length: int) -> bytes:
        try:
            return store.read_range(key, start, length)
        except NotFound:
            raise _missing(key) from None

    return RangedReader(fetch, expected.size, manifest.cipher, identity, expected.header_sha256)


def index(store: Store, manifest: Manifest, identity: Identity | None, verified: Blocks | None = None) -> Opener:
    """The list of files, decrypted while it is pulled. KeyMissing, WrongKey, CorruptData.

    With `verified` nothing is handed out that is not what was verified. Without, what is read before the end is authentic as far as
    encryption goes, and only the end tells that it is what the manifest signs.
    """
    key, expected = manifest.member.index, manifest.index
    chunks = _signed(store, key, expected) if verified is None else again(_stream(store, key), verified)
    return container.opener(Pull(chunks), manifest.cipher, identity, expected.header_sha256)


def again(chunks: Iterable[bytes], verified: Blocks) -> Iterator[bytes]:
    """The same object, read anew. Raises CorruptData before it hands out a block that is not the verified one."""
    count = 0
    for block in _blocks(chunks):
        if count == len(verified) or hashlib.sha256(block).digest() != verified[count]:
            raise CorruptData("the store gave other bytes than when they were verified a moment ago: somebody changes its objects")
        count += 1
        yield block
    if count != len(verified):
        raise CorruptData("the store gave fewer bytes than when they were verified a moment ago: somebody changes its objects")


def twice(store: Store, key: str, expected: StoredObject) -> Pull:
    """An object that is compared whole with its manifest now, and read again as it is pulled. CorruptData, then and now."""
    return Pull(again(_stream(store, key), verify(store, key, expected)))


class Pull:
    """Chunks as the `read(size)` that `crypto.container.opener` asks for."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._current = memoryview(b"")

    def __call__(self, size: int) -> bytes:
        """At most `size` bytes, b"" only at the end."""
        while not self._current:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._current = memoryview(chunk)
        piece, self._current = self._current[:size], self._current[size:]
        return bytes(piece)


def _check_size(store: Store, key: str, expected: StoredObject) -> None:
    try:
        size = store.head(key).size
    except NotFound:
        raise _missing(key) from None
    if size != expected.size:
        raise CorruptData(f"{key} has {size} bytes, and its manifest signs {expected.size}: it was cut off or replaced")


def _signed(store: Store, key: str, expected: StoredObject) -> Iterator[bytes]:
    """The object's bytes; CorruptData at their end if they are not the signed ones, and before if there are too many."""
    size, digest = 0, hashlib.sha256()
    for chunk in _stream(store, key):
        size += len(chunk)
        if size > expected.size:
            raise CorruptData(f"{key} is longer than the {expected.size} bytes that its manifest signs: it was replaced")
        digest.update(chunk)
        yield chunk
    if size < expected.size:
        raise CorruptData(f"{key} ends after {size} of {expected.size} bytes: it was cut off")
    if not hmac.compare_digest(digest.hexdigest(), expected.sha256):
        raise CorruptData(
            f"{key} is not what its manifest signs: SHA-256 is {digest.hexdigest()}, not {expected.sha256}. It was damaged or replaced. "
            "Restore another backup, and find out who writes to the store."
        )


def _stream(store: Store, key: str) -> Iterator[bytes]:
    try:
        yield from store.stream(key)
    except NotFound:
        raise _missing(key) from None


def _missing(key: str) -> CorruptData:
    return CorruptData(f"{key} is not in the store, and its manifest is: somebody deleted it. Restore another backup.")


def _blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes, cut anew into blocks of one size; the last may be shorter."""
    pending = bytearray()
    for chunk in chunks:
        pending += chunk
        while len(pending) >= _BLOCK:
            yield bytes(memoryview(pending)[:_BLOCK])
            del pending[:_BLOCK]
    if pending:
        yield bytes(pending)
