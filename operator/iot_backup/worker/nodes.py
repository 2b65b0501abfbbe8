"""Makes one path of the target: whole under a temporary name, with its attributes, then moved to its place."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator

from iot_backup.errors import CorruptData
from iot_backup.storage.page_cache import LARGE, WriteBehind
from iot_backup.worker.attributes import Attributes
from iot_backup.worker.index import CHARACTER_DEVICE, Row
from iot_backup.worker.target import Target

_NO_DEVICES = (errno.EPERM, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP)
"""This user, or this file system, makes no device nodes."""
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

Content = Callable[[Row], Iterator[tuple[memoryview, bool]]]
"""A file's bytes, in pieces, and whether each is stored or a hole's zeros. CorruptData."""


class Nodes:
    """Each method takes the descriptor of the folder and the name in it. What has that name goes. OSError for the target."""

    def __init__(self, target: Target, attributes: Attributes, *, devices: bool) -> None:
        self._target, self._attributes, self._devices = target, attributes, devices

    def file(self, folder: int, name: bytes, row: Row, content: Content) -> None:
        """CorruptData if the content is not the row's; the file is then not put in place."""
        descriptor = os.open(self._target.temporary, _NEW_FILE, 0o600, dir_fd=folder)
        try:
            _write(row, content, descriptor)
            self._attributes.apply(descriptor, row)
            self._target.place(folder, name)
        except BaseException:
            self._target.discard(folder)
            raise
        finally:
            os.close(descriptor)

    def symlink(self, folder: int, name: bytes, row: Row) -> None:
        os.symlink(row.link, self._target.temporary, dir_fd=folder)
        try:
            self._attributes.apply_to_link(folder, self._target.temporary, row)
            self._target.place(folder, name)
        except BaseException:
            self._target.discard(folder)
            raise

    def fifo(self, folder: int, name: bytes, row: Row) -> None:
        os.mkfifo(self._target.temporary, 0o600, dir_fd=folder)
        try:
            descriptor = os.open(self._target.temporary, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=folder)
            try:
                self._attributes.apply(descriptor, row)
            finally:
                os.close(descriptor)
            self._target.place(folder, name)
        except BaseException:
            self._target.discard(folder)
            raise

    def device(self, folder: int, name: bytes, row: Row) -> bool:
        """Whether it was made: it must be asked for, and user and file system must be able to."""
        kind = stat.S_IFCHR if row.kind == CHARACTER_DEVICE else stat.S_IFBLK
        if not (self._devices and self._made_device(folder, kind | 0o600, row.device)):
            return False
        try:
            # To open a device does something; this descriptor only names it.
            descriptor = os.open(self._target.temporary, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            try:
                self._attributes.apply(b"/proc/self/fd/%d" % descriptor, row)
            finally:
                os.close(descriptor)
            self._target.place(folder, name)
        except BaseException:
            self._target.discard(folder)
            raise
        return True

    def _made_device(self, folder: int, mode: int, device: tuple[int, int]) -> bool:
        try:
            os.mknod(self._target.temporary, mode, os.makedev(*device), dir_fd=folder)
        except OSError as error:
            if error.errno not in _NO_DEVICES:
                raise
            return False
        return True


def _write(row: Row, content: Content, descriptor: int) -> None:
    """Write the member's content, but for its holes, and hold it to its SHA-256."""
    digest = hashlib.sha256()
    sparse = False
    behind, written = WriteBehind(descriptor) if row.size > LARGE else None, 0
    for piece, stored in content(row):
        digest.update(piece)
        written += len(piece)
        if not stored:
            os.lseek(descriptor, len(piece), os.SEEK_CUR)
            sparse = True
            continue
        rest = piece
        while rest:
            rest = rest[os.write(descriptor, rest) :]
        if behind is not None:
            behind.wrote(written)
    if digest.hexdigest() != row.sha256:
        raise CorruptData(
            f"the content of {row.path!r} is not what the index says: the archive was damaged or replaced. It was not put in place."
        )
    if sparse:
        os.ftruncate(descriptor, row.size)
    if behind is not None:
        behind.end(written)
