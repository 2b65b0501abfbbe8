"""Which paths of a target stay."""

from __future__ import annotations

import os
import stat

import pytest

from iot_backup.core.spec import OnConflict
from iot_backup.worker import conflicts
from iot_backup.worker.index import FILE, FOLDER, SYMLINK, Row


def row(kind: str) -> Row:
    return Row(b"a", kind, 0, 1000, 0, 0, 0, 0, 0, 0, 0)


def found(type_: int, mtime_ns: int) -> os.stat_result:
    return os.stat_result((type_, *[0] * 9), {"st_mtime_ns": mtime_ns})


@pytest.mark.parametrize("kind", [FILE, FOLDER, SYMLINK])
@pytest.mark.parametrize(
    ("rule", "type_", "mtime_ns", "stays"),
    [
        ("Overwrite", stat.S_IFREG, 2000, False),
        ("Mirror", stat.S_IFREG, 2000, False),
        ("SkipExisting", stat.S_IFREG, 0, True),
        ("SkipExisting", stat.S_IFLNK, 0, True),
        ("KeepNewer", stat.S_IFREG, 999, False),
        ("KeepNewer", stat.S_IFREG, 1000, False),
        ("KeepNewer", stat.S_IFREG, 1001, True),
        ("KeepNewer", stat.S_IFLNK, 1001, True),
        ("KeepNewer", stat.S_IFIFO, 0, False),
    ],
)
def test_what_stays(kind: str, rule: OnConflict, type_: int, mtime_ns: int, stays: bool) -> None:
    assert conflicts.keeps(rule, row(kind), found(type_, mtime_ns)) is stays


@pytest.mark.parametrize(("rule", "stays"), [("Overwrite", False), ("Mirror", False), ("SkipExisting", True), ("KeepNewer", True)])
def test_a_folder_that_would_make_way(rule: OnConflict, stays: bool) -> None:
    assert conflicts.keeps(rule, row(FILE), found(stat.S_IFDIR, 0)) is stays


def test_folders_alone_are_entered() -> None:
    assert conflicts.is_folder_for_folder(row(FOLDER), found(stat.S_IFDIR, 0))
    assert not conflicts.is_folder_for_folder(row(FOLDER), found(stat.S_IFLNK, 0))
    assert not conflicts.is_folder_for_folder(row(FILE), found(stat.S_IFDIR, 0))


@pytest.mark.parametrize(("rule", "stays"), [("Overwrite", False), ("Mirror", False), ("SkipExisting", True), ("KeepNewer", False)])
def test_a_folders_own_attributes(rule: OnConflict, stays: bool) -> None:
    assert conflicts.keeps_attributes(rule) is stays
