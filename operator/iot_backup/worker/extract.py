"""Writes members into a target, in the order of the index. Safe by construction: see target.py.

A folder is complete when a member outside of it comes, since members come folder by folder. Then its symlinks are made, so that
nothing of this backup is written beside a link before; then it gets its own attributes, children first.

With a selection, a folder that was not asked for is entered only when something below it is to be written; it is made with its
attributes if there is none, and keeps its own if there is. One that an earlier restore made and did not finish is as good as none.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass, field

from iot_backup.core.spec import OnConflict
from iot_backup.errors import CorruptData
from iot_backup.worker import conflicts
from iot_backup.worker.attributes import Attributes
from iot_backup.worker.chosen import instead_of_link
from iot_backup.worker.extracted import Extracted
from iot_backup.worker.hard_links import HardLinks
from iot_backup.worker.index import CHANGED, DAMAGED, FIFO, FILE, FOLDER, HARD_LINK, ROOT, SUPERSEDED, SYMLINK, Row
from iot_backup.worker.mirror import Mirror
from iot_backup.worker.nodes import Content, Nodes
from iot_backup.worker.selection import EVERYTHING, Selection
from iot_backup.worker.spared import Folders, is_one_of
from iot_backup.worker.target import Target, is_unfinished, target_error


@dataclass(frozen=True)
class Rules:
    """What a restore does besides writing what is not there."""

    on_conflict: OnConflict = "Overwrite"
    selection: Selection = EVERYTHING
    """What it was asked for; rows of anything but folders are of it already (`chosen`)."""
    mirror: Mirror | None = None
    """Where onConflict is Mirror."""
    devices: bool = False
    """Make device nodes, too."""
    spared: Folders = frozenset()
    """Those that hold backups, or what this machine remembers of them: nothing is written into them, and none makes way."""


@dataclass(eq=False)
class _Level:
    """A folder that is being filled."""

    row: Row
    path: bytes
    """b"" for the root."""
    descriptor: int = -1
    """-1 until it is entered."""
    passed_over: bool = False
    """Something else stays in its place: nothing below it is written."""
    kept: os.stat_result | None = None
    """Of a folder that keeps its attributes, as it was found."""
    closed: PermissionError | None = None
    """Why the folder, which is there, cannot be entered. That matters only if something is to be written in it."""
    last: bytes = b""
    """Name of the member before; names only grow, so each comes once and no folder is entered again."""
    again: bool = False
    """The member before was a first reading: the same name comes once more."""
    symlinks: list[tuple[bytes, Row]] = field(default_factory=list)
    names: set[bytes] = field(default_factory=set)
    """Of its members; only filled for Mirror."""


class Extractor:
    """Use `add` for each row, then `finish` once; `close` in any case."""

    def __init__(self, root: int, rules: Rules | None = None) -> None:
        self._rules = rules or Rules()
        self._target = Target(root, self._rules.spared)
        self._mirror = self._rules.mirror
        self._asks = self._rules.on_conflict in ("KeepNewer", "SkipExisting")
        self._attributes = Attributes()
        self._nodes = Nodes(self._target, self._attributes, devices=self._rules.devices)
        self._levels: list[_Level] = []
        self._links = HardLinks(self._target)
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
            self.done.made_way = self._target.made_way
        except OSError as error:
            raise target_error(error, ROOT) from error

    def close(self) -> None:
        """After a failure, folders that keep their attributes get them back: the next restore would take what it finds for theirs."""
        for level in reversed(self._levels):
            if level.descriptor >= 0:
                if level.kept is not None:
                    with suppress(OSError):  # the failure itself is what matters
                        _put_back(level.descriptor, level.kept)
                os.close(level.descriptor)
        self._levels.clear()
        self._target.close()

    def _add(self, row: Row, content: Content) -> None:
        if not self._levels or row.path == ROOT:
            self._enter_root(row)
            return
        parent, _, name = row.path.rpartition(b"/")
        level = self._level(parent, name, row)
        if row.kind == FOLDER:
            self._folder(level, name, row)
        elif level.passed_over:
            self._passed(row)
        elif row.kind == SYMLINK:
            level.symlinks.append((name, row))
        elif row.kind == HARD_LINK:
            self._hard_link(level, name, row, content)
        elif self._stays(level, name, row):
            self._passed(row)
        elif row.kind == FILE:
            self._file(level, name, row, content)
        else:
            self._special(level, name, row)

    def _enter_root(self, row: Row) -> None:
        if self._levels or row.path != ROOT or row.kind != FOLDER:
            raise CorruptData("the index does not begin with the root, or has two of them: it was changed")
        found = os.fstat(self._target.root)
        keeps = bool(self._rules.selection) or conflicts.keeps_attributes(self._rules.on_conflict)
        kept = found if keeps and not is_unfinished(found) else None
        self._levels.append(_Level(row, b"", os.dup(self._target.root), kept=kept))
        self._target.prepare(self._target.root)
        self.done.folders += not keeps

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
        if self._mirror is not None:
            level.names.add(name)
        return level

    def _leave(self) -> None:
        level = self._levels[-1]
        if level.again:
            raise CorruptData(f"the index lacks the second reading of {level.last!r}: it was changed")
        for name, row in level.symlinks:
            self._symlink(level, name, row)
        if self._mirror is not None and not level.passed_over:
            self._clear(self._mirror, level)
        if level.descriptor >= 0:
            if level.kept is None:
                self._attributes.apply(level.descriptor, level.row)
            else:
                _put_back(level.descriptor, level.kept)
            os.close(level.descriptor)
        self._levels.pop()

    def _folder(self, above: _Level, name: bytes, row: Row) -> None:
        level = _Level(row, row.path, passed_over=above.passed_over)
        self._levels.append(level)
        if above.passed_over:
            self.done.kept += 1
        elif self._rules.selection.selects(row.path, True):
            self._enter(above, level, name)
            self.done.folders += level.descriptor >= 0

    def _enter(self, above: _Level, level: _Level, name: bytes) -> None:
        """Make the folder, or enter the one that is there; or pass it over, if something else stays in its place."""
        folder = self._descriptor(above)
        if above.passed_over:
            level.passed_over = True
            self.done.kept += 1
            return
        asked = self._rules.selection.selects(level.path, True)
        if self._asks or not asked or self._rules.spared:
            found = _found(folder, name)
            if found is not None and is_one_of(found, self._rules.spared):
                level.passed_over = True
                self.done.kept += 1
                self.done.spared += 1
                return
            if found is not None and stat.S_ISDIR(found.st_mode):
                if (not asked or conflicts.keeps_attributes(self._rules.on_conflict)) and not is_unfinished(found):
                    level.kept = found
            elif found is not None and conflicts.keeps(self._rules.on_conflict, level.row, found):
                level.passed_over = True
                self.done.kept += 1
                return
        try:
            level.descriptor, made = self._target.enter(folder, name)
        except PermissionError as error:
            found = _found(folder, name)
            if found is None or not stat.S_ISDIR(found.st_mode):
                raise
            level.closed = error
            self._attributes.modes_refused += level.kept is None
            return
        if made:
            level.kept = None

    def _descriptor(self, level: _Level) -> int:
        """The level's folder, entered now if it was not before; the levels above it, too. Meaningless if it is passed over.

        AccessDenied where something is to be written in a folder that cannot be entered.
        """
        if level.descriptor < 0 and not level.passed_over:
            above = self._levels[self._levels.index(level) - 1]
            if level.closed is None:
                self._enter(above, level, level.path.rpartition(b"/")[2])
            if level.closed is not None:
                raise target_error(level.closed, level.path)
        return level.descriptor

    def _clear(self, mirror: Mirror, level: _Level) -> None:
        """Remove what the backup does not have here; also in a folder that was not asked for, if the target has it."""
        if level.descriptor >= 0:
            mirror.clear(level.descriptor, level.path, level.names, self._target.mount)
            return
        found = self._target.find(level.path)
        if found is not None:
            try:
                mirror.clear(found, level.path, level.names, self._target.mount)
            finally:
                os.close(found)

    def _stays(self, level: _Level, name: bytes, row: Row) -> bool:
        """Whether what is in the target under this name stays. The level is entered, or passed over."""
        folder = self._descriptor(level)
        if level.passed_over:
            return True
        if not self._asks:
            return False
        found = _found(folder, name)
        return found is not None and conflicts.keeps(self._rules.on_conflict, row, found)

    def _passed(self, row: Row) -> None:
        if row.state == SUPERSEDED:
            return
        self.done.kept += 1
        if row.kind == FILE:
            self._links.stayed(row)

    def _file(self, level: _Level, name: bytes, row: Row, content: Content) -> None:
        if row.state == SUPERSEDED:
            return
        self._nodes.file(level.descriptor, name, row, content)
        self._links.written(level.descriptor, row)
        self.done.files += 1
        self.done.bytes += row.data_size
        self.done.changed += row.state == CHANGED
        self.done.damaged += row.state == DAMAGED

    def _hard_link(self, level: _Level, name: bytes, row: Row, content: Content) -> None:
        linked = self._links.of(row)
        if self._stays(level, name, row):
            self.done.kept += 1
        elif self._links.made(linked, level.descriptor, name):
            self.done.hard_links += 1
        else:
            self.done.links_apart += bool(linked.places)
            self._file(level, name, instead_of_link(row, linked.row)._replace(links=1), content)
            linked.put(level.descriptor, row.path)

    def _symlink(self, level: _Level, name: bytes, row: Row) -> None:
        if self._stays(level, name, row):
            self.done.kept += 1
            return
        self._nodes.symlink(level.descriptor, name, row)
        self.done.symlinks += 1

    def _special(self, level: _Level, name: bytes, row: Row) -> None:
        if row.kind == FIFO:
            self._nodes.fifo(level.descriptor, name, row)
            self.done.fifos += 1
        elif self._nodes.device(level.descriptor, name, row):
            self.done.devices += 1
        else:
            self.done.devices_left_out += 1


def _put_back(folder: int, kept: os.stat_result) -> None:
    """Mode and time as they were found. The owner never changed. OSError."""
    now = os.fstat(folder)
    if stat.S_IMODE(now.st_mode) != stat.S_IMODE(kept.st_mode):
        os.fchmod(folder, stat.S_IMODE(kept.st_mode))
    if now.st_mtime_ns != kept.st_mtime_ns:
        with suppress(PermissionError):  # a folder of somebody else, where we may write: only its owner sets its time
            os.utime(folder, ns=(kept.st_atime_ns, kept.st_mtime_ns))


def _found(folder: int, name: bytes) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
