"""backup-manager as a library: what the commands do, for programs in Python. `from iot_backup import BackupManager, ...`; docs/python.md shows it.

Everything that waits is a coroutine; the engine works on a thread of its own meanwhile. Cancelling the task stops the run as SIGTERM would:
within two seconds, and with nothing half-published. Errors are those of `iot_backup.errors`.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, TypeVar

from iot_backup.errors import InvalidSpec
from iot_backup.standalone import catalogue, configfile, environment, execute, records, sites
from iot_backup.standalone import restore as restoring
from iot_backup.standalone.catalogue import Key
from iot_backup.standalone.config import Backup
from iot_backup.standalone.journal import Journal
from iot_backup.standalone.machine import Machine
from iot_backup.standalone.records import Record as BackupRecord
from iot_backup.worker.cancelling import Cancel
from iot_backup.worker.progress import Progress

T = TypeVar("T")

__all__ = [
    "BackupJob",
    "BackupManager",
    "BackupRecord",
    "BackupStatus",
    "BackupType",
    "ConflictMode",
    "RestoreManager",
    "RestorePlan",
    "RestoreRecord",
    "RestoreType",
]


class BackupType(StrEnum):
    """What a backup holds."""

    FULL = "full"
    INCREMENTAL = "incremental"
    DIFFERENTIAL = "differential"
    CONFIGURATION = "configuration"


class BackupStatus(StrEnum):
    """How a run ended; `BackupRecord.status` has one of these words."""

    COMPLETED = records.COMPLETED
    PARTIAL = records.PARTIAL
    FAILED = records.FAILED
    CANCELLED = records.CANCELLED


class RestoreType(StrEnum):
    """How much of a backup is brought back."""

    FULL = "full"
    SELECTIVE = "selective"


class ConflictMode(StrEnum):
    """What a restore does where a path is there already. Only MIRROR deletes."""

    OVERWRITE = "overwrite"
    KEEP_NEWER = "keep-newer"
    SKIP_EXISTING = "skip-existing"
    MIRROR = "mirror"


@dataclass(frozen=True)
class BackupJob:
    """One thing to back up: the keys of `jobs[]` in config/backup.yml (docs/backup-manager.md)."""

    id: str
    source: str | os.PathLike[str]
    type: BackupType | str = BackupType.FULL
    name: str = ""
    storage: Sequence[str] | None = None
    destination: str | os.PathLike[str] | None = None
    chain: str | None = None
    schedule: str | None = None
    include: Sequence[str] = ()
    exclude: Sequence[str] = ()
    one_file_system: bool = False
    max_chain_length: int | None = None
    timeout_hours: int | None = None
    allow_empty: bool = False
    compression: bool = True
    encryption: bool = True
    retention_days: int | None = None
    enabled: bool = True

    def section(self) -> dict[str, Any]:
        """As the config file has it."""
        fields = {name: getattr(self, name) for name in self.__dataclass_fields__}
        plain = {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in fields.items()}
        plain["type"] = str(self.type)
        return {name: list(value) if isinstance(value, tuple) else value for name, value in plain.items() if value is not None}


@dataclass(frozen=True)
class RestoreRecord:
    """One restore that was made."""

    id: str
    """Of the backup."""
    type: RestoreType
    status: BackupStatus
    target: Path
    start_time: datetime
    end_time: datetime
    snapshot_time: datetime
    """The moment that the tree is of now."""
    files_restored: int
    bytes_restored: int
    kept: int
    """Paths that were left as they were, as the conflict mode says."""
    deleted: int
    checksum: str | None
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class RestorePlan:
    """What a restore would do."""

    facts: Mapping[str, Any]
    """As `restore --plan --output json` prints it."""

    @property
    def possible(self) -> bool:
        """Nothing is missing, and there is room."""
        return not self.facts["missing"] and bool(self.facts["needed_bytes"] <= self.facts["free_bytes"])


@dataclass
class BackupManager:
    """The jobs and storages of a site, and its backups."""

    config: str | os.PathLike[str] | Mapping[str, Any]
    """A file like config/backup.yml, or what such a file holds."""
    state_dir: str | os.PathLike[str] | None = None
    """Where this machine remembers. None: $STATE_DIR, else as the command does."""
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ, repr=False)
    """Keys and credentials: BACKUP_ENCRYPTION_KEY, AWS_ACCESS_KEY_ID, ..."""

    def __post_init__(self) -> None:
        """InvalidSpec, with everything that is wrong with the config."""
        if isinstance(self.config, Mapping):
            self._content: dict[str, Any] = json.loads(json.dumps(self.config))
            self._checked = self._examined(self._content)
        else:
            file = Path(self.config)
            self._checked = configfile.loaded(file, self.environ)
            self._content = {"backup": self._checked.model_dump(mode="json", exclude_none=True)}

    @property
    def jobs(self) -> tuple[str, ...]:
        """Their ids."""
        return tuple(job.id for job in self._checked.jobs)

    def add_job(self, job: BackupJob) -> None:
        """InvalidSpec if it is not sound, or another one has its id; then nothing has changed."""
        self._change(lambda jobs: [*jobs, job.section()])

    def remove_job(self, job_id: str) -> None:
        """Its backups stay. InvalidSpec if there is none of that id."""
        sites.job(self._checked, job_id)
        self._change(lambda jobs: [each for each in jobs if each["id"] != job_id])

    async def execute_backup(self, job_id: str, type: BackupType | str | None = None) -> BackupRecord:  # noqa: A002 - the seed's word
        """Run a job now. The record tells how it ended, failures too (`status`, `error`). InvalidSpec for a job that is not there."""
        job = sites.job(self._checked, job_id)
        wish = execute.Wish(type=str(type) if type else None)

        def work(cancel: Cancel) -> BackupRecord:
            return execute.attempted(self._checked, job, wish, self.machine, cancel, Progress())[0]

        return await _stoppable(work)

    def records(self, job_id: str) -> list[BackupRecord]:
        """What became of the job's runs on this machine, failures too, oldest first."""
        return Journal(self.machine.state).of(job_id)

    async def list_backups(self, job_id: str | None = None) -> list[BackupRecord]:
        """What the storages hold, oldest first. RolledBack if they show less than this machine remembers."""
        job = sites.job(self._checked, job_id) if job_id else None
        found, losses = await asyncio.to_thread(catalogue.listed, self._checked, job, self.machine, Key())
        if losses:
            raise losses[0]
        return found

    @property
    def machine(self) -> Machine:
        """This machine, as commands see it."""
        folder = Path(self.state_dir) if self.state_dir else None
        return Machine(environment.state_folder(folder, self.environ), self.environ)

    @property
    def checked(self) -> Backup:
        """The config as it was understood."""
        return self._checked

    def _change(self, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]]) -> None:
        backup = self._content.get("backup") or {}
        content = {**self._content, "backup": {**backup, "jobs": change(list(backup.get("jobs") or []))}}
        self._checked = self._examined(content)
        self._content = content

    def _examined(self, content: Mapping[str, Any]) -> Backup:
        found, problems = configfile.checked(json.dumps(content, indent=1), "the config", self.environ)
        if found is None:
            raise InvalidSpec("\n".join(map(str, problems)))
        return found


