"""Waiting for a fact, with a deadline."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

LOOK_EVERY = 0.1
"""Seconds: short against what a cluster does, long against what asking costs it."""


def wait_for(condition: Callable[[], T], deadline: float = 30, *, what: str = "") -> T:
    """Return the first true answer of `condition`; after `deadline` seconds fail with what was waited for and the last answer."""
    end = time.monotonic() + deadline
    while True:
        answer = condition()
        if answer:
            return answer
        if time.monotonic() > end:
            raise AssertionError(f"not after {deadline:g} s: {what or condition}; last answer: {answer!r}")
        time.sleep(LOOK_EVERY)
