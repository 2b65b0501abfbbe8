"""When a BackupStorage is looked at, and what its status says of the last look.

A probe runs when the storage is new, was changed, or somebody asked; every hour while Ready; else again after 15 s, doubling
up to 5 min. How far that is lies on the probe Jobs themselves, so a restarted operator goes on where it was.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from iot_backup import vocabulary
from iot_backup.core import naming, pods

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from iot_backup.api.backupstorage import BackupStorage
    from iot_backup.core.runs import Verdict

PROBE = f"{vocabulary.GROUP}/probe"
"""Annotation on probe Jobs: generation, request, attempt and serial number, as JSON."""
READY_EVERY = timedelta(hours=1)
FIRST_RETRY = timedelta(seconds=15)
LONGEST_RETRY = timedelta(minutes=5)


@dataclass(frozen=True)
class Look:
    """One probe Job and what is known of it."""

    job: Mapping[str, Any]
    verdict: Verdict
    generation: int
    request: str
    attempt: int
    """Failed looks at the same thing before this one."""
    serial: int
    good: bool = False
    """It ended, and the storage was found as it should be."""

    @property
    def name(self) -> str:
        return str(self.job["metadata"]["name"])


@dataclass(frozen=True)
class Start:
    """Start this probe now."""

    name: str
    annotation: str


@dataclass(frozen=True)
class Plan:
    """What to do about probes."""

    start: Start | None = None
    wait: timedelta | None = None
    """Until the next one is due; None while one runs."""
    remove: tuple[str, ...] = ()
    """Probe Jobs nobody needs any more."""


def look(job: Mapping[str, Any], verdict: Verdict, *, good: bool) -> Look:
    """A probe Job with its notes; a Job without readable notes counts as one of generation 0."""
    try:
        notes = json.loads((job["metadata"].get("annotations") or {}).get(PROBE, "{}"))
        generation, request = int(notes.get("generation", 0)), str(notes.get("request", ""))
        attempt, serial = int(notes.get("attempt", 0)), int(notes.get("serial", 0))
    except (ValueError, AttributeError):
        generation, request, attempt, serial = 0, "", 0, 0
    return Look(job, verdict, generation, request, attempt, serial, good)


def newest(looks: Sequence[Look]) -> Look | None:
    return max(looks, key=lambda one: (one.serial, one.job["metadata"].get("creationTimestamp", "")), default=None)


def request_of(storage: BackupStorage) -> str:
    """The value of the annotation that asks for a probe; '' without one."""
    return storage.metadata.annotations.get(vocabulary.PROBE_REQUESTED_AT, "")


def plan(storage: BackupStorage, looks: Sequence[Look], now: datetime) -> Plan:
    """Whether to start a probe now, when to look again, and which Jobs to remove."""
    last = newest(looks)
    wanted = (storage.metadata.generation, request_of(storage))
    if last is None or (last.generation, last.request) != wanted:
        return Plan(start=_next(storage, last, attempt=0), remove=tuple(one.name for one in looks))
    older = tuple(one.name for one in looks if one is not last)
    if not last.verdict.final:
        return Plan(remove=older)
    ended = pods.time(last.verdict.ended) or now
    pause = READY_EVERY if last.good else min(FIRST_RETRY * 2 ** min(last.attempt, 10), LONGEST_RETRY)
    if now < ended + pause:
        return Plan(wait=ended + pause - now, remove=older)
    return Plan(start=_next(storage, last, attempt=0 if last.good else last.attempt + 1), remove=older)


def _next(storage: BackupStorage, last: Look | None, attempt: int) -> Start:
    generation, request = storage.metadata.generation, request_of(storage)
    notes = {"generation": generation, "request": request, "attempt": attempt, "serial": last.serial + 1 if last else 1}
    previous = str(last.job["metadata"]["uid"]) if last else ""
    return Start(naming.probe(storage.name, storage.metadata.uid, generation, request, previous), json.dumps(notes, sort_keys=True))
