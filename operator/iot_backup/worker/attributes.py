"""Gives restored paths their owner, mode and time, as far as this user may."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass

from iot_backup.worker.index import Row

_PRIVILEGED = stat.S_ISUID | stat.S_ISGID


@dataclass
class Attributes:
    """Counts what was refused: only root may give files away, and only a folder's owner may change its mode."""

    owners_refused: int = 0
    modes_refused: int = 0
    """Modes and times of paths that were there before and belong to somebody else."""

    def apply(self, descriptor: int, row: Row) -> None:
        """In this order: a change of owner clears setuid, and a change of mode moves no time."""
        mode = row.mode
        if not self._own(descriptor, row):
            # A program that runs as its owner must not do so as the wrong one.
            mode &= ~_PRIVILEGED
        try:
            os.fchmod(descriptor, mode)
            os.utime(descriptor, ns=(row.mtime_ns, row.mtime_ns))
        except PermissionError:
            self.modes_refused += 1

    def apply_to_link(self, folder: int, name: bytes, row: Row) -> None:
        """The same for a symlink, which has no mode."""
        try:
            os.chown(name, row.uid, row.gid, dir_fd=folder, follow_symlinks=False)
        except OSError:
            self.owners_refused += 1
        os.utime(name, ns=(row.mtime_ns, row.mtime_ns), dir_fd=folder, follow_symlinks=False)

    def _own(self, descriptor: int, row: Row) -> bool:
        try:
            os.fchown(descriptor, row.uid, row.gid)
        except OSError:  # EPERM; EINVAL for an owner that this user namespace does not know
            self.owners_refused += 1
            self._own_group(descriptor, row.gid)
            return False
        return True

    @staticmethod
    def _own_group(descriptor: int, gid: int) -> None:
        try:
            os.fchown(descriptor, -1, gid)
        except OSError:
            return
