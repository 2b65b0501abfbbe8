"""An error or a stop anywhere ends the whole pipeline, soon, with the error that came first."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from iot_backup.crypto.container import sealer
from iot_backup.errors import Cancelled, Internal, StorageFull, StorageUnavailable
from iot_backup.worker.contents import Files
from iot_backup.worker.extract import Rules
from iot_backup.worker.packing import Destination, Packed, pack
from iot_backup.worker.unpacking import unpack
from tests.pipeline.roundtrip import back_up, index_of
from tests.pipeline.roundtrip import source as archive_of
from tests.pipeline.worker_process import PATIENCE

Sink = Callable[[Iterator[bytes]], None]
SOON = 2.0
BUSY = 1.0
"""Seconds that a machine with other work may take besides."""


class Stop(threading.Event):
    """Knows how long ago it was asked for."""

    began = float("inf")

    def set(self) -> None:
        self.began = min(self.began, time.monotonic())
        super().set()

    @property
    def age(self) -> float:
        return time.monotonic() - self.began


def drain(chunks: Iterator[bytes]) -> None:
    for _ in chunks:
        pass


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    root.mkdir()
    for number in range(12):
        (root / f"file{number:02}").write_bytes(os.urandom(5 << 20))
    return root


@pytest.fixture(autouse=True)
def _no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    deadline = time.monotonic() + PATIENCE
    while set(threading.enumerate()) - before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert set(threading.enumerate()) <= before


def run(source: Path, archive: Sink, index: Sink, *, stop: threading.Event | None = None, files: Files | None = None) -> Packed:
    root = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return pack(
            root,
            Destination(sealer(None, "None"), archive),
            Destination(sealer(None, "None"), index),
            archives=["0123456789abcdef"],
            level=1,
            stop=stop or threading.Event(),
            files=files,
        )
    finally:
        os.close(root)


def failing_after(count: int, error: Exception) -> Sink:
    def sink(chunks: Iterator[bytes]) -> None:
        for at, _ in enumerate(chunks):
            if at >= count:
                raise error
        raise error

    return sink


@pytest.mark.parametrize("after", [0, 3, 10**6])
@pytest.mark.parametrize("which", ["archive", "index"])
def test_an_error_of_the_store_is_raised_as_it_is_and_stops_the_walk(source: Path, which: str, after: int) -> None:
    error = StorageFull("the bucket is full")
    sink = failing_after(after, error)
    with pytest.raises(StorageFull) as raised:
        run(source, sink if which == "archive" else drain, sink if which == "index" else drain)
    assert raised.value is error


def test_when_the_index_fails_the_archive_is_aborted_with_the_same_error(source: Path) -> None:
    seen: list[BaseException] = []

    def archive(chunks: Iterator[bytes]) -> None:
        try:
            drain(chunks)
            threading.Event().wait(0)
        except BaseException as error:
            seen.append(error)
            raise StorageUnavailable("the upload was aborted") from error

    def index(chunks: Iterator[bytes]) -> None:
        raise StorageFull("no room for the index")

    with pytest.raises(StorageFull):
        run(source, archive, index)
    assert [type(error) for error in seen] == [StorageFull]


def test_after_a_failure_nothing_of_the_backup_lands_any_more(source: Path) -> None:
    """Or it would land behind the back of whoever removes what was uploaded."""
    begun, landed = threading.Event(), threading.Event()

    def archive(chunks: Iterator[bytes]) -> None:
        drain(chunks)
        assert begun.wait(20)
        raise StorageFull("no room for the last part")

    def index(chunks: Iterator[bytes]) -> None:
        drain(chunks)
        begun.set()
        threading.Event().wait(1.5)  # an answer takes its time
        landed.set()

    with pytest.raises(StorageFull):
        run(source, archive, index)
    assert landed.is_set()


def test_an_error_of_the_walk_reaches_the_store_so_that_nothing_is_published(source: Path) -> None:
    class Broken(Files):
        def read(self, descriptor: int, target: memoryview) -> int:
            raise RuntimeError("a defect")

    published = []

    def sink(chunks: Iterator[bytes]) -> None:
        drain(chunks)
        published.append(1)

    with pytest.raises(RuntimeError, match="a defect"):
        run(source, sink, sink, files=Broken())
    assert published == []


def test_a_store_that_stops_reading_is_a_defect_that_is_told(source: Path) -> None:
    with pytest.raises(Internal, match="without reading it to its end"):
        run(source, lambda chunks: None, drain)
    with pytest.raises(Internal, match="without reading it to its end"):
        run(source, drain, lambda chunks: None)


@pytest.mark.parametrize("stage", ["source hangs", "store waits", "busy"])
def test_a_stop_ends_a_backup_within_two_seconds(source: Path, stage: str) -> None:
    stop, release, reached = Stop(), threading.Event(), threading.Event()

    class Hanging(Files):
        def read(self, descriptor: int, target: memoryview) -> int:
            reached.set()
            if stage == "source hangs":
                release.wait(20)
            elif stage == "busy":
                stop.wait(20)  # or all may be done before it
            return super().read(descriptor, target)

    def sink(chunks: Iterator[bytes]) -> None:
        for _ in chunks:
            if stage == "store waits":
                stop.wait(20)  # a store's own time-outs are its own; ours is to not let it wait for us

    watcher = threading.Thread(target=lambda: (reached.wait(20), stop.set()))
    watcher.start()
    with pytest.raises(Cancelled):
        run(source, sink, drain, stop=stop, files=Hanging())
    took = stop.age
    release.set()
    watcher.join()
    assert took < SOON + BUSY


def test_a_stop_ends_a_restore_within_two_seconds(source: Path, tmp_path: Path) -> None:
    backup = back_up(source, cipher="None")
    (tmp_path / "target").mkdir()
    stop, release = Stop(), threading.Event()

    def stalling(start: int, length: int) -> bytes:
        if start > 2 << 20 and start < len(backup.archive) - (1 << 20):
            stop.set()
            release.wait(20)
        return backup.archive[start : start + length]

    root = os.open(tmp_path / "target", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(Cancelled):
            unpack(index_of(backup), [archive_of(backup, stalling)], root, Rules(), stop)
    finally:
        os.close(root)
    took = stop.age
    release.set()
    assert stop.is_set()
    assert took < SOON + BUSY
    assert not [name for name in os.listdir(tmp_path / "target") if "partial" in name]


def test_an_error_of_the_store_ends_a_restore_as_it_is(source: Path, tmp_path: Path) -> None:
    backup = back_up(source, cipher="None")
    error = StorageUnavailable("the store went away")

    def breaking(start: int, length: int) -> bytes:
        if 2 << 20 < start < len(backup.archive) - (1 << 20):
            raise error
        return backup.archive[start : start + length]

    root = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(StorageUnavailable) as raised:
            unpack(index_of(backup), [archive_of(backup, breaking)], root, Rules(), threading.Event())
        assert raised.value is error
    finally:
        os.close(root)


def test_an_archive_that_cannot_be_opened_ends_a_restore_before_a_byte_is_written(source: Path, tmp_path: Path) -> None:
    backup = back_up(source, cipher="None")
    error = StorageUnavailable("the store went away")

    def breaking(_start: int, _length: int) -> bytes:
        raise error

    (tmp_path / "target").mkdir()
    root = os.open(tmp_path / "target", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(StorageUnavailable) as raised:
            unpack(index_of(backup), [archive_of(backup, breaking)], root, Rules(), threading.Event())
    finally:
        os.close(root)
    assert raised.value is error
    assert os.listdir(tmp_path / "target") == []
