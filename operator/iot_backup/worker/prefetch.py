"""Asks the kernel for small files before the walk comes to them: where nothing is in the page cache, a disk answers several at once.

It begins when reading turns out to be slow, and costs nothing until then. It only ever looks and asks: what it meets that is not a regular
file, or not there any more, is the walk's matter.
"""

from __future__ import annotations

import os
import queue
import stat
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress

_AHEAD = 400
"""Files at most that are asked for before the walk has come to them."""
_THREADS = 2
_FOLDERS = 64
"""Folders at most whose names wait to be asked for: each holds a descriptor. What is entered beyond them is read without."""
_MOST = 256 << 10
"""Bytes of a file that is asked for. Larger ones the kernel reads ahead by itself, and of large ones storage/page_cache.py must see what was there before."""
_SLOW = 100e-6
"""Seconds to open and read a small file, on the average of _SAMPLE, from which the disk is waited for."""
_SAMPLE = 64
_OPEN = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


class Prefetch:
    """One walk's, all of whose calls are the walking thread's; `close` when it has ended."""

    def __init__(self) -> None:
        self._spent, self._count = 0.0, 0
        self._folders: queue.SimpleQueue[tuple[int, Sequence[bytes]] | None] | None = None
        self._room = threading.Semaphore(_AHEAD)
        self._free = threading.Semaphore(_FOLDERS)
        self._names: queue.SimpleQueue[tuple[_Folder, bytes] | None] = queue.SimpleQueue()
        self._ended = False

    @property
    def is_active(self) -> bool:
        return self._folders is not None

    def passed(self) -> None:
        """The walk has come to a regular file."""
        if self._folders is not None:
            self._room.release()

    def took(self, seconds: float) -> None:
        """A small file was opened and read in so long."""
        if self._folders is not None:
            return
        self._spent += seconds
        self._count += 1
        if self._count == _SAMPLE:
            if self._spent > _SLOW * _SAMPLE:
                self._begin()
            self._spent, self._count = 0.0, 0

    def folder(self, descriptor: int, names: Sequence[bytes]) -> None:
        """The walk enters a folder; the descriptor stays the caller's."""
        if names and self._folders is not None and self._free.acquire(blocking=False):
            self._folders.put((os.dup(descriptor), names))

    def close(self) -> None:
        self._ended = True
        if self._folders is not None:
            self._folders.put(None)
            for _ in range(_THREADS):
                self._room.release()

    def _begin(self) -> None:
        self._folders = queue.SimpleQueue()
        threading.Thread(target=self._distribute, args=(self._folders,), name="prefetch", daemon=True).start()
        for number in range(_THREADS):
            threading.Thread(target=self._ask, name=f"prefetch-{number}", daemon=True).start()

    def _distribute(self, folders: queue.SimpleQueue[tuple[int, Sequence[bytes]] | None]) -> None:
        """Hand out names, as far ahead as there is room."""
        while (entered := folders.get()) is not None:
            folder = _Folder(entered[0], len(entered[1]), self._free.release)
            for name in entered[1]:
                if not self._ended:
                    self._room.acquire()
                if self._ended:
                    folder.done()
                else:
                    self._names.put((folder, name))
        for _ in range(_THREADS):
            self._names.put(None)

    def _ask(self) -> None:
        while (item := self._names.get()) is not None:
            folder, name = item
            if self._ended or not self._asked(folder.descriptor, name):
                self._room.release()
            folder.done()

    def _asked(self, folder: int, name: bytes) -> bool:
        """Ask for a file; whether it is one that the walk will come to."""
        try:
            st = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if not stat.S_ISREG(st.st_mode):
                return False
            if st.st_size > _MOST:
                return True
            descriptor = os.open(name, _OPEN, dir_fd=folder)
        except OSError:
            return False
        with suppress(OSError):
            os.posix_fadvise(descriptor, 0, st.st_size, os.POSIX_FADV_WILLNEED)
        os.close(descriptor)
        return True


class _Folder:
    """A descriptor that goes when the last of its names was asked for."""

    def __init__(self, descriptor: int, names: int, closed: Callable[[], None]) -> None:
        """`names`: how many, at least one."""
        self.descriptor, self._left, self._closed, self._lock = descriptor, names, closed, threading.Lock()

    def done(self) -> None:
        with self._lock:
            self._left -= 1
            last = not self._left
        if last:
            os.close(self.descriptor)
            self._closed()
