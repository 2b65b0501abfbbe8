"""What a restore would find in its target: each row against what is there, by stat, without writing a byte."""

from __future__ import annotations

import errno
import os
import stat
from dataclasses import dataclass, field

from iot_backup.worker import conflicts
from iot_backup.worker.extract import Rules
from iot_backup.worker.index import BLOCK_DEVICE, CHARACTER_DEVICE, FILE, FOLDER, ROOT, SUPERSEDED, SYMLINK, Row
from iot_backup.worker.members import is_of_kind
from iot_backup.worker.removing import making_way, mount_of
from iot_backup.worker.spared import is_one_of
from iot_backup.worker.target import is_left_over, is_unfinished, taken, target_error
from iot_backup.worker.walk import LISTED

_CANNOT_BE_ENTERED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES)


@dataclass
class Room:
    """What a restore takes of one file system. Bytes of files' data."""

    free: int
    """Before it."""
    space: int = 0
    """Taken at most at one time: a file is written beside the one in its place, which goes when it is whole. Also where both are alike."""
    grown: int = 0
    """Taken so far; below 0 where it freed more."""

    def write(self, size: int, freed: int) -> None:
        """A path of so many bytes takes the place of one that held `freed`."""
        self.space = max(self.space, self.grown + size)
        self.grown += size - freed


@dataclass
class Compared:
    """Paths by what would become of them; folders that only hold what was asked for count where they would be made."""

    add: int = 0
    change: int = 0
    """Content, kind or attributes differ, as far as stat() tells."""
    same: int = 0
    keep: int = 0
    """Differ, and stay as they are."""
    made_way: int = 0
    """Paths that would go with the folders they are in, where something else takes a folder's place."""
    rooms: dict[int, Room] = field(default_factory=dict)
    """By file system (st_dev) of the target; the one of its root comes first."""

    @property
    def tightest(self) -> Room:
        """The file system that lacks most, or has least left over; the root's where nothing is to be written."""
        root, *_ = self.rooms.values()
        return max((room for room in self.rooms.values() if room.space), key=lambda room: room.space - room.free, default=root)


@dataclass(eq=False)
class _Level:
    row: Row
    path: bytes
    descriptor: int
    """-1: the target has no such folder, or it tells nothing of what is in it."""
    room: Room
    passed_over: bool = False
    counted: bool = True
    """False: a folder that only holds what was asked for, and that the target does not have."""
    replaces: bool = False
    """Something else goes for it."""
    names: set[bytes] = field(default_factory=set)


@dataclass(frozen=True)
class _Stays:
    """Names that Mirror does not count: the backup's, and what is swept away in any case."""

    names: set[bytes]

    def __contains__(self, name: object) -> bool:
        return name in self.names or (isinstance(name, bytes) and is_left_over(name))


