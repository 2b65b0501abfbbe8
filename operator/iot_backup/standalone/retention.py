"""Which backups of the config's jobs stay: decided, foretold, and applied. How they leave the store is `repository.retiring`'s matter."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from iot_backup.core import foresight, spec
from iot_backup.core.foresight import Day, Planned
from iot_backup.core.retention import Point, Policy, Verdict
from iot_backup.crypto.signing import WriterKey
from iot_backup.repository import retiring
from iot_backup.repository.catalogue import Catalogue
from iot_backup.repository.opening import Repository, open_for_backup
from iot_backup.repository.retiring import Retired, Rules
from iot_backup.standalone import environment, records, sites
from iot_backup.standalone.config import Backup, Job
from iot_backup.standalone.machine import Machine
from iot_backup.standalone.records import EXIT_PARTIAL
from iot_backup.standalone.scheduling import zones
from iot_backup.standalone.sites import Site
from iot_backup.standalone.state import Memory
from iot_backup.storage import staleness
from iot_backup.storage.opening import open_store
from iot_backup.storage.read_only import ReadOnly

_FIRST = "the first retention of this machine in this repository removes nothing; from the next one on, it does"
_LEAP = timedelta(days=31)
"""Between two retentions; where they are farther apart, a clock may have jumped."""


@dataclass(frozen=True)
class Outcome:
    """What became of the repositories that were looked at."""

    done: tuple[tuple[Site, Retired], ...]
    notes: tuple[str, ...] = ()
    """What is as it should be, and good to know."""

    @property
    def removed(self) -> int:
        return sum(len(retired.removed) for _, retired in self.done)

    @property
    def problems(self) -> list[str]:
        """Why something stayed that the rules let go, and what a person must look at."""
        return [f"storage {site.storage}: {problem}" for site, retired in self.done for problem in retired.problems]

    @property
    def exit_code(self) -> int:
        """Whether a person is needed."""
        return EXIT_PARTIAL if self.problems else 0

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        rows = [dict(zip(("action", "id", "job", "chain", "time", "reasons"), row, strict=True)) for row in self.rows()]
        return {"removed": self.removed, "backups": rows, "problems": self.problems, "notes": list(self.notes)}

    def rows(self) -> list[tuple[str, ...]]:
        """For people."""
        found: list[tuple[str, ...]] = []
        for _, retired in self.done:
            for marker in retired.removed:
                victim = marker.victim
                found.append(("removed", victim.id, "", marker.chain, records.time(victim.start_time) or "", victim.reason))
            found += [_row("keep" if verdict.keep else "would go", verdict) for verdict in retired.verdicts]
        return found


@dataclass(frozen=True)
class Foretold:
    """The days to come of one repository."""

    site: Site
    days: tuple[Day, ...]

    def plain(self) -> list[dict[str, Any]]:
        """For JSON, one object a day."""
        return [
            {
                "storage": self.site.storage,
                "day": records.time(day.time),
                "made": [point.id for point in day.made],
                "removed": [{"id": verdict.point.id, "reasons": list(verdict.reasons)} for verdict in day.removed],
                "kept": [verdict.point.id for verdict in day.kept],
            }
            for day in self.days
        ]

    def rows(self) -> list[tuple[str, ...]]:
        """For people."""
        return [
            (
                day.time.strftime("%Y-%m-%d"),
                str(len(day.kept)),
                ", ".join(point.id for point in day.made),
                ", ".join(verdict.point.id for verdict in day.removed),
            )
            for day in self.days
        ]


def policy(config: Backup, job: Job, site: Site) -> Policy:
    """Of the primary the job's own rules, and where it has none, those of the storage; of a copy those of the storage alone."""
    own = Policy(**job.retention.model_dump() | {"days": job.retention.days or job.retention_days})
    if own and site.storage == (job.destination or sites.storages(config, job)[0]):
        return own
    storage = getattr(config.storage, site.storage, None) if not site.storage.startswith("/") else None
    return Policy(days=storage.retention_days if storage else None)


def applied(config: Backup, job: Job | None, machine: Machine, now: datetime) -> Outcome:
    """Remove what the rules let go, of one job or of all. What `retiring.retired` raises; Busy if another process does the same, restores or verifies.

    A repository that this machine does not remember, or never wrote to, is left alone. `now`: on this machine's clock. Where the last retention
    is more than a month away, on either side, nothing is removed this time: a clock that jumped makes everything old.
    """
    done, notes = [], []
    for place in _opened(config, job, machine):
        state = machine.state_of(place.site)
        with state.maintaining(), state.unread(), state.copying() if place.primary else nullcontext():
            rules = _rules(config, job, machine, replace(place, memory=state.memory() or place.memory))
            before, moment = place.memory.maintained, place.repository.store.now()
            if before is not None and abs(moment - before) <= _LEAP:
                retired = retiring.retired(place.repository, rules, now, partial(_wait, place.site))
            else:
                survey, verdicts = retiring.judged(place.repository, rules, moment)
                retired = Retired(verdicts, problems=(*survey.problems, *([_leap(before, moment)] if before else [])))
                notes += [] if before else [f"storage {place.site.storage}: {_FIRST}"]
            state.remember(partial(_maintained, place.memory, moment))
        done.append((place.site, retired))
    return Outcome(tuple(done), tuple(notes))


