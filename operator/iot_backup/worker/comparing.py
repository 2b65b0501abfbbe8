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
from iot_backup.worker.removing import is_one_of, making_way, mount_of
from iot_backup.worker.target import target_error
from iot_backup.worker.walk import LISTED

_CANNOT_BE_ENTERED = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EACCES)


@dataclass
class Compared:
    """Paths by what would become of them; folders that only hold what was asked for count where they would be made."""

    add: int = 0
    change: int = 0
    """Content, kind or attributes differ, as far as stat() tells."""
    same: int = 0
    keep: int = 0
    """Differ, and stay as they are."""
    space: int = 0
    """Bytes that would be taken at most at one time: a file goes only when the one in its place is whole."""
    made_way: int = 0
    """Paths that would go with the folders they are in, where something else takes a folder's place."""
    grown: int = 0
    """Bytes that the target would have more, so far."""

    def write(self, size: int, found: os.stat_result | None) -> None:
        """A path of so many bytes of data takes the place of what was found there."""
        self.space = max(self.space, self.grown + size)
        goes = found is not None and stat.S_ISREG(found.st_mode) and found.st_nlink == 1
        self.grown += size - (found.st_blocks * 512 if found is not None and goes else 0)


@dataclass(eq=False)
class _Level:
    row: Row
    path: bytes
    descriptor: int
    """-1: the target has no such folder."""
    passed_over: bool = False
    counted: bool = True
    """False: a folder that only holds what was asked for, and that the target does not have."""
    names: set[bytes] = field(default_factory=set)


class Comparison:
    """Use `add` for each chosen row in order, then `finish`; `close` in any case."""

    def __init__(self, root: int, rules: Rules) -> None:
        self._root, self._rules, self._mount = root, rules, mount_of(root)
        self._levels: list[_Level] = []
        self.found = Compared()

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
            if not self._rules.selection:
                self._judge(row, os.fstat(self._root), None)
            self._levels.append(_Level(row, b"", os.dup(self._root)))
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
            self._judge(row, found, _link(level.descriptor, name, row, found))
            self._make_way(level.descriptor, name, row, found)

    def _folder(self, above: _Level, name: bytes, row: Row, found: os.stat_result | None) -> None:
        asked = self._rules.selection.selects(row.path, True)
        stays = found is not None and not stat.S_ISDIR(found.st_mode) and conflicts.keeps(self._rules.on_conflict, row, found)
        spared = found is not None and is_one_of(found, self._rules.spared)
        passed_over = above.passed_over or stays or spared
        if passed_over:
            self.found.keep += asked
        elif asked:
            self._judge(row, found, None)
        there = found is not None and stat.S_ISDIR(found.st_mode)
        descriptor = _entered(above.descriptor, name) if there and not passed_over else -1
        self._levels.append(_Level(row, row.path, descriptor, passed_over, asked or there))

    def _judge(self, row: Row, found: os.stat_result | None, link: bytes | None) -> None:
        rule, count = self._rules.on_conflict, self.found
        if found is None:
            self._count_holders()
            count.add += 1
            count.write(row.data_size, None)
        elif _is_same(row, found, link):
            count.same += 1
        elif conflicts.is_folder_for_folder(row, found):
            keeps = conflicts.keeps_attributes(rule)
            count.keep, count.change = count.keep + keeps, count.change + (not keeps)
        elif conflicts.keeps(rule, row, found):
            count.keep += 1
        else:
            count.change += 1
            count.write(row.data_size, found)

    def _make_way(self, folder: int, name: bytes, row: Row, found: os.stat_result | None) -> None:
        """Refuse what a restore would refuse: see `making_way`."""
        if row.kind in (CHARACTER_DEVICE, BLOCK_DEVICE) and not self._rules.devices:
            return
        if found is not None and stat.S_ISDIR(found.st_mode) and not conflicts.keeps(self._rules.on_conflict, row, found):
            self.found.made_way += making_way(folder, name, self._rules.spared, acts=False)

    def _count_holders(self) -> None:
        """Folders above what is added, that the target does not have, and nobody asked for."""
        for level in self._levels:
            if not level.counted:
                level.counted = True
                self.found.add += 1

    def _leave(self) -> None:
        level = self._levels.pop()
        if level.descriptor < 0:
            return
        try:
            if self._rules.mirror is not None:
                self._rules.mirror.clear(level.descriptor, level.path, level.names, self._mount)
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
    try:
        return os.open(name, LISTED, dir_fd=folder)
    except OSError as error:
        if error.errno not in _CANNOT_BE_ENTERED:
            raise
        return -1


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
