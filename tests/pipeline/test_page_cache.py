"""A backup or a restore does not push out of memory what a database works with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from iot_backup.storage.page_cache import resident
from iot_backup.storage.volume import VolumeStore
from tests.pipeline.increments import Chain
from tests.pipeline.roundtrip import back_up, bring_back

SIZE = 64 << 20
WARM = 0.99
"""The share of a file from which it is in memory: the kernel takes a page when it likes."""


def in_memory(path: Path) -> float:
    """The share of a file that is."""
    descriptor = os.open(path, os.O_RDWR)
    try:
        found = resident(descriptor, 0, os.fstat(descriptor).st_size)
    finally:
        os.close(descriptor)
    return sum(found) / len(found)


def chill(path: Path) -> None:
    descriptor = os.open(path, os.O_RDWR)
    try:
        os.fsync(descriptor)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(descriptor)
    if in_memory(path):
        pytest.skip("this file system keeps its files in memory")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    root.mkdir()
    for name in ("cold", "warm"):
        with (root / name).open("wb") as file:
            for _ in range(SIZE >> 20):
                file.write(os.urandom(1 << 20))
        chill(root / name)
    (root / "warm").read_bytes()
    assert in_memory(root / "warm") > WARM
    return root


def test_a_backup_leaves_of_each_large_file_what_was_there(source: Path) -> None:
    backup = back_up(source, level=None)
    assert len(backup.archive) > 2 * SIZE
    assert in_memory(source / "cold") == 0
    assert in_memory(source / "warm") > WARM


def _touched(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def _changed(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(20 << 20)
        file.write(os.urandom(100_000))


@pytest.mark.parametrize("change", [_touched, _changed])
def test_an_increment_leaves_no_more(source: Path, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch) -> None:
    chain = Chain(source, monkeypatch)
    full = chain.back_up()
    for name in ("cold", "warm"):
        change(source / name)
    chill(source / "cold")
    assert len(chain.back_up(full).tar) < 1 << 20
    assert in_memory(source / "cold") == 0
    assert in_memory(source / "warm") > WARM


def test_a_restored_large_file_is_on_the_disk_and_not_in_memory(source: Path, tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    bring_back(back_up(source, level=None), target)
    assert in_memory(target / "cold") == 0
    assert (target / "cold").read_bytes() == (source / "cold").read_bytes()


def test_an_archive_on_a_volume_is_not_in_memory(source: Path, tmp_path: Path) -> None:
    (tmp_path / "nas").mkdir()
    store = VolumeStore(tmp_path / "nas", "", claim="nas", group=os.getegid())
    with (source / "warm").open("rb") as file:
        store.create_stream("objects/large", iter(lambda: file.read(1 << 20), b""))
    stored = tmp_path / "nas" / "objects" / "large"
    assert in_memory(stored) == 0
    assert stored.read_bytes() == (source / "warm").read_bytes()
    shutil.rmtree(tmp_path / "nas")