def _leap(before: datetime, moment: datetime) -> str:
    return (
        f"ClockSkew: the last retention here was {records.time(before)}, and it is {records.time(moment)} now: if a clock jumped, everything looks "
        "old. Nothing was removed this time. Compare the clocks of this machine and of the storage; the next retention goes by this time"
    )


def _maintained(memory: Memory, moment: datetime, known: Memory | None) -> Memory:
    return (known or memory).model_copy(update={"maintained": moment})


def foretold(config: Backup, job: Job | None, machine: Machine, now: datetime, days: int) -> list[Foretold]:
    """The calendar of the next days. Nothing is touched, not even to ask the store for its time."""
    found = []
    for place in _opened(config, job, machine):
        store = ReadOnly(place.repository.store)
        reading = replace(place.repository, store=store, catalogue=place.repository.catalogue.over(store))
        rules = _rules(config, job, machine, place)
        survey, _ = retiring.judged(reading, rules, now)
        planned = _planned(config, job, machine, place.site)
        found.append(Foretold(place.site, tuple(foresight.calendar(survey.points, survey.around, planned, now, rules.zone, days))))
    return found


@dataclass(frozen=True)
class _Place:
    """One repository to look after."""

    site: Site
    memory: Memory
    repository: Repository
    primary: Catalogue | None = None
    """Of the one that this is a copy of."""


def _opened(config: Backup, job: Job | None, machine: Machine) -> Iterator[_Place]:
    """Each primary that this machine writes to, and its copies."""
    jobs = [job] if job else config.jobs
    seen: set[str] = set()
    for each in jobs:
        source = sites.of_job(config, each, machine.environ)
        state = machine.state_of(source)
        memory = state.memory()
        if memory is None or not state.has_writer_key:
            continue
        key = state.writer_key()
        original = _repository(source, memory, key, machine)
        if source.label not in seen:
            seen.add(source.label)
            yield _Place(source, memory, original)
        for site in sites.copies_of(config, each, machine.environ):
            known = machine.state_of(site).memory()
            if known is not None and site.label not in seen:
                seen.add(site.label)
                yield _Place(site, known, _repository(site, known, key, machine), original.catalogue)


def _repository(site: Site, memory: Memory, key: bytes, machine: Machine) -> Repository:
    place = site.repository(conditional_writes=memory.conditional_writes)
    store = open_store(place, environment.secrets(machine.environ, writer=key))
    return open_for_backup(store, site.name, memory.trust, WriterKey(key))


def _rules(config: Backup, job: Job | None, machine: Machine, place: _Place) -> Rules:
    jobs = [each for each in _jobs(config, machine, place.site) if job is None or each.id == job.id]
    floors = {chain: head.floor for chain, head in place.memory.heads.items()}
    zone = zones.chosen(config.time_zone, machine.environ)
    return Rules({each.id: policy(config, each, place.site) for each in jobs}, zone, floors, place.primary, place.memory.damaged)


def _planned(config: Backup, job: Job | None, machine: Machine, site: Site) -> list[Planned]:
    zone = zones.chosen(config.time_zone, machine.environ)
    return [
        Planned(each.id, sites.chain(config, each, machine.environ), each.type, each.schedule, zone, each.max_chain_length)
        for each in _jobs(config, machine, site)
        if each.enabled and each.schedule and (job is None or each.id == job.id)
    ]


def _jobs(config: Backup, machine: Machine, site: Site) -> list[Job]:
    """Those that write or copy there."""
    return [
        each
        for each in config.jobs
        if site.label
        in (sites.of_job(config, each, machine.environ).label, *(s.label for s in sites.copies_of(config, each, machine.environ)))
    ]


def _wait(site: Site) -> None:
    """Twice as long as the store may show old things."""
    if isinstance(site.target, spec.VolumeTarget):
        time.sleep(2 * staleness.of_folder(Path(site.target.mount)).total_seconds())


def _row(action: str, verdict: Verdict) -> tuple[str, ...]:
    point: Point = verdict.point
    return action, point.id, point.job, point.chain, records.time(point.time) or "", "; ".join(verdict.reasons)
