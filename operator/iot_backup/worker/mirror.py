"""Takes away what is in a target and not in the backup: by descriptors, through no link, into no other file system.

What the backup itself could not hold is no sign that it shall go. So these stay: what the backup's own include and exclude left
out, paths that it notes as skipped or unreadable, mount points and all below them, and the file system's own lost+found. So does a
store that lies in the target.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Container
from dataclasses import dataclass, field

from iot_backup.worker.notes import SKIPPED, UNREADABLE
from iot_backup.worker.selection import EVERYTHING, Selection
from iot_backup.worker.target import entered, taken
from iot_backup.worker.walk import LISTED, MAX_DEPTH

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
    stores: frozenset[tuple[int, int]] = frozenset()
    """Device and inode of folders that hold backups."""
    removed: int = 0
    """Paths."""
    freed: int = 0
    """Bytes of those files that had no other name."""

    def note(self, kind: str, path: bytes) -> None:
        """A note of the index."""
        if kind in (SKIPPED, UNREADABLE):
            self.noted.add(path)

    def clear(self, folder: int, path: bytes, names: Container[bytes]) -> None:
        """Remove from the folder behind the descriptor, `path` below the root (b"" is the root), what has none of these names. OSError."""
        if path in self.noted:
            return
        device = os.fstat(folder).st_dev
        for name in _listed(folder):
            if name not in names:
                self._remove(folder, name, _below(path, name), device, 0)

    def _remove(self, folder: int, name: bytes, path: bytes, device: int, depth: int) -> bool:
        """Whether nothing of that name is left."""
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
        except FileNotFoundError:
            return True
        is_folder = stat.S_ISDIR(found.st_mode)
        if path in self.noted or found.st_dev != device or (path == _LOST_AND_FOUND and found.st_uid == 0):
            return False
        if (found.st_dev, found.st_ino) in self.stores:
            return False
        if (is_folder and not self._emptied(folder, name, path, device, depth)) or not self._goes(path, is_folder):
            return False
        if self.acts:
            (os.rmdir if is_folder else os.unlink)(name, dir_fd=folder)
        self.removed += 1
        self.freed += taken(found) if found.st_nlink == 1 else 0
        return True

    def _emptied(self, folder: int, name: bytes, path: bytes, device: int, depth: int) -> bool:
        """Whether all that is in the folder `name` went."""
        if depth >= MAX_DEPTH:
            return False
        inner = entered(folder, name) if self.acts else os.open(name, LISTED, dir_fd=folder)
        try:
            left = [below for below in _listed(inner) if not self._remove(inner, below, path + b"/" + below, device, depth + 1)]
        finally:
            os.close(inner)
        return not left

    def _goes(self, path: bytes, is_folder: bool) -> bool:
        return self.asked.selects(path, is_folder) and self.covered.selects(path, is_folder)


def _below(path: bytes, name: bytes) -> bytes:
    return path + b"/" + name if path else name


def _listed(folder: int) -> list[bytes]:
    with os.scandir(folder) as entries:
        return sorted(os.fsencode(entry.name) for entry in entries)
