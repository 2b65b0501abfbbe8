"""What an archive is expected to have follows the folder, not the disk that it lies on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from iot_backup.errors import Cancelled
from iot_backup.worker.sizing import UNCOUNTED, expected_size
from tests import mounting

MB = 1_000_000


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "inner").mkdir()
    (tmp_path / "file").write_bytes(os.urandom(MB))
    (tmp_path / "inner" / "file").write_bytes(os.urandom(MB))
    with open(tmp_path / "holes", "wb") as file:
        file.truncate(1000 * MB)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    yield descriptor
    os.close(descriptor)


def disk(monkeypatch: pytest.MonkeyPatch, used: int) -> None:
    blocks = -(-used // 4096)
    monkeypatch.setattr(os, "fstatvfs", lambda _descriptor: SimpleNamespace(f_blocks=blocks + 7, f_bfree=7, f_frsize=4096))


def never() -> None:
    return


def test_a_disk_with_little_in_use_is_not_walked(monkeypatch: pytest.MonkeyPatch, folder: int) -> None:
    def walked() -> None:
        raise AssertionError("walked")

    disk(monkeypatch, 4096 * 1000)
    assert expected_size(folder, compressed=True, check=walked) == 4096 * 1000


@pytest.mark.parametrize("used", [0, UNCOUNTED + 4096, 10**15])
def test_a_large_disk_or_one_that_says_nothing_has_its_files_counted(monkeypatch: pytest.MonkeyPatch, folder: int, used: int) -> None:
    disk(monkeypatch, used)
    assert 2 * MB <= expected_size(folder, compressed=True, check=never) <= 4 * MB
    assert 1002 * MB <= expected_size(folder, compressed=False, check=never) <= 1300 * MB


def test_counting_can_be_stopped(monkeypatch: pytest.MonkeyPatch, folder: int) -> None:
    def stopped() -> None:
        raise Cancelled("stop")

    disk(monkeypatch, 10**15)
    with pytest.raises(Cancelled):
        expected_size(folder, compressed=True, check=stopped)


def test_what_is_mounted_in_the_source_counts_as_the_walk_goes(monkeypatch: pytest.MonkeyPatch, folder: int, tmp_path: Path) -> None:
    with mounting.disk(tmp_path / "inner", "64m") as inner:
        (inner / "large").write_bytes(bytes(50 * MB))
        disk(monkeypatch, 10 * MB)
        whole, without = (expected_size(folder, compressed=True, check=never, one_file_system=one) for one in (False, True))
    assert whole > 50 * MB
    assert without < 11 * MB
