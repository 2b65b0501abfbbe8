"""The work queue and the cache: once, never twice at a time, again after a failure, never back in time."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest

from iot_backup.cluster import resources
from iot_backup.cluster.client import ApiError
from iot_backup.handlers.cache import Cache
from iot_backup.handlers.queue import Key, WorkQueue

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

KEY = Key("Backup", "ns", "a")
OTHER = Key("Backup", "ns", "b")


async def _until(what: Callable[[], bool]) -> None:
    while not what():  # noqa: ASYNC110 - it is a number of the test, and nobody tells of its change
        await asyncio.sleep(0.001)


def _run(work: Callable[[Key], Awaitable[timedelta | None]], drive: Callable[[WorkQueue], Awaitable[None]]) -> None:
    async def main() -> None:
        queue = WorkQueue(work, workers=2)
        running = asyncio.create_task(queue.run())
        try:
            async with asyncio.timeout(60):
                await drive(queue)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    asyncio.run(main())


def test_a_key_added_while_it_is_looked_at_is_looked_at_once_more_and_never_twice_at_a_time() -> None:
    active, most, looks = 0, 0, 0
    gate = asyncio.Event()

    async def work(_: Key) -> None:
        nonlocal active, most, looks
        active, looks = active + 1, looks + 1
        most = max(most, active)
        await gate.wait()
        active -= 1

    async def drive(queue: WorkQueue) -> None:
        await queue.add(KEY)
        await _until(lambda: bool(active))
        for _ in range(3):
            await queue.add(KEY)
        gate.set()
        await _until(lambda: looks == 2 and not active)

    _run(work, drive)
    assert (looks, most) == (2, 1)


def test_a_key_that_is_held_up_does_not_hold_up_others() -> None:
    seen: list[Key] = []
    gate = asyncio.Event()

    async def work(key: Key) -> None:
        seen.append(key)
        if key == KEY:
            await gate.wait()

    async def drive(queue: WorkQueue) -> None:
        await queue.add(KEY)
        await _until(lambda: bool(seen))
        await queue.add(KEY)
        await queue.add(OTHER)
        await _until(lambda: OTHER in seen)
        gate.set()

    _run(work, drive)


@pytest.mark.parametrize("error", [ApiError(500, "InternalError", "etcd"), KeyError("defect")])
def test_what_fails_is_tried_again_and_stops_nothing(error: Exception) -> None:
    tries = 0

    async def work(key: Key) -> None:
        nonlocal tries
        if key == KEY:
            tries += 1
            if tries == 1:
                raise error

    async def drive(queue: WorkQueue) -> None:
        await queue.add(KEY)
        await _until(lambda: tries >= 2)

    _run(work, drive)


def test_a_look_may_ask_for_another_and_a_sooner_wish_wins() -> None:
    looks = 0

    async def work(_: Key) -> timedelta | None:
        nonlocal looks
        looks += 1
        return timedelta(hours=1) if looks == 1 else None

    async def drive(queue: WorkQueue) -> None:
        await queue.add(KEY)
        await _until(lambda: looks >= 1)
        await queue.add(KEY, timedelta(milliseconds=5))
        await _until(lambda: looks >= 2)

    _run(work, drive)


def _body(version: int, uid: str = "u", **metadata: Any) -> dict[str, Any]:
    return {"metadata": {"name": "a", "namespace": "ns", "uid": uid, "resourceVersion": str(version), **metadata}}


def test_the_cache_never_goes_back_in_time() -> None:
    cache = Cache()
    assert cache.put(resources.PODS, _body(5))
    assert not cache.put(resources.PODS, _body(5))
    assert not cache.put(resources.PODS, _body(4))
    assert cache.put(resources.PODS, _body(3, uid="another object of that name"))
    cache.drop(resources.PODS, _body(5))
    assert cache.get(resources.PODS, "ns", "a") is not None
    cache.drop(resources.PODS, _body(5, uid="another object of that name"))
    assert cache.get(resources.PODS, "ns", "a") is None


def test_a_fresh_list_removes_what_is_gone_but_not_what_came_meanwhile() -> None:
    cache = Cache()
    cache.put(resources.PODS, _body(1))
    before = cache.snapshot(resources.PODS)
    cache.put(resources.PODS, {"metadata": {"name": "new", "namespace": "ns", "uid": "n", "resourceVersion": "2"}})
    gone = cache.renew(resources.PODS, [], before)
    assert [b["metadata"]["name"] for b in gone] == ["a"]
    assert [b["metadata"]["name"] for b in cache.select(resources.PODS)] == ["new"]


def test_what_nobody_reads_is_not_kept() -> None:
    cache = Cache()
    cache.put(resources.PODS, _body(1, managedFields=[1], annotations={"kubectl.kubernetes.io/last-applied-configuration": "{}", "a": "b"}))
    kept = cache.get(resources.PODS, "ns", "a")
    assert kept is not None
    assert kept["metadata"].keys() & {"managedFields", "annotations"} == {"annotations"}
    assert kept["metadata"]["annotations"] == {"a": "b"}
