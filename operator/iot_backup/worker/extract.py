"""Writes members into a target, in the order of the index. Safe by construction: see target.py.

A folder is complete when a member outside of it comes, since members come folder by folder. Then its symlinks are made, so that
nothing of this backup is written beside a link before; then it gets its own attributes, children first.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Protocol

from iot_backup.errors import CorruptData
from iot_backup.worker.attributes import Attributes
from iot_backup.worker.index import (
    CHANGED,
    CHARACTER_DEVICE,
    DAMAGED,
    DEVICES,
    FIFO,
    FILE,
    FOLDER,
    HARD_LINK,
    ROOT,
    SUPERSEDED,
    SYMLINK,
    Row,
)
from iot_backup.worker.target import Target, target_error

_NO_DEVICES = (errno.EPERM, errno.EACCES, errno.EINVAL, errno.EOPNOTSUPP)
"""This user, or this file system, makes no device nodes."""
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Content(Protocol):
    """Where a file's bytes come from."""

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Exactly the next `size` bytes. CorruptData if there are fewer."""


@dataclass
class Extracted:
    """What was written."""

    files: int = 0
    hard_links: int = 0
    folders: int = 0
    symlinks: int = 0
    fifos: int = 0
    devices: int = 0
    devices_left_out: int = 0
    """Not asked for, or this user may not make them."""
    bytes: int = 0
    """Of files' contents."""
    changed: int = 0
    """Files that had changed while they were backed up."""
    damaged: int = 0
    """Files that could not be read to their end when they were backed up."""


@dataclass
class _Level:
    """A folder that is being filled."""

    descriptor: int
    path: bytes
    row: Row
    last: bytes = b""
    """Name of the member before; names only grow, so each comes once and no folder is entered again."""
    again: bool = False
    """The member before was a first reading: the same name comes once more."""
    symlinks: list[tuple[bytes, Row]] = field(default_factory=list)


