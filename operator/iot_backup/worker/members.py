"""Turns what the walk found into members of the archive and rows of the index.

A file's header goes out before its content, so its size is promised before it is known to hold. What changes while it is read
is read again once: in place where the member still lies in one buffer, as a second member of the same name where it does
not (tar's last member of a name wins).
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import NamedTuple

from iot_backup.worker import sparse, tar
from iot_backup.worker.contents import Copied, Files, copy
from iot_backup.worker.frames import Frames
from iot_backup.worker.index import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DEVICES,
    FIFO,
    FILE,
    FOLDER,
    HARD_LINK,
    SUPERSEDED,
    SYMLINK,
    Row,
    member_line,
)
from iot_backup.worker.notes import CHANGED, INCOMPLETE, SKIPPED, VANISHED, Notes, printable
from iot_backup.worker.walk import Found
from iot_backup.worker.xattrs import XattrReader, Xattrs, beside

_TWICE_LIMIT = 64 << 20
"""Bytes of a file up to which it is stored twice if it changed: a bigger one is likely to change again, and costs as much again."""


@dataclass
class Counts:
    """What went into the archive."""

    files: int = 0
    hard_links: int = 0
    folders: int = 0
    """With the root."""
    symlinks: int = 0
    fifos: int = 0
    devices: int = 0
    source_bytes: int = 0
    """Of files' contents, without the holes of sparse files."""

    @property
    def entries(self) -> int:
        """Paths, the root included."""
        return self.files + self.hard_links + self.folders + self.symlinks + self.fifos + self.devices


class _Reading(NamedTuple):
    """A file's member, as it is in the archive; its row is not yet in the index."""

    row: Row
    promised: os.stat_result
    reason: str
    """Why `row.state` is what it is."""
    incomplete: str
    """Why extended attributes are missing, if so."""


