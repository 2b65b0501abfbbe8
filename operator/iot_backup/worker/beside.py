"""One piece of work on a thread of its own, whose outcome is asked for later."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

T = TypeVar("T")


class Beside(Generic[T]):
    """Begins at once. The thread is a daemon: a run that ends before does not wait for it."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._outcome: Future[T] = Future()

        def run() -> None:
            try:
                self._outcome.set_result(work())
            except BaseException as error:  # noqa: BLE001 - raised again by who asks for the result
                self._outcome.set_exception(error)

        threading.Thread(target=run, name="beside", daemon=True).start()

    def check(self) -> None:
        """Raise what the work raised, if it has."""
        if self._outcome.done():
            self._outcome.result()

    def result(self) -> T:
        """Wait for the end of the work: what it gave, or raised."""
        return self._outcome.result()
