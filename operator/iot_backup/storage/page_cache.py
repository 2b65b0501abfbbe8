"""Leaves the machine's page cache as it was: large files that pass through us must not push out what a database works with.

No error here is a run's: where the kernel or the file system cannot do it, the pages stay. But for errors of writing, which would not be
told a second time.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re

LARGE = 8 << 20
"""Bytes of a file from which it is worth asking: below it, asking costs more than the room is worth."""
WINDOW = 16 << 20
"""Bytes looked at, and let go, at once: a multiple of the largest page that kernels cache."""
_AHEAD = 4
"""Windows looked at before the reader comes there: some disks are set to be read 16 MiB ahead, which a sequential reader's kernel doubles."""
_HELD = 4
"""Windows that stay behind the reader: a file of 64 MiB that is read twice comes from the disk once."""
_PAGE = mmap.PAGESIZE
_LOWEST_BIT = bytes(value & 1 for value in range(256))
_ABSENT = re.compile(rb"\x00+")
_FAILED = ctypes.c_void_p(-1).value
_SYNC_WAIT_BEFORE, _SYNC_WRITE, _SYNC_WAIT_AFTER = 1, 2, 4
_CANNOT = (errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.ESPIPE, errno.EPERM)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_longlong)
_libc.mincore.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_char_p)
_libc.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)


def resident(descriptor: int, start: int, length: int) -> bytes:
    """A byte for each page from `start` (a multiple of the page's size) on: 1 if it is in memory, else 0.

    Also 1 where we may not know: the kernel tells it to the file's owner, to who may write it, and to root.
    """
    pages = -(-length // _PAGE)
    address = _libc.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, descriptor, start)
    if address == _FAILED:
        return b"\1" * pages
    found = ctypes.create_string_buffer(pages)
    failed = _libc.mincore(address, length, found)
    _libc.munmap(address, length)
    return b"\1" * pages if failed else found.raw.translate(_LOWEST_BIT)


class ReadBehind:
    """One file that is read: its pages go again behind the reader, but for those that were in memory before."""

    def __init__(self, descriptor: int, size: int) -> None:
        """`size`: bytes of the file. The descriptor stays the caller's."""
        self._descriptor, self._size = descriptor, size
        self._before: dict[int, bytes] = {}
        """By window, in the order they were come upon: what was in memory."""
        self._number = -1

    def reads(self, position: int) -> None:
        """To be told before each read, of at most WINDOW bytes."""
        number = position // WINDOW
        if number == self._number:
            return
        self._number = number
        near = range(number, number + 1 + _AHEAD)
        for window in near:
            start = window * WINDOW
            if window not in self._before and start < self._size:
                self._before[window] = resident(self._descriptor, start, min(WINDOW, self._size - start))
        for window in [window for window in self._before if window not in near][:-_HELD]:
            self._let_go(window)

    def end(self) -> None:
        """The file will not be read any more."""
        for window in list(self._before):
            self._let_go(window)

    def _let_go(self, window: int) -> None:
        first = window * WINDOW // _PAGE
        for run in _ABSENT.finditer(self._before.pop(window)):
            start, end = ((first + page) * _PAGE for page in run.span())
            # The last page may be a large one, which goes only as a whole: 0 means all there is.
            _forget(self._descriptor, start, end - start if end < self._size else 0)


class WriteBehind:
    """One new file that is written from its beginning: what was written goes to the disk meanwhile, and out of memory."""

    def __init__(self, descriptor: int) -> None:
        """The descriptor stays the caller's."""
        self._descriptor = descriptor
        self._begun = 0

    def wrote(self, position: int) -> None:
        """All up to `position` was written. OSError if some of it cannot be."""
        while position - self._begun >= WINDOW:
            self._sync(self._begun, WINDOW, _SYNC_WRITE)
            if self._begun:
                self._finish(self._begun - WINDOW, WINDOW)
            self._begun += WINDOW

    def end(self, size: int) -> None:
        """The file is complete. OSError if some of it cannot be written."""
        if size > LARGE:
            start = max(0, self._begun - WINDOW)
            self._finish(start, 0)  # to the end

    def _finish(self, start: int, length: int) -> None:
        self._sync(start, length, _SYNC_WAIT_BEFORE | _SYNC_WRITE | _SYNC_WAIT_AFTER)
        _forget(self._descriptor, start, length)

    def _sync(self, start: int, length: int, how: int) -> None:
        if _libc.sync_file_range(self._descriptor, ctypes.c_longlong(start), ctypes.c_longlong(length), ctypes.c_uint(how)):
            number = ctypes.get_errno()
            if number not in _CANNOT:
                raise OSError(number, os.strerror(number))


def _forget(descriptor: int, start: int, length: int) -> None:
    try:
        os.posix_fadvise(descriptor, start, length, os.POSIX_FADV_DONTNEED)
    except OSError:
        return
