"""Finds everything below a folder, by descriptors: no path is resolved as a whole, no link is followed.

Order: a folder before what is in it, names of a folder sorted by their bytes, each folder's content right behind it. That is the
order of the paths with `/` as the lowest byte, so that two walks can be compared line by line.
"""

from __future__ import annotations

import bisect
import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

from iot_backup.errors import AccessDenied, SourceUnavailable
from iot_backup.worker.index import ROOT
from iot_backup.worker.notes import SKIPPED, UNREADABLE, VANISHED, Notes

LISTED = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""How a folder is opened, in a source and in a target."""
MAX_DEPTH = 400
"""Folders inside each other: each holds a descriptor while it is walked, and 1024 is a common limit."""
_LOST_AND_FOUND = b"lost+found"


class Found(NamedTuple):
    """One path of the source."""

    folder: int
    """Descriptor of the folder it is in; valid until the walk goes on."""
    name: bytes
    """In that folder."""
    path: bytes
    """Below the root."""
    stat: os.stat_result


@dataclass
class _Level:
    """A folder that is being walked."""

    descriptor: int
    prefix: bytes
    names: Iterator[bytes]


class Walk:
    """One walk. What cannot be listed or vanishes is noted and passed over."""

    def __init__(self, root: int, notes: Notes) -> None:
        """`root`: descriptor of a folder, which stays the caller's."""
        self._root, self._notes = root, notes
        self.running_postgresql = False
        """A folder with PG_VERSION and postmaster.pid was seen: a server may be writing to it."""

    def __iter__(self) -> Iterator[Found]:
        """The root first. Raises AccessDenied or SourceUnavailable if the root itself cannot be listed."""
        names = self._root_names()
        yield Found(self._root, b".", ROOT, os.fstat(self._root))
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
                    self._notes.refused(path, error)
                    continue
                if not stat.S_ISDIR(found.stat.st_mode):
                    yield found
                else:
                    yield from self._enter(found, levels)
        finally:
            for level in levels:
                os.close(level.descriptor)

    def _enter(self, found: Found, levels: list[_Level]) -> Iterator[Found]:
        """The folder itself; what is in it comes next, from a new level."""
        lost_and_found = found.path == _LOST_AND_FOUND and found.stat.st_uid == 0
        try:
            descriptor = os.open(found.name, LISTED, dir_fd=found.folder)
        except OSError as error:
            if lost_and_found:
                self._notes.add(SKIPPED, found.path, "the file system's own folder")
            elif error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                self._notes.add(VANISHED, found.path, "gone when it should be read")
            else:
                yield found
                self._notes.refused(found.path, error)
            return
        try:
            names = self._listed(descriptor)
        except OSError as error:
            os.close(descriptor)
            yield found
            self._notes.refused(found.path, error)
            return
        if lost_and_found and not names:
            os.close(descriptor)
            self._notes.add(SKIPPED, found.path, "the file system's own folder")
            return
        if len(levels) >= MAX_DEPTH:
            os.close(descriptor)
            yield found
            self._notes.add(UNREADABLE, found.path, f"more than {MAX_DEPTH} folders inside each other")
            return
        levels.append(_Level(descriptor, found.path + b"/", iter(names)))
        yield found._replace(stat=os.fstat(descriptor))

    def _listed(self, descriptor: int) -> list[bytes]:
        with os.scandir(descriptor) as entries:
            names = [os.fsencode(entry.name) for entry in entries]
        names.sort()
        self.running_postgresql |= _holds(names, b"PG_VERSION") and _holds(names, b"postmaster.pid")
        return names

    def _root_names(self) -> list[bytes]:
        try:
            return self._listed(self._root)
        except PermissionError as error:
            raise unreadable_root(os.fstat(self._root)) from error
        except OSError as error:
            raise SourceUnavailable(f"the source cannot be listed: {error.strerror}. Is the volume still there?") from error


def unreadable_root(found: os.stat_result) -> AccessDenied:
    """The error for a source whose root this user may not read."""
    mode = stat.S_IMODE(found.st_mode)
    return AccessDenied(
        f"the source's root belongs to {found.st_uid}:{found.st_gid}, mode {mode:04o}, and this run is user {os.geteuid()}: "
        f"set worker.securityContext.runAsUser: {found.st_uid}, or worker.identity: Root"
    )


def _holds(names: list[bytes], name: bytes) -> bool:
    at = bisect.bisect_left(names, name)
    return at < len(names) and names[at] == name