class Extractor:
    """Use `add` for each row, then `finish` once; `close` in any case."""

    def __init__(self, root: int, *, devices: bool = False) -> None:
        """`devices`: make device nodes, too."""
        self._target = Target(root)
        self._devices = devices
        self._attributes = Attributes()
        self._levels: list[_Level] = []
        self._linked: dict[bytes, int] = {}
        self.done = Extracted()

    @property
    def attributes(self) -> Attributes:
        return self._attributes

    def add(self, row: Row, content: Content) -> None:
        """Write one member. CorruptData if it cannot come here; TargetFull, AccessDenied, SourceUnavailable for the target."""
        try:
            self._add(row, content)
        except OSError as error:
            raise target_error(error, row.path) from error

    def finish(self) -> None:
        """Complete all folders and return when everything is on disk."""
        if not self._levels:
            raise CorruptData("the index has no members, not even the root: it was changed")
        try:
            while self._levels:
                self._leave()
            self._target.flush()
        except OSError as error:
            raise target_error(error, ROOT) from error

    def close(self) -> None:
        for level in self._levels:
            os.close(level.descriptor)
        self._levels.clear()
        self._target.close()

    def _add(self, row: Row, content: Content) -> None:
        if not self._levels or row.path == ROOT:
            self._enter_root(row)
            return
        parent, _, name = row.path.rpartition(b"/")
        level = self._level(parent, name, row)
        if row.kind == FILE:
            self._file(level, name, row, content)
        elif row.kind == FOLDER:
            self._levels.append(_Level(self._target.enter(level.descriptor, name), row.path, row))
            self.done.folders += 1
        elif row.kind == SYMLINK:
            level.symlinks.append((name, row))
        elif row.kind == HARD_LINK:
            self._hard_link(level, name, row)
        elif row.kind == FIFO:
            self._fifo(level, name, row)
        elif row.kind in DEVICES:
            self._device(level, name, row)

    def _enter_root(self, row: Row) -> None:
        if self._levels or row.path != ROOT or row.kind != FOLDER:
            raise CorruptData("the index does not begin with the root, or has two of them: it was changed")
        self._levels.append(_Level(os.dup(self._target.root), b"", row))
        self._target.prepare(self._target.root)
        self.done.folders += 1

    def _level(self, parent: bytes, name: bytes, row: Row) -> _Level:
        """The folder that the member goes into; those that are complete by now are left."""
        while self._levels[-1].path != parent:
            if len(self._levels) == 1:
                raise CorruptData(f"the index holds {row.path!r} outside of its folder: it was changed")
            self._leave()
        level = self._levels[-1]
        if name != level.last if level.again else name <= level.last:
            raise CorruptData(f"the index holds {row.path!r} twice or in the wrong place: it was changed")
        level.last, level.again = name, row.state == SUPERSEDED
        return level

    def _leave(self) -> None:
        level = self._levels[-1]
        if level.again:
            raise CorruptData(f"the index lacks the second reading of {level.last!r}: it was changed")
        for name, row in level.symlinks:
            self._symlink(level, name, row)
        self._attributes.apply(level.descriptor, level.row)
        os.close(level.descriptor)
        self._levels.pop()

    def _file(self, level: _Level, name: bytes, row: Row, content: Content) -> None:
        if row.state == SUPERSEDED:
            _checked(row, content, None)
            return
        descriptor = os.open(self._target.temporary, _NEW_FILE, 0o600, dir_fd=level.descriptor)
        try:
            _checked(row, content, descriptor)
            self._attributes.apply(descriptor, row)
            self._target.place(level.descriptor, name)
        except BaseException:
            self._target.discard(level.descriptor)
            raise
        finally:
            os.close(descriptor)
        if row.links > 1:
            self._linked[row.path] = row.links - 1
        self.done.files += 1
        self.done.bytes += row.size
        self.done.changed += row.state == CHANGED
        self.done.damaged += row.state == DAMAGED

    def _hard_link(self, level: _Level, name: bytes, row: Row) -> None:
        if not self._linked.get(row.link):
            raise CorruptData(f"the index makes {row.path!r} a hard link to {row.link!r}, which is no file of this backup: it was changed")
        self._linked[row.link] -= 1
        parent, _, source = row.link.rpartition(b"/")
        folder = self._target.opened(parent)
        try:
            os.link(source, self._target.temporary, src_dir_fd=folder, dst_dir_fd=level.descriptor, follow_symlinks=False)
            self._target.place(level.descriptor, name)
        except BaseException:
            self._target.discard(level.descriptor)
            raise
        finally:
            os.close(folder)
        self.done.hard_links += 1

    def _symlink(self, level: _Level, name: bytes, row: Row) -> None:
        os.symlink(row.link, self._target.temporary, dir_fd=level.descriptor)
        try:
            self._attributes.apply_to_link(level.descriptor, self._target.temporary, row)
            self._target.place(level.descriptor, name)
        except BaseException:
            self._target.discard(level.descriptor)
            raise
        self.done.symlinks += 1

    def _fifo(self, level: _Level, name: bytes, row: Row) -> None:
        os.mkfifo(self._target.temporary, 0o600, dir_fd=level.descriptor)
        try:
            descriptor = os.open(self._target.temporary, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW, dir_fd=level.descriptor)
            try:
                self._attributes.apply(descriptor, row)
            finally:
                os.close(descriptor)
            self._target.place(level.descriptor, name)
        except BaseException:
            self._target.discard(level.descriptor)
            raise
        self.done.fifos += 1

    def _device(self, level: _Level, name: bytes, row: Row) -> None:
        kind = stat.S_IFCHR if row.kind == CHARACTER_DEVICE else stat.S_IFBLK
        if not (self._devices and self._made_device(level.descriptor, kind | 0o600, row.device)):
            self.done.devices_left_out += 1
            return
        try:
            # To open a device does something; this descriptor only names it.
            descriptor = os.open(self._target.temporary, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=level.descriptor)
            try:
                self._attributes.apply(b"/proc/self/fd/%d" % descriptor, row)
            finally:
                os.close(descriptor)
            self._target.place(level.descriptor, name)
        except BaseException:
            self._target.discard(level.descriptor)
            raise
        self.done.devices += 1

    def _made_device(self, folder: int, mode: int, device: tuple[int, int]) -> bool:
        try:
            os.mknod(self._target.temporary, mode, os.makedev(*device), dir_fd=folder)
        except OSError as error:
            if error.errno not in _NO_DEVICES:
                raise
            return False
        return True


def _checked(row: Row, content: Content, descriptor: int | None) -> None:
    """Take the member's content, write it where a descriptor is given, and hold it to its SHA-256."""
    digest = hashlib.sha256()
    for piece in content.pieces(row.size):
        digest.update(piece)
        rest = piece
        while descriptor is not None and rest:
            rest = rest[os.write(descriptor, rest) :]
    if digest.hexdigest() != row.sha256:
        raise CorruptData(
            f"the content of {row.path!r} is not what the index says: the archive was damaged or replaced. It was not put in place."
        )
