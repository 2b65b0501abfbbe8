"""What a run has done so far, for whoever shows it. The pipeline only keeps the counts it keeps anyway; they are read when asked for."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """A moment of a run."""

    files: int
    bytes: int
    """Of files' contents."""
    stored: int = 0
    """Bytes the store was given."""


class Progress:
    """One run's; any thread may ask."""

    def __init__(self) -> None:
        self.began: float | None = None
        """When there was something to follow, on the monotonic clock."""
        self._ask: Callable[[], Done] = lambda: Done(0, 0)

    def follow(self, ask: Callable[[], Done]) -> None:
        """From now on this tells."""
        self._ask = ask
        self.began = time.monotonic()

    def now(self) -> Done:
        return self._ask()
