"""Which backups of the config's jobs stay: decided, foretold, and applied. How they leave the store is `repository.retiring`'s matter."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterator, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from datetime import datetime, timedelta, tzinfo
from functools import partial
from pathlib import Path
from typing import Any

from iot_backup.core import foresight, spec
from iot_backup.core.due import next_slot
from iot_backup.core.foresight import Day, Planned
from iot_backup.core.retention import Point, Policy, Verdict
from iot_backup.crypto.signing import WriterKey
from iot_backup.errors import Busy, IotBackupError, Untrusted
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

_FIRST = "the first retention of job {} on this machine removes nothing; from the next one on, it does"
_USUAL = timedelta(days=8), timedelta(days=35)
"""Between two retentions, at least and at most; where they are farther apart than usual, a clock may have jumped."""


@dataclass(frozen=True)
class Outcome:
    """What became of the repositories that were looked at."""

    done: tuple[tuple[Site, Retired], ...]
    notes: tuple[str, ...] = ()
    """What is as it should be, and good to know."""
    failed: tuple[tuple[Site, IotBackupError], ...] = ()
    """What could not be looked at, or not to its end; the others were all the same."""

    @property
    def removed(self) -> int:
        return sum(len(retired.removed) for _, retired in self.done)

    @property
    def problems(self) -> list[str]:
        """Why something stayed that the rules let go, and what a person must look at."""
        found = [f"storage {site.storage}: {problem}" for site, retired in self.done for problem in retired.problems]
        return found + [f"storage {site.storage}: {error.reason}: {error.message}" for site, error in self.failed]

    @property
    def exit_code(self) -> int:
        """That of the first failure, if one is more than another process at work; else whether a person is needed."""
        for _, error in sorted(self.failed, key=lambda each: isinstance(each[1], Busy)):
            return error.exit_code
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


def applied(config: Backup, job: Job | None, machine: Machine, now: datetime, *, accept_time: bool = False) -> Outcome:
    """Remove what the rules let go, of one job or of all, in each repository that this machine knows and wrote to. `now`: on its clock.

    Of a job that is looked at for the first time nothing is removed, nor where the last time is much farther away than usual, on either side: a
    clock that jumped makes everything old. That holds until a person says that the time is right (`accept_time`).
    """
    done, notes, failed = [], [], []
    for place in _places(config, job, machine):
        try:
            retired, told = _looked_after(config, job, machine, place, now, accept_time=accept_time)
        except IotBackupError as error:
            failed.append((place.site, error))
            continue
        done.append((place.site, retired))
        notes += [f"storage {place.site.storage}: {note}" for note in told]
    return Outcome(tuple(done), tuple(notes), tuple(failed))


def _looked_after(
    config: Backup, job: Job | None, machine: Machine, place: _Place, now: datetime, *, accept_time: bool
) -> tuple[Retired, list[str]]:
    """One repository. What `retiring.retired` raises; Busy if another process does the same, restores or verifies."""
    state = machine.state_of(place.site)
    with state.maintaining(), state.unread(), nullcontext() if place.primary is None else state.copying():
        place = replace(place, memory=state.memory() or place.memory)  # another process may have kept something until it let the lock go
        repository, primary = _opened(place, machine)
        moment = repository.store.now()
        rules = _rules(config, job, machine, place, primary)
        spans = {each.id: _usual(each, rule, rules.zone, moment) for each in config.jobs if (rule := rules.policies.get(each.id))}
        known = place.memory.maintained
        new = {id_ for id_ in spans if id_ not in known}
        leapt = {id_ for id_, span in spans.items() if id_ in known and abs(moment - known[id_]) > span and not accept_time}
        ready, waiting = _split(rules, new | leapt)
        looked, verdicts = retiring.judged(repository, waiting, moment) if waiting.policies else (None, ())
        retired = retiring.retired(repository, ready, now, partial(_wait, place.site)) if ready.policies else Retired(())
        problems = (*retired.problems, *(looked.problems if looked else ()), *(_leap(id_, known[id_], moment) for id_ in sorted(leapt)))
        state.remember(partial(_maintained, place.memory, dict.fromkeys(spans.keys() - leapt, moment)))
    waits = tuple(verdict for verdict in verdicts if not retired.verdicts or verdict.point.job in waiting.policies)
    shown = (*(verdict for verdict in retired.verdicts if verdict.point.job not in waiting.policies), *waits)
    return replace(retired, verdicts=shown, problems=tuple(dict.fromkeys(problems))), [_FIRST.format(id_) for id_ in sorted(new)]


def _split(rules: Rules, waiting: Collection[str]) -> tuple[Rules, Rules]:
    """The same for the jobs that do not wait, and for those that do: what is of no job in the rules stays."""
    of_ready = {id_: policy for id_, policy in rules.policies.items() if id_ not in waiting}
    return replace(rules, policies=of_ready), replace(rules, policies={id_: rules.policies[id_] for id_ in waiting})


def _usual(job: Job, rule: Policy, zone: tzinfo, moment: datetime) -> timedelta:
    """The longest time between two retentions that says nothing about a clock: by the rule that a leap would hurt, and twice the schedule's pause."""
    least, most = _USUAL
    span = max(least, min(most, timedelta(days=rule.days or most.days)))
    following = next_slot(job.schedule, zone, moment) if job.schedule else None
    after = next_slot(job.schedule, zone, following) if job.schedule and following else None
    return max(span, 2 * (after - following)) if following and after else span


