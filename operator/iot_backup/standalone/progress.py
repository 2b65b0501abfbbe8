"""How far a run is, on standard error: one line that is written over on a terminal, JSON lines elsewhere."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import TextIO

from iot_backup.units import format_size
from iot_backup.worker.progress import Done, Progress

_ON_TERMINAL = 0.5
"""Seconds between two lines."""
_ELSEWHERE = 10.0
_CLEAR = "\r\x1b[K"
_BAR = 20
"""Characters."""


def _bar(share: float) -> str:
    done = round(_BAR * min(share, 1.0))
    return "━" * done + "─" * (_BAR - done)


@dataclass(frozen=True)
class Moment:
    """What is shown."""

    done: Done
    seconds: float
    """Since the first byte could be read."""
    expected: int = 0
    """Bytes of the last run; 0 = not known."""

    @property
    def rate(self) -> float:
        """Bytes a second."""
        return self.done.bytes / self.seconds if self.seconds > 0 else 0.0

    @property
    def remaining(self) -> float | None:
        """Seconds, if the run reads about as much as the last one did."""
        left = self.expected - self.done.bytes
        return left / self.rate if left > 0 and self.rate > 0 else None

    def line(self) -> str:
        """For people."""
        bar = f"{_bar(self.done.bytes / self.expected)} " if self.expected else ""
        of = f" of about {format_size(self.expected)}" if self.done.bytes < self.expected else ""
        parts = [f"{format_size(self.done.bytes)}{of}", f"{self.done.files} files", f"{format_size(int(self.rate))}/s"]
        if self.remaining is not None:
            minutes, seconds = divmod(round(self.remaining), 60)
            parts.append(f"{minutes}:{seconds:02} left")
        return bar + ", ".join(parts)

    def fields(self) -> dict[str, int | float | None]:
        """For programs."""
        return {
            "files": self.done.files,
            "bytes": self.done.bytes,
            "stored_bytes": self.done.stored,
            "expected_bytes": self.expected or None,
            "bytes_per_second": round(self.rate),
            "remaining_seconds": round(self.remaining) if self.remaining is not None else None,
            "seconds": round(self.seconds, 1),
        }


@contextmanager
def shown(progress: Progress, stream: TextIO | None, *, expected: int = 0) -> Iterator[None]:
    """Show it while the block runs, on a thread of its own; once more at the end. A stream that takes nothing ends no run.

    `stream`: None where the process was started without one.
    """
    over, on_terminal = threading.Event(), _is_terminal(stream)

    def show(*, last: bool = False) -> None:
        now = time.monotonic()
        moment = Moment(progress.now(), now - (progress.began or now), expected)
        if not on_terminal:
            _written(stream, json.dumps({"progress": moment.fields()}) + "\n")
        else:
            _written(stream, _CLEAR if last else f"{_CLEAR}{moment.line() if progress.began else 'opening the storage'}")

    def keep_showing() -> None:
        while not over.wait(_ON_TERMINAL if on_terminal else _ELSEWHERE):
            show()

    thread = threading.Thread(target=keep_showing, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join(1.0)
        show(last=True)


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def _written(stream: TextIO | None, text: str) -> None:
    """If anybody takes it: a reader may be gone, the disk of a log full, the stream closed."""
    if stream is not None:
        with suppress(OSError, ValueError):
            stream.write(text)
            stream.flush()