@dataclass
class Members:
    """Writes members and their rows, in the order they are added."""

    archive: Frames
    index: Frames
    notes: Notes
    files: Files = field(default_factory=Files)
    number: int = 0
    """Of this backup's own archive in the index."""
    counts: Counts = field(default_factory=Counts)
    written: int = 0
    """Members, first readings of changed files included."""
    _xattrs: XattrReader = field(init=False)
    _linked: dict[tuple[int, int], tuple[bytes, int, tuple[int, int]]] = field(default_factory=dict)
    """First path, names still to come, and size and time of each file with several names. Its inode alone does not name it: a file that
    was deleted meanwhile leaves its inode to the next one."""

    def __post_init__(self) -> None:
        self._xattrs = XattrReader(self.files)

    def add(self, found: Found) -> None:
        """One path of the source. Its own errors are noted; what is raised ends the pipeline."""
        mode = found.stat.st_mode
        if stat.S_ISREG(mode):
            if found.stat.st_nlink == 1 or not self._hard_link(found):
                self._file(found)
        elif stat.S_ISDIR(mode):
            self._without_content(found, FOLDER)
            self.counts.folders += 1
        elif stat.S_ISLNK(mode):
            self._symlink(found)
        elif stat.S_ISFIFO(mode):
            self._without_content(found, FIFO)
            self.counts.fifos += 1
        elif stat.S_ISCHR(mode) or stat.S_ISBLK(mode):
            self._without_content(found, CHARACTER_DEVICE if stat.S_ISCHR(mode) else BLOCK_DEVICE)
            self.counts.devices += 1
        else:
            self.notes.add(SKIPPED, found.path, "a socket")

    def _symlink(self, found: Found) -> None:
        try:
            target = os.readlink(found.name, dir_fd=found.folder)
        except OSError as error:
            self.notes.refused(found.path, error)
            return
        self._without_content(found, SYMLINK, target)
        self.counts.symlinks += 1

    def _hard_link(self, found: Found) -> bool:
        """Whether the file is in the archive under another name already, and now under this one, too."""
        key = found.stat.st_dev, found.stat.st_ino
        first, left, content = self._linked.pop(key, (b"", 0, (0, 0)))
        if not first:
            return False
        if content != _content(found.stat):
            self.notes.add(CHANGED, found.path, f"is not as it was when it was read as {printable(first)}; stored as a file of its own")
            return False
        if left > 1:
            self._linked[key] = first, left - 1, content
        self._without_content(found, HARD_LINK, first)
        self.counts.hard_links += 1
        return True

    def _without_content(self, found: Found, kind: str, link: bytes = b"") -> None:
        row = _row(found.path, kind, found.stat, (self.number, self.archive.written), link)
        if kind != HARD_LINK:  # which has those of its file
            place = found.descriptor if found.descriptor >= 0 else beside(found.folder, found.name)
            row = self._with_xattrs(row, *self._xattrs.read(place, found.stat.st_dev))
        self.archive.write(tar.header(row))
        self._emit(row)

    def _with_xattrs(self, row: Row, xattrs: Xattrs, missing: str) -> Row:
        if missing:
            self.notes.add(INCOMPLETE, row.path, missing)
        return row._replace(xattrs=xattrs) if xattrs else row

    def _file(self, found: Found) -> None:
        """A regular file: read once, or if it changes meanwhile, twice."""
        first: _Reading | None = None
        for last in (False, True):
            try:
                descriptor = self.files.open(found.name, found.folder)
            except OSError as error:
                self._gone(found.path, error, first)
                return
            try:
                promised = os.fstat(descriptor) if last else found.stat
                if not stat.S_ISREG(promised.st_mode):
                    self._gone(found.path, None, first)
                    return
                if first is not None:
                    self._emit(first.row._replace(state=SUPERSEDED))
                reading = self._read(found.path, descriptor, promised, last=last)
            finally:
                os.close(descriptor)
            if reading is not None and (last or not reading.row.state or promised.st_size > _TWICE_LIMIT):
                self._keep(reading)
                return
            first = reading

    def _read(self, path: bytes, descriptor: int, promised: os.stat_result, *, last: bool) -> _Reading | None:
        """Write the member as promised, without its row; None if the file changed, lay in one buffer and was taken back to be read again."""
        archive, size = self.archive, promised.st_size
        row = _row(path, FILE, promised, (self.number, archive.written))
        xattrs, incomplete = self._xattrs.read(descriptor, promised.st_dev)
        if xattrs:
            row = row._replace(xattrs=xattrs)
        data = sparse.extents(self.files, descriptor, promised)
        if data is not None:
            row = row._replace(parts=sparse.parts(data, size))
        head = tar.header(row)
        if data is not None:
            row = row._replace(parts=sparse.parts(data, size, self.number, row.offset + len(head)))
        stored = tar.stored_size(row)
        needed = len(head) + stored + tar.padding(stored)
        in_place = needed <= archive.size
        if in_place and needed > archive.size - archive.pos:
            archive.flush()
        before = archive.pos
        archive.write(head)
        copied = copy(archive, self.files, descriptor, size, data)
        if not copied.trouble and _signature(os.fstat(descriptor)) != _signature(promised):
            copied = Copied(copied.sha256, CHANGED, "changed while it was read")
        if copied.trouble and in_place and not last:
            archive.pos = before
            return None
        return _Reading(row._replace(sha256=copied.sha256, state=copied.trouble), promised, copied.reason, incomplete)

    def _gone(self, path: bytes, error: OSError | None, first: _Reading | None) -> None:
        """The file is no longer there, or no file (`error` None). What a first reading left in the archive is then all there is of it."""
        if first is not None:
            self._keep(first)
        elif error is None or error.errno == errno.ELOOP:  # a link took its place
            self.notes.add(VANISHED, path, "became something else when it should be read")
        else:
            self.notes.refused(path, error)

    def _keep(self, reading: _Reading) -> None:
        row, promised = reading.row, reading.promised
        self._emit(row)
        if row.state:
            self.notes.add(row.state, row.path, reading.reason)
        if reading.incomplete:
            self.notes.add(INCOMPLETE, row.path, reading.incomplete)
        if promised.st_nlink > 1 and row.state != CHANGED:
            self._linked[promised.st_dev, promised.st_ino] = row.path, promised.st_nlink - 1, _content(promised)
        self.counts.files += 1
        self.counts.source_bytes += tar.stored_size(row)

    def _emit(self, row: Row) -> None:
        self.index.write(member_line(row))
        self.written += 1


def _row(path: bytes, kind: str, st: os.stat_result, place: tuple[int, int], link: bytes = b"") -> Row:
    """`place`: archive and offset."""
    size = st.st_size if kind == FILE else 0
    mode = st.st_mode & 0o7777
    row = Row(path, kind, size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino, mode, st.st_uid, st.st_gid, *place, link=link, links=st.st_nlink)
    return row._replace(device=(os.major(st.st_rdev), os.minor(st.st_rdev))) if kind in DEVICES else row


def _content(st: os.stat_result) -> tuple[int, int]:
    """What names of one file share, and a link to it does not move."""
    return st.st_size, st.st_mtime_ns


def _signature(st: os.stat_result) -> tuple[int, int, int, int]:
    """What moves when a file's content does."""
    return st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns
