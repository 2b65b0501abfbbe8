"""About how large an archive will be: a bucket wants to know before the first byte, and gives large objects large parts."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

from iot_backup.storage.mounts import mounted
from iot_backup.worker.notes import Notes
from iot_backup.worker.selection import EVERYTHING, Selection
from iot_backup.worker.walk import Walk

UNCOUNTED = 40_000_000_000
"""Bytes up to which it makes no difference: 9000 parts of the smallest size."""


def expected_size(
    root: int,
    selection: Selection = EVERYTHING,
    *,
    compressed: bool,
    check: Callable[[], None],
    one_file_system: bool = False,
) -> int:
    """Bytes that an archive of the folder `root` may have, with some room to grow. `selection`, `one_file_system`: as for the walk.

    What the file system has in use is enough where that is little, and nothing else is mounted in it. It may hold much besides this folder (a node's disk, a file server),
    and some say nothing: then the files are counted, since parts that are too large cost memory, and too many cost the backup.
    `check` is called for each path and may raise to stop.
    """
    found = os.fstatvfs(root)
    used = (found.f_blocks - found.f_bfree) * found.f_frsize
    if 0 < used <= UNCOUNTED and (one_file_system or not _holds_mounts(root)):
        return used
    total = 0
    for entry in Walk(root, Notes(lambda _note, _path, _reason: None), selection, one_file_system=one_file_system):
        check()
        if stat.S_ISREG(entry.stat.st_mode):
            # A hole compresses to nothing.
            total += entry.stat.st_blocks * 512 if compressed else entry.stat.st_size
    return total * 5 // 4


def _holds_mounts(root: int) -> bool:
    """Whether something is mounted below the folder; also where nobody can tell."""
    try:
        folder = Path(os.readlink(f"/proc/self/fd/{root}"))
        return any(mount.point != folder and mount.point.is_relative_to(folder) for mount in mounted())
    except OSError:
        return True
