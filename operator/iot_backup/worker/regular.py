"""Stores regular files, or finds that their content is stored already.

A file's header goes out before its content, so its size is promised before it is known to hold. What changes while it is read
is read again once: in place where the member still lies in one buffer, as a second member of the same name where it does
not (tar's last member of a name wins).

What stat() says of a file an earlier backup has may be another now although its content is not: it was given away, or its volume copied.
A file of the same size is therefore hashed first. A small one is put into the frame all the same and taken out again if its hash is
the known one, so that it is read once in either case; one that does not fit there is read twice if it is to be stored.
"""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field
from typing import NamedTuple

from iot_backup.worker import deltas, sparse, tar
from iot_backup.worker.contents import Copied, Files, Nowhere, copy, copy_runs
from iot_backup.worker.deltas import BlockHashes, Blocks, Tag
from iot_backup.worker.earlier import Old
from iot_backup.worker.frames import Frames
from iot_backup.worker.index import DEVICES, FILE, SUPERSEDED, WHOLE, Part, Row, blocks_line, member_line
from iot_backup.worker.notes import CHANGED, INCOMPLETE, UNREADABLE, Notes
from iot_backup.worker.passing import passed, passing
from iot_backup.worker.rows import Rows
from iot_backup.worker.walk import Found
from iot_backup.worker.xattrs import XattrReader, Xattrs

_TWICE_LIMIT = 64 << 20
"""Bytes of a file up to which it is stored twice if it changed: a bigger one is likely to change again, and costs as much again."""


class Kept(NamedTuple):
    """A file that is in the backup."""

    row: Row
    stat: os.stat_result
    """As it was when it was read."""
    fresh: bool
    """Its content is in this backup's own archive, behind headers with its name."""
    reason: str = ""
    """Why `row.state` is what it is."""
    incomplete: str = ""
    """Why extended attributes are missing, if so."""
    blocks: bytes = b""
    """Line of the block tags."""


class _Source(NamedTuple):
    """A file that is read."""

    files: Files
    """The calls it is read by."""
    descriptor: int
    stat: os.stat_result
    """As promised."""

    def is_as_promised(self) -> bool:
        return _signature(os.fstat(self.descriptor)) == _signature(self.stat)

    def rewind(self) -> None:
        self.files.seek(self.descriptor, 0, os.SEEK_SET)


