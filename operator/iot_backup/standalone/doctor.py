"""Looks at everything a backup and a restore need on this machine, and says what to do where something is amiss. Makes nothing, changes nothing
but, for a storage's clock, an empty file that goes at once, and, where the first backup will make a storage, an empty folder that does."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, Literal

from iot_backup.core import layout, spec
from iot_backup.errors import CorruptData, InvalidSpec, IotBackupError, KeyMissing, Untrusted
from iot_backup.repository import clocks, generations, writers
from iot_backup.standalone import catalogue, checking, environment, records, sites
from iot_backup.standalone.catalogue import Key, Opened
from iot_backup.standalone.config import Backup, Job
from iot_backup.standalone.machine import Machine
from iot_backup.standalone.sites import Site
from iot_backup.worker import keys

Level = Literal["ok", "warning", "problem"]
_PROBLEM_EXIT = 70


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    level: Level
    detail: str
    """For a warning or a problem: why, and what to do next."""
    exit_code: int = 0


@dataclass(frozen=True)
class Report:
    """All of them, in the order of the config."""

    findings: tuple[Finding, ...]

    HEADINGS: ClassVar = ("", "WHAT", "")

    @property
    def exit_code(self) -> int:
        """Of the first problem; 0 without one."""
        return next((each.exit_code or _PROBLEM_EXIT for each in self.findings if each.level == "problem"), 0)

    def rows(self) -> list[tuple[str, ...]]:
        return [(each.level, each.what, each.detail) for each in self.findings]

    def plain(self) -> list[dict[str, Any]]:
        return [{name: value for name, value in asdict(each).items() if name != "exit_code"} for each in self.findings]


def examined(config: Backup, machine: Machine, key: Key, now: datetime) -> Report:
    """Every job's source, and every repository that a job uses, with the key opened for real (a second of scrypt each)."""
    findings = [_looked("state folder", partial(_state, machine))]
    findings.extend(_looked(f"job {job.id}: source", partial(_source, config, job, machine)) for job in config.jobs)
    for site in sites.all_of(config, machine.environ):
        findings.extend(_site(config, site, machine, key, now))
    return Report(tuple(findings))


def _looked(what: str, look: Callable[[], Finding | str]) -> Finding:
    try:
        found = look()
    except IotBackupError as error:
        return Finding(what, "problem", records.spoken(error), error.exit_code)
    return found if isinstance(found, Finding) else Finding(what, "ok", found)


def _warning(what: str, detail: str) -> Finding:
    return Finding(what, "warning", detail)


def _state(machine: Machine) -> Finding | str:
    folder = machine.state
    there = next(above for above in (folder, *folder.parents) if above.exists())
    if not (there.is_dir() and os.access(there, os.W_OK | os.X_OK)):
        raise InvalidSpec(
            f"{folder} cannot be written by user {os.geteuid()}: without it nothing is remembered from run to run. Name another folder by "
            f"--state-dir or {environment.STATE_DIR}."
        )
    return str(folder) if there == folder else f"{folder}, which the first run makes"


def _source(config: Backup, job: Job, machine: Machine) -> Finding | str:
    what, source = f"job {job.id}: source", Path(job.source)
    try:
        names = [entry.name for entry in source.iterdir()]
    except OSError as error:
        raise InvalidSpec(
            f"{source} cannot be listed: {error.strerror}. Mount it, name another source, or run as a user who may."
        ) from error
    checking.check_apart(config, job, machine.environ)
    if not names and not job.allow_empty:
        return _warning(what, f"{source} is empty: a run will refuse it, unless the job says allow_empty")
    if {"PG_VERSION", "postmaster.pid"} <= set(names):
        return _warning(
            what,
            f"{source} belongs to a running PostgreSQL: a copy of it is marked InconsistentSource. Stop the server for the run, or back up a dump.",
        )
    return str(source)


def _site(config: Backup, site: Site, machine: Machine, key: Key, now: datetime) -> Iterator[Finding]:
    what = f"storage {site.storage}: {'repository' if site.encrypted else 'unencrypted repository'}"
    opened: list[Opened] = []

    def look() -> Finding | str:
        if site.encrypted and key.identity is None and not _has_passphrase(machine):
            raise KeyMissing(f"{environment.PASSPHRASE.key} is not set: nothing can be backed up or restored. Bring the passphrase.")
        there = catalogue.opened(site, machine, key, sealed=True)
        if there is None:
            if isinstance(site.target, spec.VolumeTarget):
                _check_makeable(Path(site.target.mount))
            return _warning(what, f"there is none of site {site.name} yet: the first backup makes it")
        opened.append(there)
        return _proof(what, there, machine, key)

    yield _looked(what, look)
    if isinstance(site.target, spec.VolumeTarget):
        yield _looked(f"storage {site.storage}: room", partial(_room, site, machine))
    for there in opened:
        yield _looked(f"storage {site.storage}: clock", partial(_clock, there, now))
        yield _looked(f"storage {site.storage}: this machine's key", partial(_writer, there, machine))
        for job in config.jobs:
            if sites.of_job(config, job, machine.environ) == site:
                yield _looked(f"job {job.id}: newest backup", partial(_newest, config, job, machine, key, now))


