"""How old what a volume shows may be: others' writes reach a network file system's client late."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from iot_backup.storage.mounts import Mount, mounted

NETWORK = timedelta(seconds=240)
"""NFS keeps attributes and names for at most 60 s by default; other file systems and options do so for longer."""
_LOCAL = frozenset({"btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "vfat", "xfs", "zfs"})
"""Of this kernel alone: whatever a process of this machine wrote, every other sees."""


def of_folder(folder: Path) -> timedelta:
    """Nothing where the folder is known to lie on a disk of this machine, NETWORK for everything else."""
    try:
        return bound(folder.resolve(), mounted())
    except OSError:
        return NETWORK


def bound(folder: Path, mounts: Sequence[Mount]) -> timedelta:
    """The same, by these mounts. `folder`: absolute, without links."""
    best, kind = -1, ""
    for mount in mounts:
        if folder.is_relative_to(mount.point) and len(mount.point.parts) >= best:  # a later mount lies over an earlier one
            best, kind = len(mount.point.parts), mount.kind
    return timedelta() if kind in _LOCAL else NETWORK
