"""A stream cut into parts of one size, as an S3 upload wants them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iot_backup.storage.store import Chunk

SMALLEST_PART = 5 << 20
"""Bytes: the least that S3 takes. Parts in flight are the larger half of an upload's memory."""
MOST_PARTS = 9000
"""S3 allows 10 000; a hint may be a little short."""
IN_FLIGHT = 3
MOST_IN_FLIGHT = 32 << 20
"""Bytes: fewer parts are under way at once where they are large, so that only the part itself grows with the object."""


def part_size(size_hint: int) -> int:
    """Bytes per part for an object of about `size_hint` bytes, a multiple of 1 MiB."""
    mebibytes = -(-size_hint // (MOST_PARTS << 20))
    return max(SMALLEST_PART, mebibytes << 20)


def in_flight(size: int) -> int:
    """Parts of `size` bytes under way at once."""
    return max(1, min(IN_FLIGHT, MOST_IN_FLIGHT // size))


class Parts:
    """Iterates over parts of exactly `size` bytes, the last one shorter; each is a buffer of its own, never touched again.

    `failure` is what the source raised, if it did; `total` the bytes handed out.
    """

    def __init__(self, chunks: Iterable[Chunk], size: int) -> None:
        self.size = size
        self.total = 0
        self.failure: BaseException | None = None
        self._pieces = self._cut(chunks)
        self._first: bytearray | None = next(self._pieces, None)

    def only(self) -> bytes | None:
        """The whole stream if it is shorter than one part; else None, and nothing is lost."""
        if self._first is None or len(self._first) < self.size:
            return bytes(self._first or b"")
        return None

    def __iter__(self) -> Iterator[bytearray]:
        try:
            if self._first is not None:
                first, self._first = self._first, None
                self.total += len(first)
                yield first
            for part in self._pieces:
                self.total += len(part)
                yield part
        except GeneratorExit:
            raise
        except BaseException as error:
            self.failure = error
            raise

    def _cut(self, chunks: Iterable[Chunk]) -> Iterator[bytearray]:
        part, filled = bytearray(self.size), 0
        for chunk in chunks:
            with memoryview(chunk).cast("B") as view:
                at = 0
                while at < len(view):
                    count = min(len(view) - at, self.size - filled)
                    part[filled : filled + count] = view[at : at + count]
                    at, filled = at + count, filled + count
                    if filled == self.size:
                        yield part
                        part, filled = bytearray(self.size), 0
        if filled:
            del part[filled:]
            yield part
