"""What looks like damage, and what does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from iot_backup.core.suspicion import Figures, of

MIB = 1 << 20


def full(files: int = 1000, source: int = 100 * MIB, stored: int = 30 * MIB) -> Figures:
    return Figures("Full", files, source, stored)


def increment(stored: int, source: int = 100 * MIB) -> Figures:
    return Figures("Incremental", 1000, source, stored)


CALM = [full()] * 4
ANOTHER = [replace(each, same_source=False) for each in CALM]
DAYS = [full(), *[increment(5 * MIB)] * 4]


@pytest.mark.parametrize(
    ("what", "now", "before", "odd"),
    [
        ("as ever", full(), CALM, None),
        ("the first one", full(files=1), [], None),
        ("the second, smaller", full(files=101, source=11 * MIB, stored=3 * MIB), CALM[:1], None),
        ("the second, nearly empty", full(files=99), CALM[:1], "has 99 files, and had 1000"),
        ("half of the files are gone", full(files=499), CALM, "has 499 files, and had 1000"),
        ("a little more than half is there", full(files=501), CALM, None),
        ("half of the bytes are gone", full(source=49 * MIB, stored=15 * MIB), CALM, "49.0 MiB, and had 100.0 MiB"),
        ("a source too small to tell", full(files=1, source=10, stored=10), [full(files=19, source=1000, stored=300)] * 5, None),
        ("growth", full(files=100_000, source=10_000 * MIB, stored=3000 * MIB), CALM, None),
        ("one odd one before is no rule", full(), [full(), full(files=1), full(), full()], None),
        ("encrypted by somebody else", full(stored=100 * MIB), CALM, "cannot be any more"),
        ("what never could be compressed", full(stored=99 * MIB), [full(stored=98 * MIB)] * 4, None),
        ("nearly everything changed", increment(90 * MIB), DAYS, "90% of the source is new or changed, and never more than 5% was"),
        ("a busy day", increment(60 * MIB), DAYS, None),
        ("a source that always changes", increment(90 * MIB), [full(), *[increment(50 * MIB)] * 4], None),
        ("a Full among increments is none of them", full(), DAYS, None),
        ("the weekly Full, encrypted", full(stored=100 * MIB), [full(), *[increment(MIB)] * 6] * 4, "cannot be any more"),
        ("the Full that ends a chain, encrypted", full(stored=100 * MIB), [full(), *[increment(MIB)] * 29], "cannot be any more"),
        ("another source of the job, smaller", full(files=200, source=20 * MIB, stored=6 * MIB), ANOTHER, None),
        ("another source of the job, nearly empty", full(files=1, source=10), ANOTHER, "has 1 files, and had 1000"),
        ("another source of the job, with another content", full(stored=100 * MIB), ANOTHER, None),
        ("too few increments", increment(90 * MIB), DAYS[:3], None),
    ],
)
def test_a_run(what: str, now: Figures, before: list[Figures], odd: str | None) -> None:
    found = of(now, before)
    assert odd in found if found and odd else found == odd, (what, found)


def test_it_looks_at_the_last_ten() -> None:
    assert of(full(files=100), [*[full(files=10_000)] * 20, *[full(files=100)] * 10]) is None


@pytest.mark.parametrize("frozen", [True, False])
def test_what_was_odd_is_the_measure_once_nothing_is_frozen_any_more(frozen: bool) -> None:
    """A source that was made smaller on purpose: one release is enough, and until then every run says so."""
    history, less = [full()] * 10, full(files=400, source=40 * MIB, stored=12 * MIB)
    odd = []
    for _ in range(10):
        odd.append(of(less, history, frozen=frozen and len(history) > 10) is not None)
        history.append(less)
    assert odd == [True, *[frozen] * 9]


def test_a_second_loss_after_an_accepted_one_is_seen() -> None:
    less = full(files=400, source=40 * MIB, stored=12 * MIB)
    assert "has 10 files, and had 400" in str(of(full(files=10), [*CALM, less]))