def _proof(what: str, there: Opened, machine: Machine, key: Key) -> Finding | str:
    """What opened the repository, and whether that is enough for a backup."""
    fingerprint = f"fingerprint {there.trust.fingerprint}"
    if not there.site.encrypted:
        return f"signed, not encrypted; {fingerprint}"
    if key.identity is not None and not _has_passphrase(machine):
        return _warning(what, f"the key opens it, for restores only: the next backup needs {environment.PASSPHRASE.key}; {fingerprint}")
    if key.identity is not None:
        catalogue.opened(there.site, machine, Key(), sealed=True)  # a backup opens it by the passphrase, not by the identity
    return f"the key opens it; {fingerprint}"


def _has_passphrase(machine: Machine) -> bool:
    return bool(machine.environ.get(environment.PASSPHRASE.key, "").strip())


def _check_makeable(folder: Path) -> None:
    """InvalidSpec where the first backup could not make a storage's folder, or what belongs into it: tried, since some file systems let nobody."""
    try:
        there = next(above for above in (folder, *folder.parents) if above.exists())
        Path(tempfile.mkdtemp(prefix=".doctor-", dir=there)).rmdir()
    except OSError as error:
        raise InvalidSpec(
            f"the storage's folder {folder} cannot be made or written by user {os.geteuid()}: {error.strerror}. Make it, or name another one."
        ) from error


def _room(site: Site, machine: Machine) -> Finding | str:
    assert isinstance(site.target, spec.VolumeTarget)
    folder = Path(site.target.mount)
    there = next(above for above in (folder, *folder.parents) if above.exists())
    free = shutil.disk_usage(there).free
    memory = machine.state_of(site).memory()
    largest = max((head.source_bytes for head in memory.heads.values()), default=0) if memory else 0
    if free < largest:
        return _warning(
            f"storage {site.storage}: room",
            f"{there} has {free:,} bytes free, and the largest chain's newest backup read {largest:,}: another full one may not fit",
        )
    return f"{there} has {free:,} bytes free"


def _clock(there: Opened, now: datetime) -> Finding | str:
    judged = clocks.compared(now, there.repository.store.now())
    if judged.warning:
        return _warning(f"storage {there.site.storage}: clock", f"{judged.warning.reason}: {judged.warning.message}")
    return f"differs by {abs(judged.skew.total_seconds()):.0f} s"


def _writer(there: Opened, machine: Machine) -> Finding | str:
    what, state = f"storage {there.site.storage}: this machine's key", machine.state_of(there.site)
    if not state.has_writer_key:
        return _newcomer(what, there, machine)
    secrets = environment.secrets(machine.environ, writer=state.writer_key())
    ours = keys.writer(there.site.repository(), secrets)
    repository = there.repository
    if writers.admitted(repository.store, repository.record, there.site.name, ours.id) is None:
        if not there.site.encrypted:
            return _others(what, there, machine)
        return Finding(what, "problem", f"{ours.id} is not admitted: run `backup-manager key admit`", exit_code=77)
    return f"{ours.id} is admitted"


def _newcomer(what: str, there: Opened, machine: Machine) -> Finding:
    """Whether the first run of this machine will be let in, as `execute` decides it."""
    if not there.site.encrypted:
        return _others(what, there, machine)
    store = there.repository.store
    later = len(generations.all_of(store, store.read(layout.REPO))) - 1
    if later and there.memory is None and not machine.fingerprint:
        return Finding(
            what,
            "problem",
            f"this machine does not know the repository, whose identity was renewed {later} times, and its first may be known to others: the next "
            f"run refuses it. Compare the fingerprint with the one you noted, and say --trust FINGERPRINT, or bring the state folder back.",
            Untrusted.exit_code,
        )
    return _warning(what, "this machine never wrote to the repository: the first run admits it")


def _others(what: str, there: Opened, machine: Machine) -> Finding:
    """A repository without encryption has no key that could admit a second writer."""
    folder = machine.state_of(there.site).folder
    return Finding(
        what,
        "problem",
        "the repository is not encrypted, and takes backups only from the machine that made it, by its writer key: bring "
        f"{folder} back from a copy, or begin anew under another backup.site or path",
        Untrusted.exit_code,
    )


def _newest(config: Backup, job: Job, machine: Machine, key: Key, now: datetime) -> Finding | str:
    what = f"job {job.id}: newest backup"
    entries, losses = catalogue.listed(config, job, machine, key)
    if losses:
        raise losses[0]
    good = [record for record in entries if record.status in (records.COMPLETED, records.PARTIAL)]
    if not good:
        return _warning(what, f"there is none: run `backup-manager execute {job.id}`")
    last = good[-1]
    memory = machine.state_of(sites.of_job(config, job, machine.environ)).memory()
    if memory and last.id in memory.damaged:
        return Finding(
            what,
            "problem",
            f"{last.id} was found damaged by a verification: a restore of the newest fails. Run `backup-manager execute {job.id}` for one that is "
            f"whole, and `backup-manager verify {last.id}` if it was mended",
            CorruptData.exit_code,
        )
    age = now - (last.end_time or datetime.fromtimestamp(0, UTC))
    return f"{last.id}, {_spoken(age)} old"


def _spoken(age: timedelta) -> str:
    if age < timedelta(hours=2):
        return f"{max(0, round(age.total_seconds() / 60))} min"
    return f"{round(age.total_seconds() / 3600)} h" if age < timedelta(days=2) else f"{age.days} days"
