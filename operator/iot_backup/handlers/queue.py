"""What must be looked at: each object at most once in the queue, never by two at a time, again after a failure.

Why not kopf's own handlers with state: they write their progress and a copy of the spec into annotations of the user's
objects, and wait for their own patches to come back. Here an event only says that there is something to look at.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import NamedTuple

from iot_backup.cluster.client import ApiError

log = logging.getLogger(__name__)

LONGEST_BACKOFF = 60.0
"""Seconds between tries of something that keeps failing."""


class Key(NamedTuple):
    """An object to look at."""

    kind: str
    namespace: str
    name: str


Reconcile = Callable[[Key], Awaitable[timedelta | None]]
"""Looks at one object and answers when to do so again, None for no need."""


class WorkQueue:
    """Hands keys to `reconcile`, several at a time."""

    def __init__(self, reconcile: Reconcile, workers: int = 8) -> None:
        self._reconcile = reconcile
        self._workers = workers
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._running: set[Key] = set()
        self._failures: dict[Key, int] = {}
        self._wake = asyncio.Condition()

    async def add(self, key: Key, after: timedelta | None = None) -> None:
        """Look at the object now, or after some time; an earlier wish wins."""
        due = asyncio.get_running_loop().time() + (after.total_seconds() if after else 0.0)
        async with self._wake:
            if key not in self._due or due < self._due[key]:
                self._due[key] = due
                heapq.heappush(self._heap, (due, key))
                self._wake.notify_all()

    async def run(self) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(self._workers):
                group.create_task(self._work())

    async def _work(self) -> None:
        while True:
            key = await self._take()
            try:
                again = await self._once(key)
            finally:
                async with self._wake:
                    self._running.discard(key)
                    self._wake.notify_all()
            if again is not None:
                await self.add(key, again)

    async def _take(self) -> Key:
        loop = asyncio.get_running_loop()
        async with self._wake:
            while True:
                wait = None
                for due, key in self._ready():
                    if due > loop.time():
                        wait = due - loop.time()
                        break
                    if key not in self._running:
                        del self._due[key]
                        self._running.add(key)
                        return key
                try:
                    async with asyncio.timeout(wait):
                        await self._wake.wait()
                except TimeoutError:
                    continue

    def _ready(self) -> list[tuple[float, Key]]:
        """What is queued, soonest first, with entries that a sooner one replaced thrown away."""
        while self._heap and self._due.get(self._heap[0][1]) != self._heap[0][0]:
            heapq.heappop(self._heap)
        if not self._heap or self._heap[0][1] not in self._running:
            return self._heap[:1]
        return sorted((due, key) for key, due in self._due.items())

    async def _once(self, key: Key) -> timedelta | None:
        """One look. A failure is logged and the look repeated, each time later; it never stops the others."""
        try:
            again = await self._reconcile(key)
        except ApiError as error:
            log.warning("%s %s/%s: %s; trying again", *key, error)
        except Exception:
            log.exception("%s %s/%s: a defect of the operator; trying again", *key)
        else:
            self._failures.pop(key, None)
            return again
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return timedelta(seconds=min(LONGEST_BACKOFF, 0.5 * 2 ** min(failures, 10)))
