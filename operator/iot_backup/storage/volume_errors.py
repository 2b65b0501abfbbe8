"""What a file system's refusals mean for a volume store, in words for people."""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass

from iot_backup.core.wording import is_path, place
from iot_backup.errors import AccessDenied, CorruptData, InvalidSpec, IotBackupError, NotFound, StorageFull, StorageUnavailable

FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
DENIED = frozenset({errno.EACCES, errno.EPERM})
NOT_PLAIN = frozenset({errno.ELOOP, errno.ENOTDIR, errno.EISDIR})
NO_LINKS = frozenset({errno.EPERM, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EMLINK})


@dataclass(frozen=True)
class Place:
    """What was tried, for the sentence."""

    claim: str
    key: str
    """Path inside the claim."""
    group: int
    writing: bool


def explain(error: OSError, at: Place, owner: str) -> IotBackupError:
    """The error of our own for one of the operating system's. `owner` is `folders.owner`'s sentence."""
    where = f"{at.key} on {place(at.claim)}"
    why = os.strerror(error.errno) if error.errno else str(error)
    if error.errno in FULL:
        return StorageFull(f"no room left for {where}: {why}. {_if_full(at.claim)}, raise the quota, or remove old backups.")
    if error.errno == errno.EROFS:
        return AccessDenied(f"cannot write {where}: the volume is mounted read-only. {_if_read_only(at.claim)}")
    if error.errno in DENIED:
        return AccessDenied(_denied(where, why, at, owner))
    if error.errno in NOT_PLAIN:
        return CorruptData(
            f"{where} leads through something that is neither a plain file nor a plain folder, such as a link; links are never followed. "
            "Look who put it there, and remove it."
        )
    if error.errno == errno.ENOENT:
        return NotFound(f"{where} is not there")
    verb = "written" if at.writing else "read"
    return StorageUnavailable(f"{where} could not be {verb}: {why}. Look at the volume and, for NFS, at its server.")


def no_links(at: Place, error: OSError) -> IotBackupError:
    """For a file system that cannot do what a create-only commit needs."""
    return InvalidSpec(
        f"the file system of {place(at.claim)} cannot make hard links ({os.strerror(error.errno or 0)}), which a backup's commit needs. "
        "Use one on ext4, xfs, btrfs, CephFS or NFS."
    )


def _denied(where: str, why: str, at: Place, owner: str) -> str:
    groups = ", ".join(map(str, sorted({os.getegid(), *os.getgroups()})))
    what = "write" if at.writing else "read"
    return (
        f"cannot {what} {where}: {why}. {owner}; this run is user {os.geteuid()}, groups {groups}. "
        f"{_another_group(at.claim, what)}give the folder to group {at.group}: chgrp -R {at.group}, chmod -R g+rwX,g+s."
    )


def _another_group(claim: str, what: str) -> str:
    if is_path(claim):
        return "Run as its owner, or "
    return f"Set spec.volume.group of the BackupStorage to a group that may {what} there, or "


def _if_read_only(claim: str) -> str:
    return "Mount it for writing." if is_path(claim) else "Does the claim allow ReadWriteOnce or ReadWriteMany?"


def _if_full(claim: str) -> str:
    return "Make room" if is_path(claim) else "Enlarge the claim"
