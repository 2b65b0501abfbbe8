"""What holds the threads of one pipeline together: bounded queues, and one failure or stop that ends them all."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotYet
from typing import Generic, Protocol, TypeVar

from iot_backup.errors import Cancelled

T = TypeVar("T")

_POLL = 0.1
"""Seconds until a waiting stage looks whether the others still live: a stop takes at most this long to be noticed."""


class Stop(Protocol):
    """Whether somebody asked the run to stop; a `threading.Event` is one."""

    def is_set(self) -> bool: ...


class Flow:
    """One pipeline's shared fate: the first failure is everybody's."""

    def __init__(self, stop: Stop) -> None:
        self._stop = stop
        self._lock = threading.Lock()
        self._failure: BaseException | None = None

    def fail(self, error: BaseException) -> None:
        """End the pipeline with this error, unless another one came first."""
        with self._lock:
            if self._failure is None:
                self._failure = error

    def check(self) -> None:
        """Raise what ended the pipeline, or Cancelled if the run shall stop."""
        if self._failure is not None:
            raise self._failure
        if self._stop.is_set():
            raise Cancelled("the run was stopped before it was complete; nothing was published. Start it again when you want it.")

    def wait(self, future: Future[T]) -> T:
        """The future's result, or what ended the pipeline while it was awaited."""
        while True:
            self.check()
            try:
                return future.result(_POLL)
            except NotYet:
                if future.done():
                    return future.result()

    def run(self, name: str, work: Callable[[], None]) -> threading.Thread:
        """Start a stage on a thread of its own; its error becomes the pipeline's."""

        def guarded() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - raised again by check() in the stages that somebody waits for
                self.fail(error)

        # A daemon: a read that hangs in the kernel must not keep the process from ending.
        thread = threading.Thread(target=guarded, name=name, daemon=True)
        thread.start()
        return thread

    def join(self, *threads: threading.Thread, grace: float = 1.0) -> None:
        """Wait for stages to end; after a failure at most `grace` seconds each. Raises what ended the pipeline."""
        for thread in threads:
            while thread.is_alive():
                thread.join(_POLL)
                if self._ended():
                    thread.join(grace)
                    break
        self.check()

    def _ended(self) -> bool:
        return self._failure is not None or self._stop.is_set()


class Channel(Generic[T]):
    """A bounded queue between two stages; whoever waits at it wakes up when the pipeline ends."""

    def __init__(self, flow: Flow, capacity: int = 0) -> None:
        """`capacity` items at most; 0 = no bound."""
        self._flow = flow
        self._queue: queue.Queue[T] = queue.Queue(capacity)

    def put(self, item: T) -> None:
        while True:
            self._flow.check()
            try:
                return self._queue.put(item, timeout=_POLL)
            except queue.Full:
                continue

    def get(self) -> T:
        while True:
            self._flow.check()
            try:
                return self._queue.get(timeout=_POLL)
            except queue.Empty:
                continue
