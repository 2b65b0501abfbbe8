"""Rows are handed out in order, and their frames are loaded before they are asked for, once, in bounded memory."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from iot_backup.errors import Cancelled, CorruptData, StorageUnavailable
from iot_backup.worker import ahead as aheads
from iot_backup.worker.ahead import Ahead
from iot_backup.worker.archive import Archive
from iot_backup.worker.compression import FRAME_SIZE
from iot_backup.worker.flow import Flow
from iot_backup.worker.index import FILE, FOLDER, HOLE, Part, Row

PATIENCE = 60.0


class Numbered:
    """A plain archive in which each byte tells its frame; loads are remembered."""

    def __init__(self, frames: int, number: int = 0) -> None:
        self.size = frames * FRAME_SIZE
        self.number = number
        self.loads: list[tuple[int, int]] = []
        self.error: Exception | None = None

    def read(self, start: int, length: int) -> bytes:
        self.loads.append((start // FRAME_SIZE, length // FRAME_SIZE))
        if self.error is not None:
            raise self.error
        first = start // FRAME_SIZE
        return b"".join(bytes([(first + n + 17 * self.number) % 256]) * FRAME_SIZE for n in range(length // FRAME_SIZE))

    @property
    def loaded(self) -> list[int]:
        """Frames, in the order they were asked for."""
        return [first + n for first, count in self.loads for n in range(count)]


def row(path: str, archive: int, offset: int, size: int, *, head: int = 512, parts: tuple[Part, ...] = ()) -> Row:
    return Row(path.encode(), FILE, size, 0, 0, 0, 0, 0, 0, archive, offset, head=head, parts=parts)


@pytest.fixture
def flow() -> Iterator[Flow]:
    made = Flow(threading.Event())
    yield made
    made.fail(Cancelled("the test is over"))


def reading(flow: Flow, stored: Sequence[Numbered], rows: Sequence[Row]) -> Ahead:
    return Ahead(flow, [Archive(one, compressed=False) for one in stored], rows)


def until(done: object) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.001)


def small(frame: int, at: int, archive: int = 0) -> Row:
    return row(f"{frame:04}-{at:04}", archive, frame * FRAME_SIZE + at * 1024, 100)


def test_each_frame_is_loaded_once_and_in_order(flow: Flow) -> None:
    stored = [Numbered(40)]
    rows = [small(frame, at) for frame in range(40) for at in range(30)]
    ahead = reading(flow, stored, rows)
    for expected, given in zip(rows, ahead, strict=True):
        assert given == expected
        (frame, at) = map(int, given.path.split(b"-"))
        assert b"".join(piece for piece, _ in ahead.content(given)) == bytes([frame]) * 100, at
    assert sorted(stored[0].loaded) == list(range(40))


def test_consecutive_frames_are_read_together(flow: Flow) -> None:
    stored = [Numbered(64)]
    ahead = reading(flow, stored, [row("one", 0, 0, 64 * FRAME_SIZE - 512)])
    given = next(iter(ahead))
    assert len(stored[0].loaded) * FRAME_SIZE <= aheads._WINDOW, "no more than the window, though it is one row"
    for number, (piece, _) in enumerate(ahead.content(given)):
        assert piece[-1] == number
        assert (len(stored[0].loaded) - number) * FRAME_SIZE <= aheads._WINDOW + FRAME_SIZE
    assert sorted(stored[0].loaded) == list(range(64))
    assert len(stored[0].loads) <= 40
    assert max(count for _, count in stored[0].loads) * FRAME_SIZE <= aheads._RANGE


def test_frames_come_before_they_are_asked_for_but_no_more_than_the_window(flow: Flow) -> None:
    stored = [Numbered(100)]
    rows = [small(frame, 0) for frame in range(100)]
    ahead = reading(flow, stored, rows)
    given = iter(ahead)
    first = next(given)
    window = aheads._WINDOW // FRAME_SIZE
    until(lambda: len(stored[0].loaded) == window)
    [*ahead.content(first)]
    assert len(stored[0].loaded) <= window + 1
    for _ in range(50):
        [*ahead.content(next(given))]
    assert len(stored[0].loaded) <= 51 + window


def test_rows_without_content_do_not_make_it_read_on_for_ever(flow: Flow) -> None:
    seen = [0]

    def folders() -> Iterator[Row]:
        for number in range(100_000):
            seen[0] += 1
            yield Row(b"%06d" % number, FOLDER, 0, 0, 0, 0, 0, 0, 0, 0, 0)

    ahead = Ahead(flow, [Archive(Numbered(1), compressed=False)], folders())
    next(iter(ahead))
    assert seen[0] <= aheads._ROWS + 1


def test_archives_in_turn_are_each_read_once(flow: Flow) -> None:
    stored = [Numbered(3, number) for number in range(30)]
    rows = [small(frame, at, archive) for frame in range(3) for at in range(50) for archive in range(30)]
    ahead = reading(flow, stored, rows)
    for given in ahead:
        ((piece, _),) = ahead.content(given)
        assert piece[0] == (int(given.path[:4]) + 17 * given.archive) % 256
    assert [sorted(one.loaded) for one in stored] == [[0, 1, 2]] * 30


def test_what_nobody_took_does_not_stop_what_comes(flow: Flow) -> None:
    """Rows whose content was not asked for, since the target keeps its own."""
    stored = [Numbered(200)]
    ahead = reading(flow, stored, [small(frame, 0) for frame in range(200)])
    for given in ahead:
        if int(given.path[:4]) in (150, 199):
            ((piece, _),) = ahead.content(given)
            assert piece[0] == int(given.path[:4])
    assert len(stored[0].loaded) < 60


def test_going_back_is_slower_and_right(flow: Flow) -> None:
    stored = [Numbered(30)]
    rows = [small(frame, 0) for frame in (20, 5, 20, 3, 3, 29, 0)]
    ahead = reading(flow, stored, rows)
    assert [next(ahead.content(given))[0][0] for given in ahead] == [20, 5, 20, 3, 3, 29, 0]


def test_parts_come_in_order_and_holes_as_zeros(flow: Flow) -> None:
    stored = [Numbered(2, 0), Numbered(2, 1)]
    parts = (Part(1, FRAME_SIZE - 10, 20), Part(HOLE, 0, 3 << 20), Part(0, 5, 7), Part(HOLE, 0, 1))
    ahead = reading(flow, stored, [row("f", 1, 0, 27 + (3 << 20) + 1, parts=parts)])
    (given,) = ahead
    pieces = [(bytes(piece), is_stored) for piece, is_stored in ahead.content(given)]
    assert b"".join(piece for piece, _ in pieces) == bytes([17]) * 10 + bytes([18]) * 10 + bytes(3 << 20) + bytes(7) + bytes(1)
    assert sum(len(piece) for piece, is_stored in pieces if is_stored) == 27


def test_an_error_is_raised_where_its_frame_is_needed(flow: Flow) -> None:
    stored = [Numbered(3)]
    stored[0].error = StorageUnavailable("gone")
    ahead = reading(flow, stored, [small(0, 0)])
    (given,) = ahead
    with pytest.raises(StorageUnavailable) as raised:
        [*ahead.content(given)]
    assert raised.value is stored[0].error


def test_a_stop_ends_the_wait_for_a_frame() -> None:
    stop, release = threading.Event(), threading.Event()

    class Hanging(Numbered):
        def read(self, start: int, length: int) -> bytes:
            stop.set()
            release.wait(PATIENCE)
            return super().read(start, length)

    flow = Flow(stop)
    ahead = reading(flow, [Hanging(1)], [small(0, 0)])
    try:
        (given,) = ahead
        with pytest.raises(Cancelled):
            [*ahead.content(given)]
    finally:
        release.set()
    for thread in ahead.threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_threads_end_when_all_is_done(flow: Flow) -> None:
    ahead = reading(flow, [Numbered(1)], [small(0, 0)])
    for given in ahead:
        [*ahead.content(given)]
    ahead.close()
    for thread in ahead.threads:
        thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_row_beyond_the_archive_is_told(flow: Flow) -> None:
    ahead = reading(flow, [Numbered(1)], [row("f", 0, FRAME_SIZE - 600, 1000)])
    (given,) = ahead
    with pytest.raises(CorruptData, match="refers to byte"):
        [*ahead.content(given)]
