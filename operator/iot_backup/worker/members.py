"""Turns what the walk found into members of the archive and rows of the index.

What an earlier backup has of a path already is not stored again: its row then goes on referring to the member there.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field

from iot_backup.worker import sparse, tar
from iot_backup.worker.contents import Files
from iot_backup.worker.deltas import Tag
from iot_backup.worker.earlier import Old
from iot_backup.worker.frames import Frames
from iot_backup.worker.index import (
    BLOCK_DEVICE,
    CHARACTER_DEVICE,
    DEVICES,
    FIFO,
    FILE,
    FOLDER,
    HARD_LINK,
    SYMLINK,
    Row,
)
from iot_backup.worker.index_reader import parts_of
from iot_backup.worker.notes import CHANGED, INCOMPLETE, SKIPPED, Notes, printable
from iot_backup.worker.prefetch import Prefetch
from iot_backup.worker.regular import Kept, RegularFiles, row_of
from iot_backup.worker.rows import Rows
from iot_backup.worker.small import SmallFiles
from iot_backup.worker.walk import Found
from iot_backup.worker.xattrs import XattrReader, beside

_KINDS = {
    stat.S_IFREG: FILE,
    stat.S_IFDIR: FOLDER,
    stat.S_IFLNK: SYMLINK,
    stat.S_IFIFO: FIFO,
    stat.S_IFCHR: CHARACTER_DEVICE,
    stat.S_IFBLK: BLOCK_DEVICE,
}


_TYPE = 0o170000


def kind_of(st: os.stat_result) -> str:
    """The kind of its row, if it is no hard link; "" for what is not stored."""
    return _KINDS.get(st.st_mode & _TYPE, "")


def is_of_kind(st: os.stat_result, row: Row) -> bool:
    """Whether a path is what a restore of the row makes of it: another name of a file is a file."""
    return kind_of(st) == (FILE if row.kind == HARD_LINK else row.kind)


@dataclass
class Counts:
    """What is in the backup: the whole tree, wherever its contents are."""

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


@dataclass
class _First:
    """The first name of a file with several."""

    path: bytes
    left: int
    """Names still to come."""
    content: tuple[int, int]
    """Size and time. The inode alone does not name a file: one that was deleted meanwhile leaves its inode to the next one."""
    fresh: bool
    """Its content is in this backup's own archive: tar makes a new file of it there, and the other names must be linked to that."""


@dataclass
class Members:
    """Writes members and their rows, in the order they are added."""

    archive: Frames
    rows: Rows
    notes: Notes
    files: Files = field(default_factory=Files)
    number: int = 0
    """Of this backup's own archive in the index."""
    tag: Tag | None = None
    """Tells blocks of large files apart; without it such files are stored whole."""
    counts: Counts = field(default_factory=Counts)
    prefetch: Prefetch = field(default_factory=Prefetch)
    _xattrs: XattrReader = field(init=False)
    _regular: RegularFiles = field(init=False)
    _small: SmallFiles = field(init=False)
    _linked: dict[tuple[int, int], _First] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._xattrs = XattrReader(self.files)
        self._small = SmallFiles(self.archive, self.rows, self.files, self._xattrs, self.number, self.prefetch)
        self._regular = RegularFiles(self.archive, self.rows, self.notes, self.files, self._xattrs, self.number, self.tag)

    def add(self, found: Found, old: Old | None = None) -> bool:
        """One path of the source; whether it is in the backup. Its own errors are noted; what is raised ends the pipeline.

        `old`: what the base has of this path.
        """
        kind = kind_of(found.stat)
        if kind == FILE:
            self.prefetch.passed()
            if old is None and self._small.add(found):
                self.counts.files += 1
                self.counts.source_bytes += found.stat.st_size
                return True
            return (found.stat.st_nlink > 1 and self._hard_link(found, old)) or self._file(found, old)
        if kind == SYMLINK:
            return self._symlink(found, old)
        if not kind:
            self.notes.add(SKIPPED, found.path, "a socket")
            return False
        self._without_content(found, kind, old)
        return True

    def keep(self, found: Found, kind: str, line: bytes, blocks: bytes) -> None:
        """A path that is as it was: its row as the base wrote it. Not for further names of a file."""
        self.rows.copy(line, blocks)
        if kind != FILE:
            self._count(kind)
            return
        content = parts_of(line)
        self.counts.files += 1
        self.counts.source_bytes += sparse.stored_size(content) if content else found.stat.st_size

    def _symlink(self, found: Found, old: Old | None) -> bool:
        try:
            target = os.readlink(found.name, dir_fd=found.folder)
        except OSError as error:
            self.notes.refused(found.path, error)
            return False
        self._without_content(found, SYMLINK, old, target)
        return True

    def _hard_link(self, found: Found, old: Old | None) -> bool:
        """Whether the file is in the archive under another name already, and now under this one, too."""
        key = found.stat.st_dev, found.stat.st_ino
        first = self._linked.pop(key, None)
        if first is None:
            return False
        if first.content != _content(found.stat):
            self.notes.add(
                CHANGED, found.path, f"is not as it was when it was read as {printable(first.path)}; stored as a file of its own"
            )
            return False
        first.left -= 1
        if first.left:
            self._linked[key] = first
        self._without_content(found, HARD_LINK, None if first.fresh else old, first.path)
        return True

    def _without_content(self, found: Found, kind: str, old: Old | None, link: bytes = b"") -> None:
        row = row_of(found.path, kind, found.stat, (self.number, self.archive.written), link)
        missing = ""
        if kind != HARD_LINK:  # which has those of its file
            place = found.descriptor if found.descriptor >= 0 else beside(found.folder, found.name)
            xattrs, missing = self._xattrs.read(place, found.stat.st_dev)
            if xattrs:
                row = row._replace(xattrs=xattrs)
        head = tar.header(row)
        known = old.row if old else None
        if known is not None and known.kind == kind and tar.header(known) == head:
            row = row._replace(archive=known.archive, offset=known.offset)
        else:
            self.archive.write(head)
        self.rows.add(row, sure=not missing)
        if missing:
            self.notes.add(INCOMPLETE, row.path, missing)
        self._count(kind)

    def _file(self, found: Found, old: Old | None) -> bool:
        if old is not None and old.same and old.row is not None and old.row.links == found.stat.st_nlink:
            self.keep(found, FILE, old.line, old.blocks_line)
            kept = Kept(old.row, found.stat, fresh=False)
        else:
            read = self._regular.add(found, old)
            if read is None:
                return False
            kept = read
            self._count(FILE)
            self.counts.source_bytes += tar.stored_size(kept.row)
        if kept.stat.st_nlink > 1 and kept.row.state != CHANGED:
            key = kept.stat.st_dev, kept.stat.st_ino
            self._linked[key] = _First(found.path, kept.stat.st_nlink - 1, _content(kept.stat), kept.fresh)
        return True

    def _count(self, kind: str) -> None:
        counts = self.counts
        if kind == FILE:
            counts.files += 1
        elif kind == FOLDER:
            counts.folders += 1
        elif kind == SYMLINK:
            counts.symlinks += 1
        elif kind == HARD_LINK:
            counts.hard_links += 1
        elif kind == FIFO:
            counts.fifos += 1
        elif kind in DEVICES:
            counts.devices += 1


def _content(st: os.stat_result) -> tuple[int, int]:
    """What names of one file share, and a link to it does not move."""
    return st.st_size, st.st_mtime_ns
