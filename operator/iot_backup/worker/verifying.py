"""Reads an object once to verify it, and makes sure that the second reading gives the same bytes.

A restore verifies index and archive before it writes, and reads them again to write. What the store gives the second time
is checked block by block against the first, so that nothing is used that was not verified.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from iot_backup.errors import CorruptData

_BLOCK = 4 << 20
"""Bytes: 32 bytes of memory for each, 8 MB for an archive of 1 TB."""


@dataclass(frozen=True)
class Measured:
    """An object as it was read."""

    size: int
    sha256: str
    blocks: tuple[bytes, ...]
    """SHA-256 of each block."""


def measure(chunks: Iterable[bytes], check: Callable[[], None]) -> Measured:
    """Read an object to its end. `check` is called for each block and may raise to stop."""
    whole = hashlib.sha256()
    size, blocks = 0, []
    for block in _blocks(chunks):
        check()
        whole.update(block)
        size += len(block)
        blocks.append(hashlib.sha256(block).digest())
    return Measured(size, whole.hexdigest(), tuple(blocks))


def again(chunks: Iterable[bytes], measured: Measured) -> Iterator[bytes]:
    """The same object, read anew. Raises CorruptData before it hands out a block that is not the measured one."""
    count = 0
    for block in _blocks(chunks):
        if count == len(measured.blocks) or hashlib.sha256(block).digest() != measured.blocks[count]:
            raise CorruptData("the store gave other bytes than when they were verified a moment ago: somebody changes its objects")
        count += 1
        yield block
    if count != len(measured.blocks):
        raise CorruptData("the store gave fewer bytes than when they were verified a moment ago: somebody changes its objects")


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


class Pull:
    """Chunks as a `read(size)` for `crypto.container.opener`."""

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
