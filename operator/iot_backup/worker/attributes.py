"""Gives restored paths their owner, extended attributes, mode and time, as far as this user may."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from dataclasses import dataclass

from iot_backup.worker import acl
from iot_backup.worker.index import Row
from iot_backup.worker.xattrs import CAPABILITY, Place, belongs_to_content, beside, is_kept

_PRIVILEGED = stat.S_ISUID | stat.S_ISGID


@dataclass
class Attributes:
    """Counts what was refused: only root may give files away, and only a folder's owner may change its mode."""

    owners_refused: int = 0
    modes_refused: int = 0
    """Modes and times of paths that were there before and belong to somebody else."""
    xattrs_refused: int = 0
    """Paths that lack an extended attribute: this user may not set it, or the target's file system cannot hold it."""

    def apply(self, place: Place, row: Row) -> None:
        """In this order: a change of owner clears setuid and capabilities, an ACL sets a part of the mode, and neither moves the time.

        `place`: a descriptor, or a path in /proc that leads to one.
        """
        mode, xattrs = row.mode, dict(row.xattrs)
        owned = self._own(place, row)
        if not owned:
            # A program that runs as its owner must not do so as the wrong one.
            mode &= ~_PRIVILEGED
        if self._set(place, xattrs, owned=owned) and acl.ACCESS in xattrs:
            mode &= ~0o070 | acl.group_permissions(xattrs[acl.ACCESS]) << 3
        try:
            os.chmod(place, mode)
            os.utime(place, ns=(row.mtime_ns, row.mtime_ns))
        except PermissionError:
            self.modes_refused += 1

    def apply_to_link(self, folder: int, name: bytes, row: Row) -> None:
        """The same for a symlink, which has no mode."""
        place = beside(folder, name)
        try:
            os.chown(name, row.uid, row.gid, dir_fd=folder, follow_symlinks=False)
        except OSError:
            self.owners_refused += 1
        self._set(place, dict(row.xattrs), owned=True, follow=False)
        os.utime(name, ns=(row.mtime_ns, row.mtime_ns), dir_fd=folder, follow_symlinks=False)

    def _set(self, place: Place, xattrs: dict[bytes, bytes], *, owned: bool, follow: bool = True) -> bool:
        """Give a path these attributes, and none of its own beside them. Whether it lacks its ACL now, so that its mode alone counts."""
        refused = _cleared(place, xattrs, follow=follow)
        for name, value in xattrs.items():
            # A program must not get the capabilities of another owner's one, nor an index set what we never store.
            if is_kept(name) and (owned or name != CAPABILITY):
                try:
                    os.setxattr(place, name, value, follow_symlinks=follow)
                    continue
                except OSError:  # not allowed, not supported, no room for it in the inode
                    pass
            refused.add(name)
        self.xattrs_refused += bool(refused)
        return acl.ACCESS in refused

    def _own(self, place: Place, row: Row) -> bool:
        try:
            os.chown(place, row.uid, row.gid)
        except OSError:  # EPERM; EINVAL for an owner that this user namespace does not know
            self.owners_refused += 1
            with suppress(OSError):
                os.chown(place, -1, row.gid)
            return False
        return True


def _cleared(place: Place, wanted: dict[bytes, bytes], *, follow: bool) -> set[bytes]:
    """Remove what a path had before, or inherited from its folder. Answers with what could not be removed."""
    try:
        found = os.listxattr(place, follow_symlinks=follow)
    except OSError:
        return set()
    refused = set()
    for name in map(os.fsencode, found):
        if name not in wanted and belongs_to_content(name):
            try:
                os.removexattr(place, name, follow_symlinks=follow)
            except OSError:
                refused.add(name)
    return refused
