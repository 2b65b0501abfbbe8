"""How the demo looks: numbered steps, the commands a person would type, a summary in a frame."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

_COLOUR = sys.stdout.isatty() and "NO_COLOR" not in os.environ


def _paint(code: str, text: str) -> str:
    return f"\033[{code}m{text}\033[0m" if _COLOUR else text


def title(text: str) -> None:
    print(f"\n{_paint('1;36', text)}\n{_paint('36', '=' * len(text))}", flush=True)


@contextmanager
def step(text: str) -> Iterator[None]:
    """A headline, what happens below it, and how long it took."""
    print(f"\n{_paint('1', '> ' + text)}", flush=True)
    start = time.monotonic()
    yield
    print(_paint("2", f"  ({time.monotonic() - start:.1f} s)"), flush=True)


def command(text: str) -> None:
    """A command as a person would type it."""
    print(_paint("33", f"  $ {text}"), flush=True)


def output(text: str) -> None:
    """What a command printed, indented."""
    for row in text.rstrip("\n").splitlines():
        print(f"    {row}", flush=True)


def good(text: str) -> None:
    print(f"  {_paint('32', 'ok')} {text}", flush=True)


def bad(text: str) -> None:
    print(f"  {_paint('1;31', 'NOT OK')} {text}", flush=True)


def summary(heading: str, rows: Sequence[tuple[str, str]], ending: Sequence[str]) -> None:
    """A framed table, then lines below it."""
    left = max(len(name) for name, _ in rows)
    width = max(len(heading), *(left + 3 + len(value) for _, value in rows))
    rule = "+" + "-" * (width + 2) + "+"
    print("\n" + rule)
    print(f"| {_paint('1;32', heading.ljust(width))} |")
    print(rule)
    for name, value in rows:
        print(f"| {(name.ljust(left) + '   ' + value).ljust(width)} |")
    print(rule)
    for row in ending:
        print(row)
