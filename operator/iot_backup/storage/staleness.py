"""How old what a volume shows may be: others' writes reach a network file system's client late."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

NETWORK = timedelta(seconds=240)
"""NFS keeps attributes and names for at most 60 s by default; other file systems and options do so for longer."""
_LOCAL = frozenset({"btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "overlay", "ramfs", "tmpfs", "vfat", "xfs", "zfs"})
"""Of this kernel alone: whatever a process of this machine wrote, every other sees."""
_MOUNTS = Path("/proc/self/mountinfo")


def of_folder(folder: Path) -> timedelta:
    """Nothing where the folder is known to lie on a disk of this machine, NETWORK for everything else."""
    try:
        return bound(folder.resolve(), _MOUNTS.read_text())
    except OSError:
        return NETWORK


def bound(folder: Path, mountinfo: str) -> timedelta:
    """The same, by the mounts that /proc/self/mountinfo tells. `folder`: absolute, without links."""
    best, kind = -1, ""
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        point = Path(fields.split()[4].encode().decode("unicode_escape"))
        if folder.is_relative_to(point) and len(point.parts) >= best:  # a later mount lies over an earlier one
            best, kind = len(point.parts), rest.split()[0]
    return timedelta() if kind in _LOCAL else NETWORK
