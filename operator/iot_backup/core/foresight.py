"""What retention would do in the days to come, with the backups that the schedules would make: a pure calendar."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo

from iot_backup.core.due import next_slot
from iot_backup.core.retention import Around, Point, Verdict, ancestors, decided


@dataclass(frozen=True)
class Planned:
    """A job that a schedule starts."""

    job: str
    chain: str
    type: str
    """full, incremental, differential, configuration."""
    cron: str
    zone: tzinfo
    max_chain_length: int


@dataclass(frozen=True)
class Day:
    """What happens on one day."""

    time: datetime
    """Its end."""
    made: tuple[Point, ...]
    removed: tuple[Verdict, ...]
    kept: tuple[Verdict, ...]
    """What is there at its end, and why."""


def calendar(
    points: Sequence[Point], around: Around, planned: Sequence[Planned], start: datetime, zone: tzinfo, days: int
) -> Iterator[Day]:
    """Day after day from `start`, each 24 hours long. Backups to come are named `<job>@<time>`, and retention runs at the end of each day."""
    there, full = list(points), {point.key for point in points if point.parent is None}
    for number in range(days):
        begin, end = start + timedelta(days=number), start + timedelta(days=number + 1)
        made = []
        for moment, job in sorted(_starts(planned, begin, end), key=lambda each: (each[0], each[1].job)):
            point = _made(job, moment, there, full, around.writer)
            there.append(point)
            made.append(point)
        verdicts = decided(there, around, end, zone)
        there = [verdict.point for verdict in verdicts if verdict.keep]
        yield Day(end, tuple(made), tuple(v for v in verdicts if not v.keep), tuple(v for v in verdicts if v.keep))


def _starts(planned: Sequence[Planned], begin: datetime, end: datetime) -> Iterator[tuple[datetime, Planned]]:
    for job in planned:
        moment = begin
        while (following := next_slot(job.cron, job.zone, moment)) is not None and following <= end:
            yield following, job
            moment = following


def _made(job: Planned, moment: datetime, there: Sequence[Point], full: set[tuple[str, str]], writer: str) -> Point:
    chain = [point for point in there if point.chain == job.chain]
    id_ = f"{job.job}@{moment:%Y-%m-%dT%H:%MZ}"
    point = Point(job.chain, id_, max((p.seq for p in chain), default=0) + 1, None, job.job, writer, moment)
    known: Mapping[tuple[str, str], Point] = {p.key: p for p in there}
    bases = [p for p in chain if p.writer == writer and not p.flaws and (job.type != "differential" or p.key in full)]
    if job.type in ("incremental", "differential") and bases:
        base = max(bases, key=lambda p: p.seq)
        if 1 + sum(1 for _ in ancestors(base, known)) < job.max_chain_length:
            return replace(point, parent=base.id)
    full.add(point.key)
    return point
