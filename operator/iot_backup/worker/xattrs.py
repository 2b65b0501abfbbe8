"""Extended attributes of a source: which are kept, and how they are read.

Kept is what somebody set and can set again: `user.*`, POSIX ACLs, file capabilities, and `trusted.*`, which only root sees. Left out
is what the system that a path is restored to computes by itself, or what would lie there: labels of SELinux and others, hashes of
IMA and EVM, and views that a file system gives of its own facts (`system.nfs4_acl`, `btrfs.*`, `ceph.*`).
"""

from __future__ import annotations

import errno
import os
from typing import Protocol

from iot_backup.worker import acl

CAPABILITY = b"security.capability"
Xattrs = tuple[tuple[bytes, bytes], ...]
"""Names and values, sorted."""
Place = int | bytes
"""A descriptor, or a path whose last name is not followed."""

_MAX_TOTAL = 1 << 20
"""Bytes of names and values of one path: an index row holds it. Linux's file systems are usually content with 64 KiB at most."""
_UNSUPPORTED = frozenset((errno.EOPNOTSUPP, errno.ENOSYS))
_XFS_ACLS = b"trusted.SGI_ACL_"
"""XFS shows root its ACLs a second time."""


class Calls(Protocol):
    """What asks the kernel."""

    def list_xattrs(self, place: Place) -> list[str]: ...

    def xattr(self, place: Place, name: bytes) -> bytes: ...


class XattrReader:
    """Reads the attributes of many paths; a file system that has none is asked once."""

    def __init__(self, calls: Calls) -> None:
        self._calls = calls
        self._without: set[int] = set()

    def read(self, place: Place, device: int) -> tuple[Xattrs, str]:
        """What is kept of a path's attributes, and why some are missing, if so. `device`: st_dev of the path."""
        if device in self._without:
            return (), ""
        try:
            listed = self._calls.list_xattrs(place)
        except OSError as error:
            if error.errno in _UNSUPPORTED:
                if isinstance(place, int):  # of links and devices alone some file systems say so (SMB)
                    self._without.add(device)
                return (), ""
            if error.errno == errno.ENOENT:  # a link that has gone since: its target was read before
                return (), ""
            return (), f"extended attributes could not be listed: {error.strerror}"
        if not listed:
            return (), ""
        return self._values(place, sorted(name for name in map(os.fsencode, listed) if is_kept(name)))

    def _values(self, place: Place, names: list[bytes]) -> tuple[Xattrs, str]:
        found: list[tuple[bytes, bytes]] = []
        total, missing = 0, ""
        for name in names:
            try:
                value = self._calls.xattr(place, name)
            except OSError as error:
                if error.errno not in (errno.ENODATA, errno.ENOENT):
                    missing = missing or f"extended attribute {os.fsdecode(name)!r} could not be read: {error.strerror}"
                continue
            total += len(name) + len(value)
            if total > _MAX_TOTAL:
                missing = (
                    missing or f"extended attributes of more than {_MAX_TOTAL} bytes: {os.fsdecode(name)!r} and what follows are left out"
                )
                break
            found.append((name, value))
        return tuple(found), missing


def is_kept(name: bytes) -> bool:
    """Whether an attribute is stored."""
    if name.startswith((b"user.", b"trusted.")):
        return not name.startswith(_XFS_ACLS)
    return name in (acl.ACCESS, acl.DEFAULT, CAPABILITY)


def belongs_to_content(name: bytes) -> bool:
    """Whether an attribute that a target's path has and the backup does not goes in a restore: people and programs set these."""
    return name.startswith(b"user.") or name in (acl.ACCESS, acl.DEFAULT)


def beside(folder: int, name: bytes) -> bytes:
    """A place for what is not opened, since that is impossible (a link) or does something (a device): there are no calls by folder."""
    return b"/proc/self/fd/%d/%b" % (folder, name)
