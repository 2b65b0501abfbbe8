"""The pace of a throttled store, in a time of our own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from iot_backup.errors import Cancelled
from iot_backup.storage.memory import MemoryStore
from iot_backup.storage.throttled import Budget, Throttled, throttled
from iot_backup.worker.cancelling import Cancel

RATE = 1_000_000
PATIENCE = 60


class Time:
    """Goes on only while all of `streams` wait, to the moment the first of them waits for."""

    def __init__(self, streams: int = 1) -> None:
        self.now = 0.0
        self._streams = streams
        self._until: list[float] = []
        self._moved = threading.Condition()

    def wait(self, seconds: float) -> None:
        with self._moved:
            until = self.now + seconds
            self._until.append(until)
            self._step()
            assert self._moved.wait_for(lambda: self.now >= until, PATIENCE), "time stands still"
            self._until.remove(until)

    def leave(self) -> None:
        """One stream less."""
        with self._moved:
            self._streams -= 1
            self._step()

    def _step(self) -> None:
        if self._until and len(self._until) == self._streams:
            self.now = max(self.now, min(self._until))
            self._moved.notify_all()

    def budget(self, rate: int = RATE) -> Budget:
        return Budget(rate, lambda: self.now, self.wait)


def near(seconds: float) -> object:
    """Up to what is owed at the end, and not waited for."""
    return pytest.approx(seconds, abs=0.11)


@pytest.mark.parametrize("chunk", [1, 100, 4096, 65_536, 1 << 20, 5_000_000])
def test_a_stream_takes_its_bytes_by_the_rate_whatever_its_chunks(chunk: int) -> None:
    time = Time()
    total = chunk * max(1, min(5_000, 5_000_000 // chunk))
    budget = time.budget(rate=max(1000, total // 5))
    for _ in range(total // chunk):
        budget.take(chunk)
    assert time.now == near(total / max(1000, total // 5))


def test_no_second_has_more_bytes_than_the_rate_and_a_little_credit() -> None:
    time = Time()
    budget = time.budget()
    time.now = 1000.0  # a line that was idle for long has saved nothing up
    passed = []
    for _ in range(300):
        budget.take(10_000)
        passed.append(time.now)
    for at in passed:
        assert sum(10_000 for other in passed if at <= other < at + 1) <= RATE * 1.15


def test_sleeping_too_long_does_not_make_the_stream_slower() -> None:
    time = Time()
    budget = Budget(RATE, lambda: time.now, lambda seconds: time.wait(seconds + 0.02))
    for _ in range(100):
        budget.take(100_000)
    assert time.now == near(10)


def test_streams_that_want_all_get_the_same() -> None:
    time = Time(streams=3)
    budget = time.budget()
    chunks = {"archive": 1 << 20, "index": 1 << 18, "state": 1 << 20}
    ends: dict[str, float] = {}

    def run(name: str) -> None:
        for _ in range((4 << 20) // chunks[name]):
            budget.take(chunks[name])
        ends[name] = time.now
        time.leave()

    threads = [threading.Thread(target=run, args=(name,)) for name in chunks]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert max(ends.values()) == near(3 * (4 << 20) / RATE)
    assert min(ends.values()) > 0.9 * max(ends.values())


def test_a_small_stream_does_not_wait_for_a_large_chunk_of_another() -> None:
    time = Time(streams=2)
    budget, ended = time.budget(), []

    def large() -> None:
        budget.take(10_000_000)
        time.leave()

    def small() -> None:
        budget.take(100_000)
        ended.append(time.now)
        time.leave()

    threads = [threading.Thread(target=large), threading.Thread(target=small)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
    assert ended[0] < 0.5
    assert time.now == near(10.1)


MOVES: dict[str, Callable[[Throttled], object]] = {
    "create_stream": lambda store: store.create_stream("new", [bytes(1_000_000), memoryview(bytearray(1_000_000))]),
    "stream": lambda store: list(store.stream("large")),
    "read_range": lambda store: [store.read_range("large", at, 500_000) for at in range(0, 2_000_000, 500_000)],
}


@pytest.mark.parametrize("name", MOVES)
def test_bytes_both_ways_are_paced(name: str) -> None:
    time, inner = Time(), MemoryStore()
    inner.create("large", bytes(2_000_000))
    MOVES[name](Throttled(inner, time.budget()))
    assert time.now == near(2)


def test_a_range_beyond_the_end_costs_what_came() -> None:
    time, inner = Time(), MemoryStore()
    inner.create("large", bytes(1_000_000))
    assert len(Throttled(inner, time.budget()).read_range("large", 0, 1 << 40)) == 1_000_000
    assert time.now == near(1)


def test_small_objects_and_questions_pass_at_once() -> None:
    time = Time()
    store = Throttled(MemoryStore(), time.budget(rate=1000))
    store.create("small", bytes(100_000))
    assert store.read("small") == bytes(100_000)
    assert [found.key for found in store.list("")] == ["small"]
    store.head("small")
    store.now()
    store.delete("small")
    assert time.now == 0


def test_chunks_are_asked_for_only_as_they_may_pass() -> None:
    time, asked = Time(), []

    def chunks() -> Iterator[bytes]:
        for _ in range(4):
            asked.append(time.now)
            yield bytes(RATE)

    Throttled(MemoryStore(), time.budget()).create_stream("new", chunks())
    assert asked == [near(second) for second in range(4)]


def test_without_a_rate_the_store_is_the_store() -> None:
    store = MemoryStore()
    assert throttled(store, None, lambda: 0.0, lambda _: None) is store


def test_a_stop_wakes_who_waits_and_publishes_nothing() -> None:
    cancel, inner = Cancel(), MemoryStore()
    failures: list[BaseException] = []
    paid = threading.Event()

    def wait(seconds: float) -> None:
        paid.set()
        cancel.pause(seconds + 3600)

    store = throttled(inner, 1000, lambda: 0.0, wait)

    def upload() -> None:
        try:
            store.create_stream("new", [bytes(10**9)])
        except Cancelled as error:
            failures.append(error)

    thread = threading.Thread(target=upload)
    thread.start()
    assert paid.wait(PATIENCE)
    cancel.request()
    thread.join(PATIENCE)
    assert len(failures) == 1
    assert not inner.objects