@dataclass(frozen=True)
class RestoreManager:
    """Brings backups back."""

    backups: BackupManager

    async def execute_restore(
        self,
        what: str,
        target: str | os.PathLike[str],
        *,
        restore_type: RestoreType | str = RestoreType.FULL,
        at: datetime | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        on_conflict: ConflictMode | str = ConflictMode.OVERWRITE,
        identity: str | os.PathLike[str] | None = None,
        verify: bool = True,
    ) -> RestoreRecord:
        """A job's newest backup (`at`: of that moment or before, with a zone), or the backup of that id, into a folder, which is made if need be.

        `include` and `exclude`: gitignore's lines, for RestoreType.SELECTIVE alone. `identity`: a file with an age identity, instead of
        the passphrase. What `iot_backup.errors` knows; a whole backup is read and verified before the first byte is written, unless
        `verify` is False: then damage is found on the way, and what came before it is there.
        """
        wish = _wish(restore_type, include, exclude, on_conflict, identity, verify)
        start = datetime.now(UTC)

        def work(cancel: Cancel) -> restoring.Restored:
            there, manifest = catalogue.chosen(self.backups.checked, what, at, self.backups.machine, wish.key)
            return restoring.restore(self.backups.checked, there, manifest, Path(target), wish, self.backups.machine, cancel, Progress())

        restored = await _stoppable(work)
        result = restored.result
        return RestoreRecord(
            id=result.archive,
            type=RestoreType(result.type.lower()),
            status=BackupStatus.COMPLETED,
            target=restored.target,
            start_time=start,
            end_time=datetime.now(UTC),
            snapshot_time=result.snapshot_time,
            files_restored=result.files,
            bytes_restored=result.bytes,
            kept=result.kept,
            deleted=result.deleted,
            checksum=result.checksum,
            warnings=tuple(f"{warning.reason}: {warning.message}" for warning in restored.warnings),
        )

    async def plan(
        self,
        what: str,
        target: str | os.PathLike[str],
        *,
        restore_type: RestoreType | str = RestoreType.FULL,
        at: datetime | None = None,
        include: Sequence[str] = (),
        exclude: Sequence[str] = (),
        on_conflict: ConflictMode | str = ConflictMode.OVERWRITE,
        identity: str | os.PathLike[str] | None = None,
        verify: bool = True,
    ) -> RestorePlan:
        """What that would do. Nothing is written."""
        wish = _wish(restore_type, include, exclude, on_conflict, identity, verify)

        def work(cancel: Cancel) -> RestorePlan:
            there, manifest = catalogue.chosen(self.backups.checked, what, at, self.backups.machine, wish.key)
            result = restoring.plan(self.backups.checked, there, manifest, Path(target), wish, self.backups.machine, cancel)
            return RestorePlan(restoring.planned(result, Path(target)))

        return await _stoppable(work)


def _wish(
    restore_type: RestoreType | str,
    include: Sequence[str],
    exclude: Sequence[str],
    on_conflict: ConflictMode | str,
    identity: str | os.PathLike[str] | None,
    verify: bool,
) -> restoring.Wish:
    if (RestoreType(restore_type) is RestoreType.SELECTIVE) != bool(include or exclude):
        raise InvalidSpec("a selective restore has include or exclude, and a full one has neither")
    key = Key(Path(identity) if identity else None)
    return restoring.Wish(key, tuple(include), tuple(exclude), str(ConflictMode(on_conflict)), verify=verify)


async def _stoppable(work: Callable[[Cancel], T]) -> T:
    """Do it on a thread. A task that is cancelled asks the run to stop, and ends when it has."""
    cancel = Cancel()
    running = asyncio.ensure_future(asyncio.to_thread(work, cancel))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        cancel.request()
        await asyncio.wait([running])
        if not running.cancelled():
            running.exception()  # it was asked for: nobody needs to hear of it
        raise
