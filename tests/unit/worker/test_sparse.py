"""Where a sparse file has data, and how that is written down."""

from __future__ import annotations

import errno
import os
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_backup.worker import sparse
from iot_backup.worker.index import HOLE, Part
from iot_backup.worker.sparse import SPARSE_FROM, Extent, extents, parts, sparse_map, stored_size, without_smallest_holes


class Layout:
    """Answers lseek for a file whose data are these runs; `grain` is what the file system tells holes by."""

    def __init__(self, runs: list[tuple[int, int]], size: int) -> None:
        self.runs, self.size, self.offset = runs, size, -1

    def seek(self, _descriptor: int, offset: int, whence: int) -> int:
        if whence == os.SEEK_SET:
            self.offset = offset
            return offset
        if offset >= self.size:
            raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
        inside = next((run for run in self.runs if run[0] <= offset < run[1]), None)
        if whence == os.SEEK_DATA:
            following = offset if inside else min((begin for begin, _ in self.runs if begin > offset), default=-1)
            if following < 0:
                raise OSError(errno.ENXIO, os.strerror(errno.ENXIO))
            self.offset = following
        else:
            self.offset = inside[1] if inside else offset
        return self.offset


def found(layout: Layout, blocks: int = 0) -> tuple[Extent, ...] | None:
    return extents(layout, 3, SimpleNamespace(st_size=layout.size, st_blocks=blocks))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("runs", "size", "wanted"),
    [
        ([], 1 << 20, ()),
        ([(0, 4096)], 1 << 20, ((0, 4096),)),
        ([(4096, 8192), (65536, 69632)], 1 << 20, ((4096, 4096), (65536, 4096))),
        ([(1 << 19, 1 << 20)], 1 << 20, ((1 << 19, 1 << 19),)),
        ([((1 << 20) - 7, (1 << 20) - 3)], (1 << 20) - 3, (((1 << 20) - 512, 509),)),
        ([(1000, 1001), (70000, 70600)], 1 << 20, ((512, 512), (69632, 1024))),
        ([(1000, 1030), (1100, 1200), (1300, 1600)], 1 << 20, ((512, 1536),)),
        ([(0, 1 << 20)], 1 << 20, None),
        ([(0, 4096)], SPARSE_FROM - 1, None),
    ],
)
def test_data_is_found_in_whole_blocks(runs: list[tuple[int, int]], size: int, wanted: tuple[tuple[int, int], ...] | None) -> None:
    layout = Layout(runs, size)
    assert found(layout) == wanted
    if size >= SPARSE_FROM:
        assert layout.offset == 0


def test_a_file_with_all_its_blocks_is_not_asked() -> None:
    layout = Layout([], 1 << 20)
    assert found(layout, blocks=2048) is None
    assert layout.offset == -1


def test_a_file_system_that_tells_no_holes_gives_a_dense_file() -> None:
    class Silent(Layout):
        def seek(self, _descriptor: int, offset: int, whence: int) -> int:
            if whence == os.SEEK_HOLE:
                raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))
            return super().seek(_descriptor, offset, whence)

    layout = Silent([(8192, 9000)], 1 << 20)
    assert found(layout) is None
    assert layout.offset == 0


@given(st.lists(st.integers(1, 300), max_size=40), st.integers(0, 3000), st.integers(0, 1023))
def test_no_byte_of_data_is_lost(lengths: list[int], tail: int, grain: int) -> None:
    at, runs = SPARSE_FROM, []
    for i, length in enumerate(lengths):
        if i % 2:
            runs.append((at, at + length * (grain + 1)))
        at += length * (grain + 1)
    size = at + tail
    layout = Layout(runs, size)
    data = found(layout)
    assert data is not None
    assert all(extent.start % 512 == 0 and (extent.end % 512 == 0 or extent.end == size) for extent in data)
    assert all(before.end < after.start for before, after in pairwise(data))
    assert all(any(extent.start <= begin and end <= extent.end for extent in data) for begin, end in runs)
    content = parts(data, size, 5, 1000)
    assert sum(part.length for part in content) == size
    assert stored_size(content) == sum(extent.length for extent in data)
    assert [part.position for part in content if part.archive == 5] == [1000 + sum(e.length for e in data[:i]) for i in range(len(data))]


def test_the_smallest_holes_are_filled_first() -> None:
    data = [Extent(0, 10), Extent(12, 10), Extent(100, 10), Extent(111, 10), Extent(200, 10)]
    assert without_smallest_holes(data, 5) == data
    assert without_smallest_holes(data, 3) == [Extent(0, 22), Extent(100, 21), Extent(200, 10)]
    assert without_smallest_holes(data, 1) == [Extent(0, 210)]


def test_a_file_of_very_many_holes_keeps_the_largest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sparse, "MAX_EXTENTS", 8)
    monkeypatch.setattr(sparse, "_KEPT_WHILE_LOOKING", 32)
    runs = [(i * 8192 + (i >= 50) * (1 << 20), i * 8192 + 4096 + (i >= 50) * (1 << 20)) for i in range(100)]
    data = found(Layout(runs, 3 << 20))
    assert data is not None
    assert len(data) <= 8
    assert all(any(extent.start <= begin and end <= extent.end for extent in data) for begin, end in runs)
    assert any(after.start - before.end >= 1 << 20 for before, after in pairwise(data))


def test_the_map_says_where_data_belongs_and_how_long_the_file_is() -> None:
    content = parts([Extent(512, 1024), Extent(4096, 512)], 10_000)
    assert content == (Part(HOLE, 0, 512), Part(0, 0, 1024), Part(HOLE, 0, 2560), Part(0, 1024, 512), Part(HOLE, 0, 5392))
    assert sparse_map(content) == b"3\n512\n1024\n4096\n512\n10000\n0\n".ljust(512, b"\0")
    assert sparse_map((Part(HOLE, 0, 7),)) == b"1\n7\n0\n".ljust(512, b"\0")
    assert sparse_map((Part(HOLE, 0, 512), Part(0, 0, 7))) == b"1\n512\n7\n".ljust(512, b"\0")
    many = parts([Extent(i * 8192, 4096) for i in range(500)], 500 * 8192)
    assert len(sparse_map(many)) % 512 == 0
    assert sparse_map(many).rstrip(b"\0").count(b"\n") == 1 + 2 * 501
