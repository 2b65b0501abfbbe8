"""Holes of sparse files: where they are in a source, and how a member without them is laid out.

The archive holds the data alone, behind a map of where it belongs: GNU tar's sparse format 1.0, which GNU tar and bsdtar restore.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from iot_backup.worker.index import HOLE, Part

SPARSE_FROM = 64 << 10
"""Bytes of a file from which holes are worth looking for."""
MAX_EXTENTS = 4096
"""Runs of data in one file: beyond it, the smallest holes are stored as zeros."""
_BLOCK = 512
"""Data begins at multiples of it: tar's readers take each run in whole blocks."""
_KEPT_WHILE_LOOKING = 4 * MAX_EXTENTS


class Extent(NamedTuple):
    """A run of data."""

    start: int
    """In the file."""
    length: int
    """Bytes; more than 0."""

    @property
    def end(self) -> int:
        return self.start + self.length


class Calls(Protocol):
    """What asks the kernel."""

    def seek(self, descriptor: int, offset: int, whence: int) -> int: ...


def extents(calls: Calls, descriptor: int, st: os.stat_result) -> tuple[Extent, ...] | None:
    """Where the file has data, in order; None if all of it is, or the file system does not say."""
    size = st.st_size
    if size < SPARSE_FROM or st.st_blocks * 512 >= size:
        return None
    try:
        found = _looked_for(calls, descriptor, size)
    except OSError:
        found = [Extent(0, size)]
    calls.seek(descriptor, 0, os.SEEK_SET)
    return None if found == [Extent(0, size)] else tuple(found)


def _looked_for(calls: Calls, descriptor: int, size: int) -> list[Extent]:
    found: list[Extent] = []
    end = 0
    while end < size and (start := _next_data(calls, descriptor, end)) < size:
        end = max(calls.seek(descriptor, start, os.SEEK_HOLE), start + 1)
        _append(found, start, end, size)
        if len(found) > _KEPT_WHILE_LOOKING:
            found = without_smallest_holes(found, MAX_EXTENTS)
    return without_smallest_holes(found, MAX_EXTENTS)


def without_smallest_holes(found: Sequence[Extent], most: int) -> list[Extent]:
    """At most so many runs: those with the least between them become one."""
    if len(found) <= most:
        return list(found)
    gaps = sorted(range(1, len(found)), key=lambda i: found[i].start - found[i - 1].end)
    closed = set(gaps[: len(found) - most])
    merged: list[Extent] = []
    for i, extent in enumerate(found):
        if i in closed:
            merged[-1] = Extent(merged[-1].start, extent.end - merged[-1].start)
        else:
            merged.append(extent)
    return merged


def parts(found: Sequence[Extent], size: int, archive: int = 0, position: int = 0) -> tuple[Part, ...]:
    """A file's content as an index has it. `position`: of the first run in the tar stream of `archive`."""
    made: list[Part] = []
    end = 0
    for extent in found:
        if extent.start > end:
            made.append(Part(HOLE, 0, extent.start - end))
        made.append(Part(archive, position, extent.length))
        position += extent.length
        end = extent.end
    if size > end:
        made.append(Part(HOLE, 0, size - end))
    return tuple(made)


def stored_size(content: Sequence[Part]) -> int:
    """Bytes of data in the archive."""
    return sum(part.length for part in content if part.archive != HOLE)


def sparse_map(content: Sequence[Part]) -> bytes:
    """GNU.sparse 1.0: how many runs, then offset and length of each, one number a line, filled up to whole blocks."""
    numbers, at = [], 0
    for part in content:
        if part.archive != HOLE:
            numbers += [at, part.length]
        at += part.length
    if content[-1].archive == HOLE:
        numbers += [at, 0]  # says how long the file is
    lines = b"".join(b"%d\n" % number for number in [len(numbers) // 2, *numbers])
    return lines + bytes(-len(lines) % _BLOCK)


def _next_data(calls: Calls, descriptor: int, offset: int) -> int:
    try:
        return calls.seek(descriptor, offset, os.SEEK_DATA)
    except OSError as error:
        if error.errno == errno.ENXIO:  # none follows
            return 1 << 63
        raise


def _append(found: list[Extent], start: int, end: int, size: int) -> None:
    """Add a run, widened to whole blocks, as far as the file was promised."""
    start -= start % _BLOCK
    end = min(end + -end % _BLOCK, size)
    if found and start <= found[-1].end:
        start = found.pop().start
    if end > start:
        found.append(Extent(start, end - start))
