"""Copies one file's bytes into the archive's frames, hashing them on the way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from typing import NamedTuple

from iot_backup.worker import tar
from iot_backup.worker.frames import Frames
from iot_backup.worker.notes import CHANGED, DAMAGED
from iot_backup.worker.sparse import Extent
from iot_backup.worker.xattrs import Place

# O_NONBLOCK: a fifo that takes a file's place between stat and open must not wait for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ_AHEAD_FROM = 1 << 20
"""Bytes of a file from which the kernel is told to read ahead."""
_ZEROS = bytes(1 << 20)


class Files:
    """The calls a source file is read by; tests put their faults here."""

    def open(self, name: bytes, folder: int) -> int:
        return os.open(name, _FILE, dir_fd=folder)

    def read(self, descriptor: int, target: memoryview) -> int:
        return os.readv(descriptor, [target])

    def seek(self, descriptor: int, offset: int, whence: int) -> int:
        return os.lseek(descriptor, offset, whence)

    def list_xattrs(self, place: Place) -> list[str]:
        return os.listxattr(place) if isinstance(place, int) else os.listxattr(place, follow_symlinks=False)

    def xattr(self, place: Place, name: bytes) -> bytes:
        return os.getxattr(place, name) if isinstance(place, int) else os.getxattr(place, name, follow_symlinks=False)


class Copied(NamedTuple):
    """What became of a file's content: exactly the promised bytes are in the archive, in any case."""

    sha256: str
    """Of what is in the archive, holes as zeros, hex."""
    trouble: str = ""
    """notes.CHANGED if the file was shorter than promised, notes.DAMAGED if it could not be read to its end; zeros stand for the rest."""
    reason: str = ""


def copy(frames: Frames, files: Files, descriptor: int, size: int, data: Sequence[Extent] | None = None) -> Copied:
    """Append `size` bytes of the file, and tar's padding. Errors of the file are in the answer; what is raised ends the pipeline.

    `data`: of a sparse file, where it has data: only that is appended. The hash is of the whole content all the same.
    """
    if size > _READ_AHEAD_FROM:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    copying = _Copying(frames, files, descriptor, size)
    if data is None:
        copying.run(size)
        stored = size
    else:
        for extent in data:
            copying.hole(extent.start)
            copying.run(extent.length)
        copying.hole(size)
        stored = sum(extent.length for extent in data)
    frames.write(_ZEROS[: tar.padding(stored)])
    return Copied(copying.digest.hexdigest(), copying.trouble, copying.reason)


class _Copying:
    """One file on its way into the archive."""

    def __init__(self, frames: Frames, files: Files, descriptor: int, size: int) -> None:
        self._frames, self._files, self._descriptor, self._size = frames, files, descriptor, size
        self._at = 0
        self.digest = hashlib.sha256()
        self.trouble, self.reason = "", ""

    def run(self, length: int) -> None:
        """Append the next bytes; zeros, once the file gave less than it promised."""
        frames, left = self._frames, length
        while left and not self.trouble:
            if frames.pos == frames.size:
                frames.flush()
            begin = frames.pos
            target = frames.view[begin : begin + left]
            try:
                count = self._files.read(self._descriptor, target)
            except OSError as error:
                self._fail(DAMAGED, f"{error.strerror} after {self._at + length - left} of {self._size} bytes")
                break
            if not count:
                self._fail(CHANGED, f"shrank to {self._at + length - left} of {self._size} bytes while it was read")
                break
            self.digest.update(target[:count])
            frames.pos = begin + count
            left -= count
        self._at += length
        while left:
            zeros = _ZEROS[:left]
            self.digest.update(zeros)
            frames.write(zeros)
            left -= len(zeros)

    def hole(self, end: int) -> None:
        """Pass over what is a hole up to `end`. Hashed alone, it would hear of no error elsewhere: hence the check."""
        if end == self._at and self._at:
            return
        left, self._at = end - self._at, end
        while left:
            self._frames.check()
            zeros = _ZEROS[:left]
            self.digest.update(zeros)
            left -= len(zeros)
        if not self.trouble:
            try:
                self._files.seek(self._descriptor, end, os.SEEK_SET)
            except OSError as error:
                self._fail(DAMAGED, f"{error.strerror} at {end} of {self._size} bytes")

    def _fail(self, trouble: str, what: str) -> None:
        self.trouble, self.reason = trouble, f"{what}; zeros stand for the rest"
