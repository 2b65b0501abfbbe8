"""Takes away what is in a target and not in the backup: by descriptors, through no link, into nothing that is mounted there.

What the backup itself could not hold is no sign that it shall go. So these stay: what the backup's own include and exclude left
out, paths that it notes as skipped or unreadable, mount points and all below them, and the file system's own lost+found. All below
a mount point stays also where the backup has that folder: it may be another disk's place, as in a backup of one file system. So
does a store that lies in the target.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container
from dataclasses import dataclass, field

from iot_backup.worker.notes import SKIPPED, UNREADABLE
from iot_backup.worker.removing import entered_to_clear, found_in, mount_of, writable
from iot_backup.worker.selection import EVERYTHING, Selection
from iot_backup.worker.spared import Folders, is_one_of
from iot_backup.worker.target import taken
from iot_backup.worker.walk import MAX_DEPTH

_LOST_AND_FOUND = b"lost+found"


@dataclass
class Mirror:
    """Clears one folder of the target after the other, as their members are complete."""

    asked: Selection = EVERYTHING
    """What the restore was asked for: nothing else goes."""
    covered: Selection = EVERYTHING
    """What the backup took by its own include and exclude."""
    noted: set[bytes] = field(default_factory=set)
    """Paths that the backup met and could not hold, by its notes; grows while the index is read."""
    acts: bool = True
    """False: only count."""
    stores: Folders = frozenset()
    """Those that hold backups, or what this machine remembers of them."""
    removed: int = 0
    """Paths."""
    freed: int = 0
    """Bytes of those files that had no other name."""

    def note(self, kind: str, path: bytes) -> None:
        """A note of the index."""
        if kind in (SKIPPED, UNREADABLE):
            self.noted.add(path)

    def clear(self, folder: int, path: bytes, names: Container[bytes], mount: int) -> None:
        """Remove from the folder behind the descriptor, `path` below the root (b"" is the root), what has none of these names. OSError.

        `mount`: of the root. Nothing goes from a folder that another one leads to.
        """
        if path in self.noted:
            return
        more = [name for name in _listed(folder) if name not in names]
        # Asked last: what a folder is mounted from costs more than all else, and most have nothing more.
        if not more or mount_of(folder) != mount or (path and is_one_of(os.fstat(folder), self.stores)):
            return
        with writable(folder, acts=self.acts):
            for name in more:
                self._remove(folder, name, _below(path, name), mount, 0)

    def _remove(self, folder: int, name: bytes, path: bytes, mount: int, depth: int) -> bool:
        """Whether nothing of that name is left."""
        try:
            found = found_in(folder, name, mount)
        except FileNotFoundError:
            return True
        if found is None or path in self.noted or is_one_of(found, self.stores) or (path == _LOST_AND_FOUND and found.st_uid == 0):
            return False
        is_folder = stat.S_ISDIR(found.st_mode)
        if is_folder and not (self._may_lose(path) and self._emptied(folder, name, path, mount, depth)):
            return False
        if not self._goes(path, is_folder):
            return False
        if self.acts:
            (os.rmdir if is_folder else os.unlink)(name, dir_fd=folder)
        self.removed += 1
        self.freed += taken(found) if found.st_nlink == 1 else 0
        return True

    def _emptied(self, folder: int, name: bytes, path: bytes, mount: int, depth: int) -> bool:
        """Whether all that is in the folder `name` went."""
        if depth >= MAX_DEPTH:
            return False
        with entered_to_clear(folder, name, acts=self.acts) as inner:
            left = [below for below in _listed(inner) if not self._remove(inner, below, path + b"/" + below, mount, depth + 1)]
        return not left

    def _may_lose(self, path: bytes) -> bool:
        """Whether anything in this folder, or itself, may go. Others are not entered: they may be another user's, whatever is in them."""
        return all(
            (one.includes(path, is_folder=True) or one.may_hold(path)) and not one.excludes(path, is_folder=True)
            for one in (self.asked, self.covered)
        )

    def _goes(self, path: bytes, is_folder: bool) -> bool:
        return self.asked.selects(path, is_folder) and self.covered.selects(path, is_folder)


def _below(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def _listed(folder: int) -> list[bytes]:
    with os.scandir(folder) as entries:
        return sorted(os.fsencode(entry.name) for entry in entries)
