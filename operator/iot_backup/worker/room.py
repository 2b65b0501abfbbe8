"""Whether a backup fits into a target, before the first byte is written."""

from __future__ import annotations

import os
import stat

from iot_backup.errors import TargetFull
from iot_backup.worker.notes import Notes
from iot_backup.worker.walk import Walk


def check_room(target: int, content: int, entries: int) -> None:
    """Raise TargetFull if `content` bytes in `entries` paths cannot fit into the file system of the folder `target`.

    What is there already counts as room: files of the same names will be replaced. It is a check against certain failure; the disk may
    still fill up while the restore runs.
    """
    found = os.fstatvfs(target)
    free = found.f_bavail * found.f_frsize
    missing_entries = entries - found.f_favail if found.f_files else 0
    if content <= free and missing_entries <= 0:
        return
    used, paths = _in_use(target)
    if content > free + used:
        raise TargetFull(
            f"the target is too small: the backup holds {content} bytes, {free} are free and {used} are in files it may replace. "
            "Nothing was written. Restore into a larger volume."
        )
    if missing_entries > paths:
        raise TargetFull(f"the target has too few inodes: the backup has {entries} paths, {found.f_favail} are free. Nothing was written.")


def _in_use(target: int) -> tuple[int, int]:
    """Bytes allocated to files below the folder, and its paths."""
    size = paths = 0
    for entry in Walk(target, Notes(lambda _note, _path, _reason: None)):
        paths += 1
        if stat.S_ISREG(entry.stat.st_mode):
            size += max(entry.stat.st_size, entry.stat.st_blocks * 512)
    return size, paths
