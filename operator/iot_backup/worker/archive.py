"""An archive's plain tar stream, read from anywhere in it: where its frames are, and frames by their numbers.

Nothing an archive says makes memory grow: its table is bounded, a frame is no larger than we write them, and a frame that
unfolds to anything but what its table says is refused before it unfolds.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from itertools import accumulate
from typing import Protocol

from iot_backup.errors import CorruptData
from iot_backup.worker.compression import FOOTER_SIZE, FRAME_SIZE, MAX_TABLE, frame_sizes, plain_frame, table_size

_TAIL = 60 << 10
"""Bytes read at the end, where the table is: mostly all of it, and two chunks of an encrypted archive at most."""
_MAX_STORED = FRAME_SIZE + (FRAME_SIZE >> 7)
"""Bytes of a frame whose content does not compress."""


class Ranged(Protocol):
    """A container's content by ranges (`crypto.ranged.RangedReader`); used by several threads at once."""

    @property
    def size(self) -> int:
        """Bytes."""

    def read(self, start: int, length: int) -> bytes:
        """Exactly that much, fewer only where the content ends. CorruptData, and what the store raises."""


class Archive:
    """One archive, opened. A plain one is read in frames, too: pieces of FRAME_SIZE, stored as they are."""

    def __init__(self, stored: Ranged, *, compressed: bool) -> None:
        """Reads the table of frames. CorruptData."""
        self._stored, self._compressed = stored, compressed
        if compressed:
            self._begins, self._lies = _table(stored)
        else:
            self._begins = self._lies = array("Q", [*range(0, stored.size, FRAME_SIZE), stored.size])

    @property
    def size(self) -> int:
        """Bytes of the tar stream."""
        return self._begins[-1]

    @property
    def frames(self) -> int:
        return len(self._begins) - 1

    def frame_at(self, position: int) -> int:
        """Number of the frame that holds a position of the tar stream. CorruptData if it lies behind the end."""
        if not 0 <= position < self.size:
            raise CorruptData(
                f"the index refers to byte {position} of an archive of {self.size}: the archive was cut off, or one of them is another's"
            )
        return bisect_right(self._begins, position) - 1

    def begin(self, frame: int) -> int:
        """Where a frame begins in the tar stream; the end of the stream for the number behind the last."""
        return self._begins[frame]

    def stored_size(self, frame: int) -> int:
        """Bytes a frame takes in the store, but for encryption."""
        return self._lies[frame + 1] - self._lies[frame]

    def load(self, first: int, count: int) -> list[bytes]:
        """The plain bytes of `count` frames from `first`, by one read. May be called from any thread. CorruptData."""
        begin, end = self._lies[first], self._lies[first + count]
        data = self._stored.read(begin, end - begin)
        if len(data) != end - begin:
            raise CorruptData("the archive ends within its frames: it was cut off")
        if not self._compressed and count == 1:
            return [data]
        view = memoryview(data)
        return [self._plain(view[self._lies[n] - begin : self._lies[n + 1] - begin], n) for n in range(first, first + count)]

    def _plain(self, stored: memoryview, frame: int) -> bytes:
        if not self._compressed:
            return bytes(stored)
        return plain_frame(stored, self._begins[frame + 1] - self._begins[frame])


def _table(stored: Ranged) -> tuple[array[int], array[int]]:
    """Where each frame begins in the tar stream and in the container, each with the end behind the last."""
    tail = stored.read(max(0, stored.size - _TAIL), _TAIL)
    if len(tail) < FOOTER_SIZE:
        raise CorruptData("the archive is too short for a table of its frames: it was cut off")
    length = table_size(tail[-FOOTER_SIZE:])
    if length > min(stored.size, MAX_TABLE):
        raise CorruptData(f"the table of the archive's frames claims {length} bytes: it was damaged or replaced")
    sizes = frame_sizes(tail[-length:] if length <= len(tail) else stored.read(stored.size - length, length))
    in_store, plain = sizes[::2], sizes[1::2]
    if len(plain) and not (0 < min(plain) <= max(plain) <= FRAME_SIZE and 0 < min(in_store) <= max(in_store) <= _MAX_STORED):
        raise CorruptData("the table of the archive's frames has frames of a size that nothing of ours writes")
    lies = array("Q", accumulate(in_store, initial=0))
    if lies[-1] + length != stored.size:
        raise CorruptData("the table of the archive's frames does not add up to its size: frames are missing or doubled")
    return array("Q", accumulate(plain, initial=0)), lies
