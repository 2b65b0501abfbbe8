"""Whoever waits in a pipeline wakes up when it ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future

import pytest

from iot_backup.errors import Cancelled
from iot_backup.worker.flow import Channel, Flow


def waiting(flow: Flow) -> dict[str, Callable[[], object]]:
    full: Channel[int] = Channel(flow, 1)
    full.put(1)
    return {
        "full queue": lambda: full.put(2),
        "empty queue": Channel[int](flow).get,
        "future": lambda: flow.wait(Future[int]()),
    }


@pytest.mark.parametrize("where", ["full queue", "empty queue", "future"])
def test_a_stop_wakes_up_who_waits(where: str) -> None:
    stop = threading.Event()
    wait = waiting(Flow(stop))[where]
    timer = threading.Timer(0.05, stop.set)
    timer.start()
    with pytest.raises(Cancelled):
        wait()
    timer.join()


@pytest.mark.parametrize("where", ["full queue", "empty queue", "future"])
def test_a_failure_elsewhere_wakes_up_who_waits_with_that_very_error(where: str) -> None:
    flow, error = Flow(threading.Event()), ValueError("elsewhere")
    wait = waiting(flow)[where]
    timer = threading.Timer(0.05, flow.fail, [error])
    timer.start()
    with pytest.raises(ValueError, match="elsewhere") as raised:
        wait()
    assert raised.value is error
    timer.join()


def test_the_first_failure_counts() -> None:
    flow = Flow(threading.Event())
    flow.fail(ValueError("first"))
    flow.fail(KeyError("second"))
    with pytest.raises(ValueError, match="first"):
        flow.check()


def test_a_failure_counts_more_than_a_stop() -> None:
    stop = threading.Event()
    flow = Flow(stop)
    flow.fail(ValueError("first"))
    stop.set()
    with pytest.raises(ValueError, match="first"):
        flow.check()


def test_a_stage_hands_its_error_to_who_joins_it() -> None:
    flow = Flow(threading.Event())

    def broken() -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        flow.join(flow.run("stage", broken))


def test_a_stage_that_hangs_is_left_behind_after_a_failure() -> None:
    flow, release = Flow(threading.Event()), threading.Event()

    def hang() -> None:
        release.wait(20)

    thread = flow.run("stage", hang)
    flow.fail(ValueError("elsewhere"))
    with pytest.raises(ValueError, match="elsewhere"):
        flow.join(thread, grace=0.01)
    release.set()
    thread.join()


def test_what_is_put_comes_out_in_order() -> None:
    channel: Channel[int] = Channel(Flow(threading.Event()))
    for number in range(5):
        channel.put(number)
    assert [channel.get() for _ in range(5)] == list(range(5))
