"""Copies one file's bytes into the archive's frames, hashing them on the way."""

from __future__ import annotations

import hashlib
import os
from typing import NamedTuple

from iot_backup.worker import tar
from iot_backup.worker.frames import Frames
from iot_backup.worker.notes import CHANGED, DAMAGED

# O_NONBLOCK: a fifo that takes a file's place between stat and open must not wait for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ_AHEAD_FROM = 1 << 20
"""Bytes of a file from which the kernel is told to read ahead."""
_ZEROS = bytes(64 << 10)


class Files:
    """The calls a source file is read by; tests put their faults here."""

    def open(self, name: bytes, folder: int) -> int:
        return os.open(name, _FILE, dir_fd=folder)

    def read(self, descriptor: int, target: memoryview) -> int:
        return os.readv(descriptor, [target])


class Copied(NamedTuple):
    """What became of a file's content: exactly the promised bytes are in the archive, in any case."""

    sha256: str
    """Of what is in the archive, hex."""
    trouble: str = ""
    """notes.CHANGED if the file was shorter than promised, notes.DAMAGED if it could not be read to its end; zeros stand for the rest."""
    reason: str = ""


def copy(frames: Frames, files: Files, descriptor: int, size: int) -> Copied:
    """Append `size` bytes of the file, and tar's padding. Errors of the file are in the answer; what is raised ends the pipeline."""
    if size > _READ_AHEAD_FROM:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    digest = hashlib.sha256()
    left, trouble, reason = size, "", ""
    while left:
        if frames.pos == frames.size:
            frames.flush()
        begin = frames.pos
        target = frames.view[begin : begin + left]
        try:
            count = files.read(descriptor, target)
        except OSError as error:
            trouble, reason = DAMAGED, f"{error.strerror} after {size - left} of {size} bytes; zeros stand for the rest"
            break
        if not count:
            trouble, reason = CHANGED, f"shrank to {size - left} of {size} bytes while it was read; zeros stand for the rest"
            break
        digest.update(target[:count])
        frames.pos = begin + count
        left -= count
    while left:
        zeros = _ZEROS[:left]
        digest.update(zeros)
        frames.write(zeros)
        left -= len(zeros)
    frames.write(_ZEROS[: tar.padding(size)])
    return Copied(digest.hexdigest(), trouble, reason)