def _leap(job: str, before: datetime, moment: datetime) -> str:
    return (
        f"ClockSkew: the last retention of job {job} was {records.time(before)}, and it is {records.time(moment)} now: if a clock jumped, everything "
        "looks old. Nothing of it is removed. Compare the clocks of this machine and of the storage; if they are right, run retention --accept-time"
    )


def _maintained(memory: Memory, moments: Mapping[str, datetime], known: Memory | None) -> Memory:
    last = known or memory
    return last.model_copy(update={"maintained": {**last.maintained, **moments}})


def foretold(config: Backup, job: Job | None, machine: Machine, now: datetime, days: int) -> list[Foretold]:
    """The calendar of the next days. Nothing is touched, not even to ask the store for its time."""
    found = []
    for place in _places(config, job, machine):
        repository, primary = _opened(place, machine)
        store = ReadOnly(repository.store)
        reading = replace(repository, store=store, catalogue=repository.catalogue.over(store))
        rules = _rules(config, job, machine, place, primary)
        survey, _ = retiring.judged(reading, rules, now)
        planned = _planned(config, job, machine, place.site)
        found.append(Foretold(place.site, tuple(foresight.calendar(survey.points, survey.around, planned, now, rules.zone, days))))
    return found


@dataclass(frozen=True)
class _Place:
    """One repository to look after."""

    site: Site
    memory: Memory
    key: bytes
    """Our writer's, with which backups are made and copied."""
    primary: Site | None = None
    """What this is a copy of."""


def _places(config: Backup, job: Job | None, machine: Machine) -> Iterator[_Place]:
    """Each primary that this machine writes to, and its copies."""
    jobs = [job] if job else config.jobs
    seen: set[str] = set()
    for each in jobs:
        source = sites.of_job(config, each, machine.environ)
        state = machine.state_of(source)
        if not state.has_writer_key:
            continue
        key = state.writer_key()
        for site in (source, *sites.copies_of(config, each, machine.environ)):
            memory = machine.state_of(site).memory()
            if memory is None and site is source:
                break
            if memory is not None and site.label not in seen:
                seen.add(site.label)
                yield _Place(site, memory, key, None if site is source else source)


def _opened(place: _Place, machine: Machine) -> tuple[Repository, Catalogue | None]:
    """The repository, and of a copy the catalogue of its primary: what is held there is held here."""
    primary = None
    if place.primary is not None:
        memory = machine.state_of(place.primary).memory()
        if memory is None:
            raise Untrusted(f"storage {place.site.storage} is a copy of {place.primary.storage}, which this machine does not know")
        primary = _repository(place.primary, memory, place.key, machine).catalogue
    return _repository(place.site, place.memory, place.key, machine), primary


def _repository(site: Site, memory: Memory, key: bytes, machine: Machine) -> Repository:
    place = site.repository(conditional_writes=memory.conditional_writes)
    store = open_store(place, environment.secrets(machine.environ, writer=key))
    return open_for_backup(store, site.name, memory.trust, WriterKey(key))


def _rules(config: Backup, job: Job | None, machine: Machine, place: _Place, primary: Catalogue | None) -> Rules:
    jobs = [each for each in _jobs(config, machine, place.site) if job is None or each.id == job.id]
    floors = {chain: head.floor for chain, head in place.memory.heads.items()}
    zone = zones.chosen(config.time_zone, machine.environ)
    return Rules({each.id: policy(config, each, place.site) for each in jobs}, zone, floors, primary, place.memory.damaged)


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
