"""Copies one file's bytes into the archive's frames, hashing them on the way."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, Protocol

from iot_backup.worker import tar
from iot_backup.worker.deltas import BlockHashes
from iot_backup.worker.notes import CHANGED, DAMAGED
from iot_backup.worker.sparse import Extent
from iot_backup.worker.xattrs import Place

# O_NONBLOCK: a fifo that takes a file's place between stat and open must not wait for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_READ_AHEAD_FROM = 1 << 20
"""Bytes of a file from which the kernel is told to read ahead."""
_ZEROS = bytes(1 << 20)
_BESIDE_FROM = 256 << 10
"""Bytes from which a second hash is worth a hand-over to another thread."""


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


class Buffer(Protocol):
    """Where bytes of files go: the archive's frames, or nowhere. A reader may fill `view` from `pos` itself, and calls `flush` when it is full."""

    size: int
    view: memoryview
    pos: int

    def write(self, data: bytes, /) -> None: ...
    def flush(self) -> None: ...
    def check(self) -> None: ...


class Nowhere:
    """Takes bytes that are only to be hashed."""

    def __init__(self, size: int, check: Callable[[], None]) -> None:
        """`check` is called now and then, and raises what ended the pipeline."""
        self.size = size
        self.view = memoryview(bytearray(size))
        self.pos = 0
        self.check = check

    def write(self, _data: bytes, /) -> None:
        return

    def flush(self) -> None:
        self.check()
        self.pos = 0


class Copied(NamedTuple):
    """What became of a file's content: exactly the promised bytes are in the archive, in any case."""

    sha256: str
    """Of what is in the archive, holes as zeros, hex."""
    trouble: str = ""
    """notes.CHANGED if the file was shorter than promised, notes.DAMAGED if it could not be read to its end; zeros stand for the rest."""
    reason: str = ""


def copy(
    buffer: Buffer,
    files: Files,
    descriptor: int,
    size: int,
    data: Sequence[Extent] | None = None,
    blocks: BlockHashes | None = None,
) -> Copied:
    """Append `size` bytes of the file, and tar's padding. Errors of the file are in the answer; what is raised ends the pipeline.

    `data`: of a sparse file, where it has data: only that is appended. The hash, and those of the blocks if asked for, are of the whole
    content all the same.
    """
    if size > _READ_AHEAD_FROM:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
    elif data is None and blocks is None and (sha256 := _at_once(buffer, files, descriptor, size)):
        return Copied(sha256)
    if blocks is None:
        return _copied(_Copying(buffer, files, descriptor, size), size, data)
    with ThreadPoolExecutor(1, thread_name_prefix="blocks") as beside:
        return _copied(_Copying(buffer, files, descriptor, size, blocks, beside), size, data)


def _copied(copying: _Copying, size: int, data: Sequence[Extent] | None) -> Copied:
    if data is None:
        copying.run(size)
        stored = size
    else:
        for extent in data:
            copying.hole(extent.start)
            copying.run(extent.length)
        copying.hole(size)
        stored = sum(extent.length for extent in data)
    copying.buffer.write(_ZEROS[: tar.padding(stored)])
    return Copied(copying.digest.hexdigest(), copying.trouble, copying.reason)


def _at_once(buffer: Buffer, files: Files, descriptor: int, size: int) -> str:
    """The hash of a small file that one read gave whole, padded; "" if it did not, and nothing was appended. On the path of every small file."""
    begin, end = buffer.pos, buffer.pos + size
    padded = end + tar.padding(size)
    if not size or padded > buffer.size:
        return ""
    target = buffer.view[begin:end]
    try:
        if files.read(descriptor, target) != size:
            files.seek(descriptor, 0, os.SEEK_SET)
            return ""
    except OSError:  # reading again tells whether it stays so
        return ""
    buffer.view[end:padded] = _ZEROS[: padded - end]
    buffer.pos = padded
    return hashlib.sha256(target).hexdigest()


def copy_runs(buffer: Buffer, files: Files, descriptor: int, size: int, runs: Sequence[Extent], blocks: BlockHashes) -> str:
    """Append these runs of a file of `size` bytes and hash their blocks alone; what went wrong, if anything."""
    copying = _Copying(buffer, files, descriptor, size, blocks)
    for run in runs:
        copying.seek(run.start)
        copying.run(run.length)
    return copying.reason


class _Copying:
    """One file on its way into the archive."""

    def __init__(
        self,
        buffer: Buffer,
        files: Files,
        descriptor: int,
        size: int,
        blocks: BlockHashes | None = None,
        beside: ThreadPoolExecutor | None = None,
    ) -> None:
        """`beside`: a thread for the blocks' hashes."""
        self.buffer, self._files, self._descriptor, self._size, self._blocks = buffer, files, descriptor, size, blocks
        self._beside = beside
        self._at = 0
        self.digest = hashlib.sha256()
        self.trouble, self.reason = "", ""

    def run(self, length: int) -> None:
        """Append the next bytes; zeros, once the file gave less than it promised."""
        buffer, left = self.buffer, length
        while left and not self.trouble:
            if buffer.pos == buffer.size:
                buffer.flush()
            begin = buffer.pos
            target = buffer.view[begin : begin + left]
            try:
                count = self._files.read(self._descriptor, target)
            except OSError as error:
                self._fail(DAMAGED, f"{error.strerror} after {self._at + length - left} of {self._size} bytes")
                break
            if not count:
                self._fail(CHANGED, f"shrank to {self._at + length - left} of {self._size} bytes while it was read")
                break
            self._hash(target[:count])
            buffer.pos = begin + count
            left -= count
        self._at += length
        self._hash_zeros(left, buffer.write)

    def _hash(self, data: memoryview) -> None:
        """A large file has two hashes, each more work than reading it: one beside the other, where there is a core for it."""
        second = None
        if self._blocks is not None:
            if self._beside is not None and len(data) >= _BESIDE_FROM:
                second = self._beside.submit(self._blocks.update, data)
            else:
                self._blocks.update(data)
        self.digest.update(data)
        if second is not None:
            second.result()  # before the buffer is another frame's

    def hole(self, end: int) -> None:
        """Pass over what is a hole up to `end`. Hashed alone, it would hear of no error elsewhere: hence the check."""
        if end == self._at and self._at:
            return
        left, self._at = end - self._at, end
        self._hash_zeros(left, lambda _zeros: self.buffer.check())
        self.seek(end)

    def seek(self, position: int) -> None:
        """Go on from there."""
        self._at = position
        if not self.trouble:
            try:
                self._files.seek(self._descriptor, position, os.SEEK_SET)
            except OSError as error:
                self._fail(DAMAGED, f"{error.strerror} at {position} of {self._size} bytes")

    def _hash_zeros(self, count: int, each: Callable[[bytes], None]) -> None:
        if self._blocks is not None:
            self._blocks.zeros(count)
        while count:
            zeros = _ZEROS[:count]
            each(zeros)
            self.digest.update(zeros)
            count -= len(zeros)

    def _fail(self, trouble: str, what: str) -> None:
        self.trouble, self.reason = trouble, f"{what}; zeros stand for the rest"
