"""Bytes that differ everywhere, so that a part lost, doubled or moved is seen."""

from __future__ import annotations

from functools import cache
from random import Random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

PART = 8 << 20
"""Size of an upload's parts."""
_PERIOD = 1_048_583
"""A prime above 1 MiB: no two parts are the same."""


@cache
def _period() -> bytes:
    return Random(20250102).randbytes(_PERIOD)


def payload(size: int) -> bytes:
    """The first `size` bytes of the one endless payload."""
    return (_period() * (size // _PERIOD + 1))[:size]


def blocks(size: int, step: int = 1 << 20) -> Iterator[bytes]:
    """The same in blocks of `step` bytes, made as they are asked for."""
    doubled = _period() + _period()
    assert step <= _PERIOD
    for start in range(0, size, step):
        at = start % _PERIOD
        yield doubled[at : at + min(step, size - start)]