class Comparison:
    """Use `add` for each chosen row in order, then `finish`; `close` in any case."""

    def __init__(self, root: int, rules: Rules) -> None:
        self._root, self._rules, self._mount = root, rules, mount_of(root)
        self._levels: list[_Level] = []
        self._names: dict[tuple[int, int], int] = {}
        """Of each file of the target with several names, how many it has left; by device and inode."""
        self.found = Compared()
        self._room(root)

    def add(self, row: Row) -> None:
        """AccessDenied, SourceUnavailable for the target."""
        if row.state == SUPERSEDED:
            return
        try:
            self._add(row)
        except OSError as error:
            raise target_error(error, row.path) from error

    def finish(self) -> None:
        try:
            while self._levels:
                self._leave()
        except OSError as error:
            raise target_error(error, ROOT) from error

    def close(self) -> None:
        for level in self._levels:
            if level.descriptor >= 0:
                os.close(level.descriptor)
        self._levels.clear()

    def _add(self, row: Row) -> None:
        if row.path == ROOT:
            level = _Level(row, b"", os.dup(self._root), self._room(self._root))
            self._levels.append(level)
            if not self._rules.selection:
                self._judge(level, row, os.fstat(self._root), None)
            return
        parent, _, name = row.path.rpartition(b"/")
        while self._levels[-1].path != parent:
            self._leave()
        level = self._levels[-1]
        level.names.add(name)
        found = _found(level.descriptor, name)
        if row.kind == FOLDER:
            self._folder(level, name, row, found)
        elif level.passed_over:
            self.found.keep += 1
        else:
            self._judge(level, row, found, _link(level.descriptor, name, row, found))
            self._make_way(level.descriptor, name, row, found)

    def _room(self, folder: int) -> Room:
        """Of the file system that the folder is in."""
        device = os.fstat(folder).st_dev
        if device not in self.found.rooms:
            system = os.fstatvfs(folder)
            self.found.rooms[device] = Room(system.f_bavail * system.f_frsize)
        return self.found.rooms[device]

    def _freed(self, found: os.stat_result | None) -> int:
        """Bytes that come free when this path goes: none as long as the file has other names."""
        if found is None or not stat.S_ISREG(found.st_mode):
            return 0
        if found.st_nlink > 1:
            file = found.st_dev, found.st_ino
            self._names[file] = self._names.get(file, found.st_nlink) - 1
            if self._names[file]:
                return 0
        return taken(found)

    def _folder(self, above: _Level, name: bytes, row: Row, found: os.stat_result | None) -> None:
        asked = self._rules.selection.selects(row.path, True)
        stays = found is not None and not stat.S_ISDIR(found.st_mode) and conflicts.keeps(self._rules.on_conflict, row, found)
        spared = found is not None and is_one_of(found, self._rules.spared)
        passed_over = above.passed_over or stays or spared
        if passed_over:
            self.found.keep += asked
        elif asked:
            self._judge(above, row, found, None)
        there = found is not None and stat.S_ISDIR(found.st_mode)
        descriptor = _entered(above.descriptor, name) if there and not passed_over else -1
        room = self._room(descriptor) if descriptor >= 0 else above.room
        replaces = found is not None and not there
        self._levels.append(_Level(row, row.path, descriptor, room, passed_over, asked or there, replaces))

    def _judge(self, level: _Level, row: Row, found: os.stat_result | None, link: bytes | None) -> None:
        """`level`: that the path is in; of the root, its own."""
        rule, count = self._rules.on_conflict, self.found
        if found is None:
            self._count_holders()
            if self._makes(row):
                count.add += 1
                level.room.write(row.data_size, 0)
            return
        same = _is_same(row, found, link)
        if conflicts.is_folder_for_folder(row, found):
            keeps = not same and conflicts.keeps_attributes(rule) and not is_unfinished(found)
        else:
            keeps = conflicts.keeps(rule, row, found) or not self._makes(row)
            if not keeps:
                level.room.write(row.data_size, self._freed(found))
        count.same += same
        count.keep += keeps and not same
        count.change += not (keeps or same)

    def _makes(self, row: Row) -> bool:
        return self._rules.devices or row.kind not in (CHARACTER_DEVICE, BLOCK_DEVICE)

    def _make_way(self, folder: int, name: bytes, row: Row, found: os.stat_result | None) -> None:
        """Refuse what a restore would refuse: see `making_way`."""
        if (
            found is not None
            and stat.S_ISDIR(found.st_mode)
            and self._makes(row)
            and not conflicts.keeps(self._rules.on_conflict, row, found)
        ):
            self.found.made_way += making_way(folder, name, self._rules.spared, acts=False)

    def _count_holders(self) -> None:
        """Folders above what is added, that the target does not have, and nobody asked for."""
        for level in self._levels:
            if not level.counted:
                level.counted = True
                self.found.add += not level.replaces
                self.found.change += level.replaces

    def _leave(self) -> None:
        level = self._levels.pop()
        if level.descriptor < 0:
            return
        try:
            if self._rules.mirror is not None:
                before = self._rules.mirror.freed
                self._rules.mirror.clear(level.descriptor, level.path, _Stays(level.names), self._mount)
                level.room.grown -= self._rules.mirror.freed - before
        finally:
            os.close(level.descriptor)


def _found(folder: int, name: bytes) -> os.stat_result | None:
    if folder < 0:
        return None
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _entered(folder: int, name: bytes) -> int:
    """-1 for a folder of which we may not list, or not look at, what is in it: a restore may make it let us, and a plan changes nothing."""
    try:
        descriptor = os.open(name, LISTED, dir_fd=folder)
    except OSError as error:
        if error.errno not in _CANNOT_BE_ENTERED:
            raise
        return -1
    try:
        os.stat(b".", dir_fd=descriptor)
    except PermissionError:
        os.close(descriptor)
        return -1
    return descriptor


def _link(folder: int, name: bytes, row: Row, found: os.stat_result | None) -> bytes | None:
    if row.kind != SYMLINK or found is None or not stat.S_ISLNK(found.st_mode):
        return None
    return os.readlink(name, dir_fd=folder)


def _is_same(row: Row, found: os.stat_result, link: bytes | None) -> bool:
    """By what stat() tells: content of the same size and time is not read."""
    if not is_of_kind(found, row) or (found.st_uid, found.st_gid) != (row.uid, row.gid):
        return False
    if row.kind == SYMLINK:
        return link == row.link and found.st_mtime_ns == row.mtime_ns
    if row.kind == FILE and found.st_size != row.size:
        return False
    if row.kind in (CHARACTER_DEVICE, BLOCK_DEVICE) and (os.major(found.st_rdev), os.minor(found.st_rdev)) != row.device:
        return False
    return stat.S_IMODE(found.st_mode) == row.mode and found.st_mtime_ns == row.mtime_ns
