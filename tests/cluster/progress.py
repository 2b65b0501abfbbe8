"""What a person sees while something slow happens: one plain line per step, with its time."""

from __future__ import annotations

import sys
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

TIMED_FROM = 0.05
"""Seconds; a step that took less shows no time, which would only be noise."""


def say(text: str) -> None:
    """Print one line to standard error: standard output belongs to results that others read."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step when it ends, with its duration; a failed one says so."""
    started = time.monotonic()
    try:
        yield
    except BaseException:
        say(f"  ✗ {text:<52} {time.monotonic() - started:6.1f} s")
        raise
    took = time.monotonic() - started
    say(f"  ✓ {text:<52} {took:6.1f} s" if took >= TIMED_FROM else f"  ✓ {text}")
