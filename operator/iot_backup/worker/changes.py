"""Goes along the walk and an earlier backup's state at once, and tells what is as it was, what is not, and what is gone.

Both come in the same order, so that neither has to be in memory. A path is as it was if stat() gives all that it gave then: the row
begins with these numbers, and the lines are compared, not read. Device numbers are not among them: they change with every mount.

A ctime that is not older than the base by _RACY cannot be believed: the file may have been written to again within the same tick, after it was
read. A program that writes to a file by mapping it moves the times only when a page of it becomes dirty, which it stays until the kernel
writes it back: until then, 35 s later, more writes to it move nothing. So it is with a ctime in the future, and with all of them where the
clock stands before the base. What cannot be believed is read, and its content decides; so does it for whatever else stat() gives another answer.
"""

from __future__ import annotations

from iot_backup.worker import tar
from iot_backup.worker.earlier import Earlier, Old, order
from iot_backup.worker.frames import Frames
from iot_backup.worker.index import FILE, FOLDER, HARD_LINK, Row, stat_text
from iot_backup.worker.members import Members, kind_of
from iot_backup.worker.walk import Found

_RACY = 60_000_000_000
"""Nanoseconds: file systems stamp by the tick or by the second, some by two; Linux writes a mapped page back after 35 s
(vm.dirty_expire_centisecs, vm.dirty_writeback_centisecs), later where disks are busy."""
_LIST_SIZE = 1 << 20
"""Bytes of one list of deletions at most."""


class Changes:
    """One pass. `add` each path in the order of the walk, then `finish`."""

    def __init__(self, earlier: Earlier, members: Members, archive: Frames, snapshot_time_ns: int) -> None:
        """`snapshot_time_ns`: when this walk began, on the clock that stamps the files."""
        self._earlier, self._members = earlier, members
        self._deletions = Deletions(archive)
        went_back = snapshot_time_ns < earlier.snapshot_time_ns
        self._believed_before = -(1 << 63) if went_back else earlier.snapshot_time_ns - _RACY

    def add(self, found: Found) -> None:
        """One path of the source. Its own errors are noted; what is raised ends the pipeline: StateUnreadable among it."""
        st, earlier = found.stat, self._earlier
        kind, ctime_ns = kind_of(st), st.st_ctime_ns
        size = st.st_size if kind == FILE else 0
        numbers = size, st.st_mtime_ns, ctime_ns, st.st_ino, st.st_mode & 0o7777, st.st_uid, st.st_gid
        text = stat_text(found.path, kind, numbers).encode("ascii")
        there = earlier.line.startswith(text) or (self._pass_over(found.path) and earlier.line.startswith(text))
        same = there and ctime_ns < self._believed_before
        if same and (st.st_nlink == 1 or kind != FILE):
            self._members.keep(found, kind, *earlier.take())
            return
        if earlier.at() != order(found.path):
            self._members.add(found)
            return
        old = earlier.take_parsed()
        stored = self._members.add(found, old._replace(same=same))
        if not stored or _became_another(old, kind):
            self._deletions.add(old)

    def finish(self) -> None:
        """The walk has ended: what the base has beyond it is gone."""
        while self._earlier.line:
            self._deletions.add(self._earlier.take_parsed())
        self._deletions.close()

    def _pass_over(self, path: bytes) -> bool:
        """What the base has between the last path and this one is gone. Whether there was anything."""
        earlier, wanted, passed = self._earlier, order(path), False
        while (at := earlier.at()) is not None and at < wanted:
            self._deletions.add(earlier.take_parsed())
            passed = True
        return passed


def _became_another(old: Old, kind: str) -> bool:
    """Whether tar could not put the new one in the place of the old one: between a file and another name of one there is no difference."""
    return old.kind != kind and not (kind == FILE and old.kind == HARD_LINK)


class Deletions:
    """Collects paths that are gone and writes them as members, for those who restore with tar alone."""

    def __init__(self, archive: Frames) -> None:
        self._archive = archive
        self._names = bytearray()
        self._lists = 0
        self._under = b""
        """Folder that is on a list: what was in it goes with it."""

    def add(self, old: Old) -> None:
        """A path, in the order of the walk."""
        if self._under and old.path.startswith(self._under):
            return
        self._under = old.path + b"/" if old.kind == FOLDER else b""
        name = tar.stored_name(old.path) + b"\0"
        if len(self._names) + len(name) > _LIST_SIZE:
            self.close()
        self._names += name

    def close(self) -> None:
        """Write what was collected, if anything."""
        if not self._names:
            return
        row = Row(b"%d" % self._lists, FILE, len(self._names), 0, 0, 0, 0o600, 0, 0, 0, 0)
        self._archive.write(tar.header(row, tar.DELETED))
        self._archive.write(bytes(self._names) + bytes(tar.padding(len(self._names))))
        self._names.clear()
        self._lists += 1
