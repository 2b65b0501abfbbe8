"""Which jobs are to start now, and when to look again: decisions of a scheduler that may have slept, died, or had its clock set.

What is remembered of a job is one moment, `counted`: every slot up to it has had its run. A slot after it that is past is due, and as
many as there may be, they make one run. Kubernetes' own schedules are CronJobs and need nothing of this.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache

from cronsim import CronSim

from iot_backup.core.schedule import five_fields

_STEP = timedelta(days=1)
"""A clock set back by more is taken as having been wrong before."""
_LONG_AGO = timedelta(days=4 * 366)


@dataclass(frozen=True)
class Timed:
    """A job with a schedule."""

    id: str
    schedule: str
    alone: str
    """Jobs with the same word here never run at the same time."""


@dataclass(frozen=True)
class Mark:
    """What is remembered of one job."""

    schedule: str
    """Another one in the config begins anew: its slots of the past were nobody's wish."""
    counted: datetime
    """Slots up to this moment are done with. At first, when the job became known."""
    started: datetime | None = None
    """Of a run that has not ended yet."""
    again: bool = False
    """The run that is due or under way makes up for one that did not end; it is not made up for a second time."""
    zone: str = ""
    """What its schedule was read in; empty: not known."""
    ahead: datetime | None = None
    """What was counted before the clock went back: slots up to it are done with, should it come again."""

    def begun(self, now: datetime) -> Mark:
        return replace(self, started=now)

    def ended(self) -> Mark:
        """After a run, good or bad: what came due before it began is done with."""
        return replace(self, counted=self.started or self.counted, started=None, again=False)

    def put_off(self) -> Mark:
        """For a run that could not begin."""
        return replace(self, started=None)

    def found(self) -> Mark:
        """As a scheduler that begins takes it over from one that is gone."""
        if self.started is None:
            return self
        return self.ended() if self.again else replace(self, started=None, again=True)


@dataclass(frozen=True)
class Decision:
    """What to do now."""

    starts: tuple[str, ...]
    """Ids, in this order."""
    wake: datetime | None
    """The next slot of a job that is not due yet."""


@lru_cache(maxsize=1024)
def next_slot(schedule: str, zone: tzinfo, after: datetime) -> datetime | None:
    """The first slot after that moment, in UTC; None if there never is one.

    As Debian's cron: a time that the change to summer time skips comes right after the gap, a doubled one once, the first time; a schedule
    whose minute or hour begins with `*` goes by the interval.
    """
    fields = five_fields(schedule).replace("?", "*")
    by_interval = any(field.startswith("*") for field in fields.split()[:2])
    for local in CronSim(fields, after.astimezone(zone)):
        slot = local.astimezone(UTC)
        # CronSim goes back when it begins inside a doubled hour, and knows doubled hours only, not Lord Howe's doubled half.
        if slot > after and (by_interval or not _is_second(local, zone)):
            return slot
    return None


def last_slot(schedule: str, zone: tzinfo, now: datetime) -> datetime | None:
    """The newest slot that has come, in UTC; None if there was none in two years."""
    span = timedelta(hours=1)
    while span < _LONG_AGO:
        newest, slot = None, next_slot(schedule, zone, now - span)
        while slot is not None and slot <= now:
            newest, slot = slot, next_slot(schedule, zone, slot)
        if newest is not None:
            return newest
        span *= 4
    return None


def _is_second(local: datetime, zone: tzinfo) -> bool:
    there = local.astimezone(UTC).astimezone(zone)
    return there.fold == 1


def marked(jobs: Sequence[Timed], known: Mapping[str, Mark], zone: tzinfo, now: datetime) -> dict[str, Mark]:
    """What to remember of these jobs and no others. A new job, or one whose schedule or zone changed, waits for its next slot."""
    found = {}
    for job in jobs:
        mark = known.get(job.id)
        if mark is None:
            mark = Mark(job.schedule, now)
        elif mark.schedule != job.schedule or mark.zone not in ("", str(zone)):
            mark = replace(mark, schedule=job.schedule, counted=now, again=False)
        elif mark.started is None and _was_wrong(mark, zone, now):
            mark = replace(mark, counted=now, ahead=max(mark.counted, mark.ahead or mark.counted))
        elif mark.ahead is not None and now >= mark.ahead:
            mark = replace(mark, counted=max(mark.counted, mark.ahead), ahead=None)
        found[job.id] = replace(mark, zone=str(zone))
    return found


def _was_wrong(mark: Mark, zone: tzinfo, now: datetime) -> bool:
    """The clock stood so far ahead that waiting for it would lose runs; less is waited for, so that no slot has two runs."""
    ahead = mark.counted - now
    if ahead <= timedelta():
        return False
    following = next_slot(mark.schedule, zone, mark.counted)
    return ahead > _STEP or following is None or 2 * ahead > following - mark.counted


def due(jobs: Sequence[Timed], marks: Mapping[str, Mark], taken: Collection[str], free: int, zone: tzinfo, now: datetime) -> Decision:
    """What starts now: the longest overdue first, then as in the config. `taken`: the `alone`s that run; `free`: how many more may."""
    slots = {job.id: next_slot(job.schedule, zone, marks[job.id].counted) for job in jobs if marks[job.id].started is None}
    waiting = [job for job in jobs if (slot := slots.get(job.id)) is not None and slot <= now]
    starts: list[Timed] = []
    for job in sorted(waiting, key=lambda job: slots[job.id] or now):
        if len(starts) < free and job.alone not in taken and all(job.alone != other.alone for other in starts):
            starts.append(job)
    return Decision(tuple(job.id for job in starts), min((slot for slot in slots.values() if slot and slot > now), default=None))
