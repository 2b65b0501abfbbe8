"""Whether a backup fits into a target, before the first byte is written."""

from __future__ import annotations

import math
import os
import stat
from dataclasses import dataclass

from iot_backup.errors import TargetFull
from iot_backup.worker.notes import Notes
from iot_backup.worker.walk import Walk


def check_room(target: int, content: int, entries: int) -> None:
    """Raise TargetFull if `content` bytes in `entries` paths cannot fit into the folder `target` and what is mounted in it.

    What is there already counts as room: files of the same names will be replaced. So does what is free in any file system below: what
    goes where is not known here. It is a check against certain failure; a disk may still fill up while the restore runs, and a plan
    tells which.
    """
    free, inodes = _free(target)
    if content <= free and entries <= inodes:
        return
    below = _below(target)
    free, inodes = free + below.free, inodes + below.inodes
    if content > free + below.used:
        raise TargetFull(
            f"the target is too small: the backup holds {content} bytes, {free} are free and {below.used} are in files it may replace. "
            "Nothing was written. Restore into a larger volume."
        )
    if entries > inodes + below.paths:
        raise TargetFull(f"the target has too few inodes: the backup has {entries} paths, {inodes} are free. Nothing was written.")


@dataclass
class _Below:
    """What is below a folder."""

    used: int = 0
    """Bytes allocated to files."""
    paths: int = 0
    free: int = 0
    """Bytes, in file systems that are mounted there."""
    inodes: float = 0
    """Free in those."""


def _below(target: int) -> _Below:
    found = _Below()
    seen = {os.fstat(target).st_dev}
    for entry in Walk(target, Notes(lambda _note, _path, _reason: None)):
        found.paths += 1
        if entry.descriptor >= 0 and entry.stat.st_dev not in seen:
            seen.add(entry.stat.st_dev)
            free, inodes = _free(entry.descriptor)
            found.free, found.inodes = found.free + free, found.inodes + inodes
        if stat.S_ISREG(entry.stat.st_mode):
            found.used += max(entry.stat.st_size, entry.stat.st_blocks * 512)
    return found


def _free(folder: int) -> tuple[int, float]:
    """Bytes and inodes that are free in a folder's file system; some have no limit of inodes."""
    found = os.fstatvfs(folder)
    return found.f_bavail * found.f_frsize, found.f_favail if found.f_files else math.inf
