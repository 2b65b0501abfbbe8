"""Finds everything below a folder, by descriptors: no path is resolved as a whole, no link is followed.

Order: a folder before what is in it, names of a folder sorted by their bytes, each folder's content right behind it. That is the
order of the paths with `/` as the lowest byte, so that two walks can be compared line by line.
"""

from __future__ import annotations

import bisect
import errno
import os
import stat
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from iot_backup.errors import AccessDenied, SourceUnavailable
from iot_backup.worker.index import ROOT
from iot_backup.worker.notes import SKIPPED, UNREADABLE, VANISHED, Notes
from iot_backup.worker.selection import EVERYTHING, Selection
from iot_backup.worker.spared import Folders, is_one_of

LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a folder is opened, in a source and in a target."""
MAX_DEPTH = 400
"""Folders inside each other: each holds a descriptor while it is walked, and 1024 is a common limit."""
_LOST_AND_FOUND = b"lost+found"
_LOST_AND_FOUND_REASON = "the file system's own folder"


class Found(NamedTuple):
    """One path of the source."""

    folder: int
    """Descriptor of the folder it is in; valid until the walk goes on."""
    name: bytes
    """In that folder."""
    path: bytes
    """Below the root."""
    stat: os.stat_result
    descriptor: int = -1
    """Of the path itself, where it is a folder that could be opened; valid until the walk goes on."""


@dataclass
class _Level:
    """A folder that is being walked."""

    descriptor: int
    prefix: bytes
    names: Iterator[bytes]
    waiting: Found | None = None
    """The folder itself, while nothing in it is selected yet."""


class Walk:
    """One walk. What cannot be listed or vanishes is noted and passed over.

    With a selection it gives what is selected and the folders above that: an excluded folder is not entered, and one that
    is not itself selected only comes where something in it does.
    """

    def __init__(
        self,
        root: int,
        notes: Notes,
        selection: Selection = EVERYTHING,
        *,
        one_file_system: bool = False,
        spared: Folders = frozenset(),
        listed: Callable[[int, Sequence[bytes]], None] = lambda _descriptor, _names: None,
    ) -> None:
        """`root`: descriptor of a folder, which stays the caller's. `one_file_system`: mount points are folders that are not entered.
        `spared`: folders that are noted as skipped, whatever path leads to them. `listed` is told of each folder that is entered, with the names in it."""
        self._root, self._notes = root, notes
        self._selection, self._told, self._spared = selection, listed, spared
        self._file_system = os.fstat(root).st_dev if one_file_system else None
        self.running_postgresql = False
        """A folder with PG_VERSION and postmaster.pid was seen: a server may be writing to it."""

    def __iter__(self) -> Iterator[Found]:
        """The root first. Raises AccessDenied or SourceUnavailable if the root itself cannot be listed."""
        names, selective = self._root_names(), bool(self._selection)
        yield Found(self._root, b".", ROOT, os.fstat(self._root), self._root)
        levels = [_Level(os.dup(self._root), b"", iter(names))]
        del names
        try:
            while levels:
                level = levels[-1]
                name = next(level.names, None)
                if name is None:
                    os.close(levels.pop().descriptor)
                    continue
                path = level.prefix + name
                try:
                    found = Found(level.descriptor, name, path, os.stat(name, dir_fd=level.descriptor, follow_symlinks=False))
                except OSError as error:
                    if not selective or self._may_be_meant(path, error):
                        self._notes.refused(path, error)
                    continue
                is_folder = stat.S_ISDIR(found.stat.st_mode)
                if selective and self._left_out(path, is_folder=is_folder):
                    continue
                inside = self._enter(found, levels) if is_folder else found
                if inside is None:
                    continue
                if selective:
                    yield from _waiting(levels)
                yield inside
        finally:
            for level in levels:
                os.close(level.descriptor)

    def _may_be_meant(self, path: bytes, error: OSError) -> bool:
        """Whether a path that nobody can look at is, or holds, what is selected; what is gone was a file, or is no loss."""
        file = not self._left_out(path, is_folder=False)
        return file or (error.errno != errno.ENOENT and not self._left_out(path, is_folder=True))

    def _left_out(self, path: bytes, *, is_folder: bool) -> bool:
        """Whether neither the path nor anything in it is selected; what is above it is known not to be excluded."""
        selection = self._selection
        if selection.excludes(path, is_folder):
            return True
        return not (selection.includes(path, is_folder) or (is_folder and selection.may_hold(path)))

    def _enter(self, found: Found, levels: list[_Level]) -> Found | None:
        """The folder itself, if it is to be given now; what is in it comes next, from a new level."""
        selected = not self._selection or self._selection.includes(found.path, is_folder=True)
        if self._file_system is not None and found.stat.st_dev != self._file_system:
            self._notes.add(SKIPPED, found.path, "another file system is mounted here: only its folder is stored")
            return found if selected else None
        try:
            descriptor, names = self._opened(found)
        except OSError as error:
            return found if self._refused(found, error) and selected else None
        if is_one_of(os.fstat(descriptor), self._spared):
            os.close(descriptor)
            self._notes.add(SKIPPED, found.path, "holds backups: each would hold all earlier ones")
            return None
        if _is_lost_and_found(found) and not names:
            os.close(descriptor)
            self._notes.add(SKIPPED, found.path, _LOST_AND_FOUND_REASON)
            return None
        if len(levels) >= MAX_DEPTH:
            os.close(descriptor)
            self._notes.add(UNREADABLE, found.path, f"more than {MAX_DEPTH} folders inside each other")
            return found if selected else None
        opened = found._replace(stat=os.fstat(descriptor), descriptor=descriptor)
        levels.append(_Level(descriptor, found.path + b"/", iter(names), None if selected else opened))
        return opened if selected else None

    def _opened(self, found: Found) -> tuple[int, list[bytes]]:
        """A folder's descriptor, and the names in it."""
        descriptor = os.open(found.name, LISTED, dir_fd=found.folder)
        try:
            return descriptor, self._listed(descriptor)
        except BaseException:
            os.close(descriptor)
            raise

    def _refused(self, found: Found, error: OSError) -> bool:
        """Note a folder that cannot be listed. Whether it is there, and to be stored without what is in it."""
        if _is_lost_and_found(found) and isinstance(error, PermissionError):
            self._notes.add(SKIPPED, found.path, _LOST_AND_FOUND_REASON)
            return False
        if error.errno == errno.ENOENT:
            self._notes.add(VANISHED, found.path, "gone when it should be read")
            return False
        if error.errno in (errno.ENOTDIR, errno.ELOOP):  # what is there now is not in the backup, and not gone
            self._notes.add(UNREADABLE, found.path, "became something else when it should be read")
            return False
        self._notes.refused(found.path, error)
        return True

    def _listed(self, descriptor: int) -> list[bytes]:
        names = sorted({os.fsencode(name) for name in os.listdir(descriptor)})
        self.running_postgresql |= _holds(names, b"PG_VERSION") and _holds(names, b"postmaster.pid")
        self._told(descriptor, names)
        return names

    def _root_names(self) -> list[bytes]:
        try:
            return self._listed(self._root)
        except PermissionError as error:
            raise unreadable_root(os.fstat(self._root)) from error
        except OSError as error:
            raise SourceUnavailable(f"the source cannot be listed: {error.strerror}. Is the volume still there?") from error


def _waiting(levels: list[_Level]) -> Iterator[Found]:
    """The folders above a selected path that were not given yet."""
    for level in levels:
        if level.waiting:
            yield level.waiting
            level.waiting = None


def unreadable_root(found: os.stat_result) -> AccessDenied:
    """The error for a source whose root this user may not read."""
    mode = stat.S_IMODE(found.st_mode)
    return AccessDenied(
        f"the source's root belongs to {found.st_uid}:{found.st_gid}, mode {mode:04o}, and this run is user {os.geteuid()}: "
        f"run as that user (worker.securityContext.runAsUser: {found.st_uid}), or as root (worker.identity: Root)"
    )


def _is_lost_and_found(found: Found) -> bool:
    return found.path == _LOST_AND_FOUND and found.stat.st_uid == 0


def _holds(names: list[bytes], name: bytes) -> bool:
    at = bisect.bisect_left(names, name)
    return at < len(names) and names[at] == name