@dataclass
class RegularFiles:
    """Writes members and rows of files, in the order they are added."""

    archive: Frames
    rows: Rows
    notes: Notes
    files: Files
    xattrs: XattrReader
    number: int = 0
    """Of this backup's own archive in the index."""
    tag: Tag | None = None
    """Tells blocks of large files apart; without it they are not looked at."""
    _nowhere: Nowhere | None = field(default=None, init=False)

    def add(self, found: Found, old: Old | None) -> Kept | None:
        """A regular file: read once, or if it changes meanwhile, twice. None if nothing of it is in the backup, which is noted."""
        first: Kept | None = None
        for last in (False, True):
            try:
                descriptor = self.files.open(found.name, found.folder)
            except OSError as error:
                return self._gone(found.path, error, first)
            try:
                promised = os.fstat(descriptor) if last else found.stat
                if not stat.S_ISREG(promised.st_mode if last else os.fstat(descriptor).st_mode):
                    return self._gone(found.path, None, first)
                if first is not None:
                    self.rows.add_to_index(member_line(first.row._replace(state=SUPERSEDED)))
                source = _Source(passing(self.files, descriptor, promised.st_size), descriptor, promised)
                try:
                    reading = self._read(found.path, source, old, last=last)
                finally:
                    passed(source.files)
            finally:
                os.close(descriptor)
            if reading is not None and (last or not reading.row.state or promised.st_size > _TWICE_LIMIT):
                return self._keep(reading)
            first = reading
        return None

    def _read(self, path: bytes, source: _Source, old: Old | None, *, last: bool) -> Kept | None:
        """The file in the archive, or found there, without its row; None if it changed, lay in one buffer and was taken back to be read again."""
        row = row_of(path, FILE, source.stat, (self.number, self.archive.written))
        xattrs, incomplete = self.xattrs.read(source.descriptor, source.stat.st_dev)
        if xattrs:
            row = row._replace(xattrs=xattrs)
        data = sparse.extents(*source)
        found = None
        if old is not None and old.row is not None and old.row.kind == FILE:
            found = self._compared(row, source, data, old, old.row)
        if found is None:
            found = self._stored(row, source, data, old, last=last)
        return found._replace(incomplete=incomplete) if found and incomplete else found

    def _stored(self, row: Row, source: _Source, data: tuple[sparse.Extent, ...] | None, old: Old | None, *, last: bool) -> Kept | None:
        """Write the member as promised; taken out again if the hash is the known one and it lies in one buffer."""
        archive, size = self.archive, source.stat.st_size
        if row.offset != archive.written:  # a delta was begun, and given up
            row = row._replace(offset=archive.written)
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
        block = deltas.block_size(row.path, size)
        hashes = BlockHashes(block, self.tag) if block and self.tag else None
        copied = copy(archive, source.files, source.descriptor, size, data, hashes)
        if not copied.trouble and not source.is_as_promised():
            copied = Copied(copied.sha256, CHANGED, "changed while it was read")
        if copied.trouble and in_place and not last:
            archive.pos = before
            return None
        known = old.row if old else None
        if in_place and not copied.trouble and known is not None and _is_content_of(known, size, copied.sha256):
            archive.pos = before
            return self._same_content(row._replace(parts=()), source.stat, known, old.blocks_line if old else b"")
        line = blocks_line(*hashes.blocks()) if hashes else b""
        return Kept(row._replace(sha256=copied.sha256, state=copied.trouble), source.stat, True, copied.reason, blocks=line)

    def _compared(self, row: Row, source: _Source, data: tuple[sparse.Extent, ...] | None, old: Old, known: Row) -> Kept | None:
        """The file by what is stored of it already; None if it is to be stored whole, or tried to be.

        Small files are not looked at here: storing them tells.
        """
        size = source.stat.st_size
        hashes = self._hashes(size, old.blocks)
        if hashes is None and (size != known.size or size <= self.archive.size // 2):
            return None
        if self._nowhere is None:
            self._nowhere = Nowhere(self.archive.size, self.archive.check)
        copied = copy(self._nowhere, source.files, source.descriptor, size, data, hashes)
        if copied.trouble or not source.is_as_promised():
            source.rewind()
            return None
        if _is_content_of(known, size, copied.sha256):
            return self._same_content(row, source.stat, known, old.blocks_line)
        if hashes is not None and old.blocks is not None:
            changed = self._delta(row._replace(sha256=copied.sha256), source, known, old.blocks, hashes)
            if changed is not None:
                return changed
        source.rewind()
        return None

    def _hashes(self, size: int, old: Blocks | None) -> BlockHashes | None:
        """For blocks that can be compared with the known ones."""
        if old is None or self.tag is None or size < deltas.SMALLEST or size > old.size * deltas.MOST_BLOCKS:
            return None
        return BlockHashes(old.size, self.tag)

    def _same_content(self, row: Row, promised: os.stat_result, known: Row, blocks: bytes) -> Kept:
        """The content where it was; what stock tools could see of a change goes into a member without content."""
        head = known.head
        if _attributes(row) != _attributes(known):
            head = head or len(tar.header(known))
            self.archive.write(tar.header(row._replace(size=0), tar.METADATA))
        row = row._replace(archive=known.archive, offset=known.offset, head=head, sha256=known.sha256, parts=known.parts)
        return Kept(row, promised, False, blocks=blocks)

    def _delta(self, row: Row, source: _Source, known: Row, old: Blocks, hashes: BlockHashes) -> Kept | None:
        """Store the changed blocks alone; None if the whole file is better, or if it changes while it is read. Then what was written of
        it stays, and no row refers to it."""
        new = hashes.blocks()
        delta = deltas.between(old, new, row.size)
        if delta is None:
            return None
        archive = self.archive
        head = tar.header(row._replace(size=delta.stored), tar.DELTA)
        row = row._replace(offset=archive.written, head=len(head))
        content = deltas.parts(content_of(known), delta, row.size, self.number, row.offset + len(head) + len(delta.head))
        if len(content) > deltas.MOST_PARTS:
            return None
        archive.write(head + delta.head)
        again = hashes.fresh()
        trouble = copy_runs(archive, source.files, source.descriptor, row.size, delta.runs, again)
        archive.write(bytes(tar.padding(delta.stored)))
        if trouble or again.blocks().digests != delta.digests or not source.is_as_promised():
            return None
        return Kept(row._replace(parts=content), source.stat, True, blocks=blocks_line(*new))

    def _gone(self, path: bytes, error: OSError | None, first: Kept | None) -> Kept | None:
        """The file is no longer there, or no file (`error` None). What a first reading left in the archive is then all there is of it."""
        if first is not None:
            return self._keep(first)
        if error is None or error.errno == errno.ELOOP:  # a link took its place: what is there is not in the backup, and not gone
            self.notes.add(UNREADABLE, path, "became something else when it should be read")
        else:
            self.notes.refused(path, error)
        return None

    def _keep(self, reading: Kept) -> Kept:
        row = reading.row
        self.rows.add(row, reading.blocks, sure=row.state == WHOLE and not reading.incomplete)
        if row.state:
            self.notes.add(row.state, row.path, reading.reason)
        if reading.incomplete:
            self.notes.add(INCOMPLETE, row.path, reading.incomplete)
        return reading


def row_of(path: bytes, kind: str, st: os.stat_result, place: tuple[int, int], link: bytes = b"") -> Row:
    """`place`: archive and offset."""
    size = st.st_size if kind == FILE else 0
    mode = st.st_mode & 0o7777
    stat_of = size, st.st_mtime_ns, st.st_ctime_ns, st.st_ino, mode, st.st_uid, st.st_gid
    row = Row(path, kind, *stat_of, *place, "", link, st.st_nlink)
    return row._replace(device=(os.major(st.st_rdev), os.minor(st.st_rdev))) if kind in DEVICES else row


def content_of(row: Row) -> tuple[Part, ...]:
    """Where a file's content is, in parts in any case."""
    if row.parts or not row.size:
        return row.parts
    return (Part(row.archive, row.offset + (row.head or len(tar.header(row))), row.size),)


def _is_content_of(known: Row, size: int, sha256: str) -> bool:
    return known.kind == FILE and (known.size, known.sha256) == (size, sha256)


def _attributes(row: Row) -> tuple[int, int, int, int, Xattrs]:
    """What a tar header says of a file besides its name and its content."""
    return row.mode, row.uid, row.gid, row.mtime_ns // 10**9, row.xattrs


def _signature(st: os.stat_result) -> tuple[int, int, int, int]:
    """What moves when a file's content does."""
    return st.st_ino, st.st_size, st.st_mtime_ns, st.st_ctime_ns
