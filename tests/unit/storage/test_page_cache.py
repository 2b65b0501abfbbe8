"""What stays of a file in the page cache after it was read or written."""

from __future__ import annotations

import errno
import mmap
import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from iot_backup.storage.page_cache import LARGE, WINDOW, ReadBehind, WriteBehind, resident

PAGE = mmap.PAGESIZE
SIZE = 11 * WINDOW + 3 * PAGE + 17


def cold(descriptor: int) -> None:
    """Nothing of the file is in memory; skips where the file system has no other place for it."""
    os.fsync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    if any(resident(descriptor, 0, os.fstat(descriptor).st_size)):
        pytest.skip("this file system keeps its files in memory")


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A file of some windows."""
    path = tmp_path_factory.mktemp("cache") / "file"
    with path.open("wb") as out:
        for _ in range(0, SIZE, 1 << 20):
            out.write(bytes(1 << 20))
        out.truncate(SIZE)
    yield path
    path.unlink()


@pytest.fixture
def file(path: Path) -> Iterator[int]:
    """A descriptor of it, with nothing in memory."""
    descriptor = os.open(path, os.O_RDWR)
    cold(descriptor)
    yield descriptor
    os.close(descriptor)


def read(descriptor: int, behind: ReadBehind, step: int = 1 << 20, start: int = 0) -> int:
    """Reads it to its end; the most bytes that were in memory meanwhile."""
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    os.lseek(descriptor, start, os.SEEK_SET)
    at, most = start, 0
    while True:
        behind.reads(at)
        found = len(os.read(descriptor, step))
        at += found
        if not found:
            return most
        if at % WINDOW < step:
            most = max(most, sum(resident(descriptor, 0, SIZE)) * PAGE)


@pytest.mark.parametrize("step", [4096, 2 << 20, 5_000_001])
def test_nothing_stays_of_a_file_that_was_not_in_memory(file: int, step: int) -> None:
    behind = ReadBehind(file, SIZE)
    assert 0 < read(file, behind, step) < 10 * WINDOW
    behind.end()
    assert not any(resident(file, 0, SIZE))


def test_all_stays_of_a_file_that_was_in_memory(file: int) -> None:
    while os.read(file, 1 << 20):
        pass
    assert all(resident(file, 0, SIZE))
    behind = ReadBehind(file, SIZE)
    read(file, behind)
    behind.end()
    assert all(resident(file, 0, SIZE))


def test_of_a_file_that_was_in_memory_in_part_that_part_stays(file: int) -> None:
    os.posix_fadvise(file, 0, 0, os.POSIX_FADV_RANDOM)
    pages = random.Random(7)
    for _ in range(300):
        os.pread(file, 1, pages.randrange(SIZE))
    before = resident(file, 0, SIZE)
    assert 0 < sum(before) < 2000
    behind = ReadBehind(file, SIZE)
    read(file, behind)
    behind.end()
    assert resident(file, 0, SIZE) == before


def test_a_file_that_is_read_twice_and_here_and_there_leaves_nothing(file: int) -> None:
    behind = ReadBehind(file, SIZE)
    read(file, behind)
    read(file, behind, start=3 * WINDOW + 5)
    read(file, behind)
    behind.end()
    assert not any(resident(file, 0, SIZE))


def small(folder: Path, windows: int) -> int:
    """A descriptor of a new file, with nothing in memory."""
    descriptor = os.open(folder / "small", os.O_RDWR | os.O_CREAT)
    os.write(descriptor, bytes(windows * WINDOW))
    cold(descriptor)
    return descriptor


def test_a_file_of_some_windows_stays_until_it_was_read_for_the_last_time(tmp_path: Path) -> None:
    descriptor, size = small(tmp_path, 3), 3 * WINDOW
    try:
        behind = ReadBehind(descriptor, size)
        read(descriptor, behind)
        assert all(resident(descriptor, 0, size))
        behind.end()
        assert not any(resident(descriptor, 0, size))
    finally:
        os.close(descriptor)


def test_a_file_that_shrinks_meanwhile_harms_nobody(tmp_path: Path) -> None:
    descriptor = small(tmp_path, 3)
    try:
        behind = ReadBehind(descriptor, 9 * WINDOW)
        behind.reads(0)
        os.ftruncate(descriptor, 5)
        behind.reads(WINDOW)
        behind.reads(7 * WINDOW)
        behind.end()
    finally:
        os.close(descriptor)


def test_what_has_no_pages_counts_as_in_memory() -> None:
    ends = os.pipe()
    try:
        assert resident(ends[0], 0, 3 * PAGE) == b"\1\1\1"
    finally:
        for end in ends:
            os.close(end)


@pytest.mark.parametrize("size", [LARGE + 1, WINDOW, 2 * WINDOW, 5 * WINDOW + 12345])
def test_nothing_stays_of_a_large_file_that_was_written(file: int, tmp_path: Path, size: int) -> None:
    """`file`: skips where there is nothing to see."""
    descriptor = os.open(tmp_path / "new", os.O_RDWR | os.O_CREAT)
    try:
        behind, written, most = WriteBehind(descriptor), 0, 0
        while written < size:
            written += os.write(descriptor, bytes(min(1 << 20, size - written)))
            behind.wrote(written)
            most = max(most, sum(resident(descriptor, 0, written)) * PAGE)
        behind.end(size)
        assert most <= 3 * WINDOW
        assert not any(resident(descriptor, 0, size))
    finally:
        os.close(descriptor)


def test_a_small_file_stays_where_it_is(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path / "new", os.O_RDWR | os.O_CREAT)
    try:
        behind = WriteBehind(descriptor)
        behind.wrote(os.write(descriptor, bytes(LARGE)))
        behind.end(LARGE)
        assert all(resident(descriptor, 0, LARGE))
    finally:
        os.close(descriptor)


def test_an_error_of_writing_is_told_and_a_pipe_is_none() -> None:
    ends = os.pipe()
    try:
        WriteBehind(ends[1]).end(LARGE + 1)
    finally:
        for end in ends:
            os.close(end)
    with pytest.raises(OSError, match=os.strerror(errno.EBADF)):
        WriteBehind(ends[1]).end(LARGE + 1)
