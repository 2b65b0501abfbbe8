"""Folders that hold backups, or what a machine remembers of them: a backup does not take them, and a restore does not touch them.

They are told by device and inode, whatever path leads to them: a bind mount, or a second mount of an export, hides nothing.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from iot_backup.core import layout, spec

Folders = frozenset[tuple[int, int]]
"""Device and inode of each."""


def is_one_of(found: os.stat_result, folders: Folders) -> bool:
    return (found.st_dev, found.st_ino) in folders


def holding(repository: spec.Repository, others: Sequence[Path] = ()) -> Folders:
    """The folders of a volume store, none for a bucket, and the others with what they hold of the same shape; as far as they are there."""
    own = [Path(repository.store.mount, repository.store.path.strip("/"))] if isinstance(repository.store, spec.VolumeTarget) else []
    found = set()
    for base in (*own, *others):
        for folder in (base, *(base / layout.root("any", scope).partition("/")[0] for scope in ("ns", "site"))):
            with suppress(OSError):  # who may not even look at it cannot take anything from it
                stat_of = folder.stat()
                found.add((stat_of.st_dev, stat_of.st_ino))
    return frozenset(found)
