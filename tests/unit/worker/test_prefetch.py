"""Files are asked for ahead of the walk where reading is slow, and nothing else is touched."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest

from iot_backup.worker.prefetch import Prefetch

PATIENCE = 30.0


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes that were asked for; two threads do so."""
    sizes: list[int] = []

    def advise(_descriptor: int, _offset: int, length: int, advice: int) -> None:
        assert advice == os.POSIX_FADV_WILLNEED
        sizes.append(length)

    monkeypatch.setattr(os, "posix_fadvise", advise)
    return sizes


def wait_until(holds: object) -> None:
    deadline = time.monotonic() + PATIENCE
    while not holds():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.001)


def slow(found: Prefetch) -> Prefetch:
    for _ in range(64):
        found.took(0.001)
    return found


def descriptors(folder: Path) -> int:
    """Of this process, at or below the folder: what others in it open and close meanwhile does not count."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):
            found += Path(os.readlink(f"/proc/self/fd/{number}")).is_relative_to(folder)
    return found


def threads() -> set[threading.Thread]:
    return {thread for thread in threading.enumerate() if thread.name.startswith("prefetch")}


def test_where_reading_is_fast_nothing_is_asked_for(tmp_path: Path, asked: list[int]) -> None:
    (tmp_path / "file").write_text("x")
    found, before = Prefetch(), threads()
    for _ in range(1000):
        found.took(10e-6)
    found.folder(os.open(tmp_path, os.O_RDONLY), [b"file"])
    assert (found.is_active, threads() - before, asked) == (False, set(), [])


def test_where_it_is_slow_regular_files_are_asked_for_and_nothing_else_is_opened(tmp_path: Path, asked: list[int]) -> None:
    (tmp_path / "a").write_bytes(b"x" * 7)
    (tmp_path / "b").mkdir()
    os.mkfifo(tmp_path / "c")
    (tmp_path / "d").symlink_to("a")
    (tmp_path / "large").write_bytes(bytes(1 << 20))
    before = descriptors(tmp_path)
    found = slow(Prefetch())
    folder = os.open(tmp_path, os.O_RDONLY)
    found.folder(folder, [b"a", b"b", b"c", b"d", b"gone", b"large"])
    (tmp_path / "z").write_bytes(b"x" * 9)
    found.folder(folder, [b"z"])
    wait_until(lambda: len(asked) == 2)
    assert sorted(asked) == [7, 9], "of a large file nothing is"
    os.close(folder)
    found.close()
    wait_until(lambda: descriptors(tmp_path) == before)


def test_it_never_runs_further_ahead_than_it_may(tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"{number:03d}".encode() for number in range(50)]
    for name in names:
        (tmp_path / name.decode()).write_text("x")
    before = descriptors(tmp_path)
    found = Prefetch()
    monkeypatch.setattr(found, "_room", threading.Semaphore(10))
    slow(found)
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(3):
        found.folder(folder, names)
    wait_until(lambda: len(asked) == 10)
    for _ in range(5):
        found.passed()
    wait_until(lambda: len(asked) == 15)
    found.close()
    os.close(folder)
    wait_until(lambda: not [thread for thread in threading.enumerate() if thread.name.startswith("prefetch")])
    assert len(asked) < 20
    assert descriptors(tmp_path) == before, "also those of folders that were not come to"


def test_a_folder_that_ends_early_gives_its_descriptor_back(tmp_path: Path, asked: list[int]) -> None:
    before = descriptors(tmp_path)
    found = slow(Prefetch())
    folder = os.open(tmp_path, os.O_RDONLY)
    found.folder(folder, [])
    found.close()
    os.close(folder)
    wait_until(lambda: descriptors(tmp_path) == before)
    assert asked == []


def test_folders_whose_names_wait_hold_few_descriptors(tmp_path: Path, asked: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    """A walk can enter thousands of folders while the names of one are still to be asked for."""
    (tmp_path / "f").write_bytes(b"x")
    going = threading.Event()
    monkeypatch.setattr(os, "posix_fadvise", lambda *_: going.wait(PATIENCE))
    before, found = descriptors(tmp_path), slow(Prefetch())
    folder = os.open(tmp_path, os.O_RDONLY)
    found.folder(folder, [b"f"] * 1000)
    for _ in range(2000):
        found.folder(folder, [b"f"])
    assert descriptors(tmp_path) - before < 100
    going.set()
    os.close(folder)
    found.close()
    wait_until(lambda: descriptors(tmp_path) == before)
