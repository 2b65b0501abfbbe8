"""A large object from its beginning, by ranges in parallel."""

from __future__ import annotations

from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

RANGE = 2 << 20
"""Bytes per request."""
IN_FLIGHT = 4
"""With the one in the consumer's hands 10 MiB. One stream is as quick on loopback, but waits out every round trip of a long line."""


def ranges(size: int, fetch: Callable[[int, int], bytes]) -> Iterator[bytes]:
    """The object's bytes in order; `fetch(start, length)` runs in threads. The first failure ends it, in its place."""
    starts = iter(range(0, size, RANGE))
    pool = ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="download")
    waiting: deque[Future[bytes]] = deque()

    def ask() -> None:
        start = next(starts, None)
        if start is not None:
            waiting.append(pool.submit(fetch, start, min(RANGE, size - start)))

    try:
        for _ in range(IN_FLIGHT):
            ask()
        while waiting:
            piece = waiting.popleft().result()
            ask()
            yield piece
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
