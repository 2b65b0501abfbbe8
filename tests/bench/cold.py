"""An empty page cache, as after a night in which others worked."""

from __future__ import annotations

import os
from pathlib import Path

DROP = Path("/proc/sys/vm/drop_caches")


def drop(folder: Path) -> bool:
    """Drop the machine's caches, names and inodes too; where that is not allowed, the pages of the files below `folder` alone. Return whether all went."""
    os.sync()
    try:
        DROP.write_text("3")
        return True
    except OSError:
        for path in folder.rglob("*"):
            if path.is_file() and not path.is_symlink():
                _forget(path)
        return False


def _forget(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
