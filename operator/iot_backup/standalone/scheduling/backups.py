"""The jobs of a config file as a scheduler runs them."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from pathlib import Path

from iot_backup.core.due import Timed
from iot_backup.errors import AccessDenied, Busy, Cancelled, Internal, InvalidSpec
from iot_backup.standalone import configfile, records, sites
from iot_backup.standalone.config import Backup
from iot_backup.standalone.journal import Journal
from iot_backup.standalone.records import Record
from iot_backup.standalone.scheduling import zones
from iot_backup.standalone.scheduling.children import Ended
from iot_backup.standalone.scheduling.remembering import Memory
from iot_backup.standalone.state import State

_log = logging.getLogger(__name__)
_COPY = "scheduler.yml"
"""The config that holds: runs read it, so that a file that was spoilt since does not stop them."""


@dataclass(frozen=True)
class Taken:
    """A config, and what follows from it."""

    config: Backup
    jobs: tuple[Timed, ...]
    zone: tzinfo


class Backups:
    """Backs up each enabled job with a schedule. `after_run` gets each record."""

    def __init__(
        self,
        file: Path,
        state: Path,
        environ: Mapping[str, str],
        memory: Memory,
        options: Sequence[str] = (),
        after_run: Sequence[Callable[[Record], None]] = (),
    ) -> None:
        """`options`: further ones of `execute`. InvalidSpec with all that is wrong in the file; AccessDenied."""
        self._file, self._state, self._environ, self._memory = file, state, environ, memory
        self._options, self._after_run = tuple(options), after_run
        self.file = state / _COPY
        """The config that holds, as it was written: what children read."""
        self.reload()

    def reload(self) -> None:
        """InvalidSpec, AccessDenied: everything stays as it was."""
        try:
            text = self._file.read_bytes()
            config, problems = configfile.checked(text.decode(), str(self._file), self._environ)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise InvalidSpec(f"the config file {self._file} cannot be read: {why}. Name another one with --config.") from error
        if config is None:
            raise InvalidSpec("\n".join(map(str, problems)))
        taken = Taken(config, timed(config, self._environ), zones.chosen(config.time_zone, self._environ))
        self._memory.put(_COPY, text)
        self._taken = taken

    @property
    def config(self) -> Backup:
        return self._taken.config

    @property
    def jobs(self) -> Sequence[Timed]:
        return self._taken.jobs

    @property
    def zone(self) -> tzinfo:
        return self._taken.zone

    @property
    def parallel(self) -> int:
        return self._taken.config.max_parallel

    def is_free(self, job: str) -> bool:
        config = self.config
        wanted = sites.job(config, job)
        label, chain = sites.of_job(config, wanted, self._environ).label, sites.chain(config, wanted, self._environ)
        try:
            with State(self._state, label).alone(chain):
                return True
        except Busy:
            return False

    def command(self, job: str) -> Sequence[str]:
        return ["execute", job, "--output", "json", "--config", str(self.file), "--state-dir", str(self._state), *self._options]

    def ended(self, run: Ended, started: datetime, *, stopped: bool) -> None:
        record = self._record(run, started, stopped)
        for hook in self._after_run:
            try:
                hook(record)
            except Exception:  # noqa: BLE001 - whatever it is, the other hooks go on
                _log.exception("what comes after a run of %s failed; the backups go on", run.job)

    def _record(self, run: Ended, started: datetime, stopped: bool) -> Record:
        """The child's own, as it printed it or else as it kept it; one of ours in the journal if it left none."""
        journal = Journal(self._state)
        kept = journal.of(run.job)
        record = _told(run.out) or _left(kept, started) or _without_answer(run, self.config, started, stopped)
        if record.plain() not in (each.plain() for each in kept[-10:]):
            try:
                journal.add(record)
            except AccessDenied as error:
                _log.warning("%s", error)
        return record


def timed(config: Backup, environ: Mapping[str, str]) -> tuple[Timed, ...]:
    """What a scheduler starts: jobs that are enabled and have a schedule. Those of one chain wait for each other."""
    return tuple(
        Timed(job.id, job.schedule, f"{sites.of_job(config, job, environ).label}/{sites.chain(config, job, environ)}")
        for job in config.jobs
        if job.enabled and job.schedule is not None
    )


def _told(out: str) -> Record | None:
    try:
        return records.of_plain(json.loads(out))
    except (ValueError, TypeError, KeyError):
        return None


def _left(kept: Sequence[Record], started: datetime) -> Record | None:
    """The newest record that a run can have left that was started then: what was kept counts, whatever became of the answer."""
    begin = started.replace(microsecond=0)  # a record's times are to the second
    return next((record for record in reversed(kept) if record.start_time and record.start_time >= begin), None)


def _without_answer(run: Ended, config: Backup, started: datetime, stopped: bool) -> Record:
    type_ = next((job.type for job in config.jobs if job.id == run.job), "full")
    if stopped:
        why = Cancelled("the scheduler was stopped while the backup ran; it is made up for when the scheduler starts again.")
        return records.of_failure(run.job, type_, why, started, datetime.now(UTC))
    how = f"was ended by signal {-run.code}" if run.code < 0 else f"ended with code {run.code}"
    defect = Internal(f"the run {how} and left no record. What it printed is in the scheduler's log; was memory short?")
    error = _error(run.out) or records.spoken(defect)
    return Record(job=run.job, type=type_, status=records.FAILED, start_time=started, end_time=datetime.now(UTC), error=error)


def _error(out: str) -> str | None:
    try:
        error = json.loads(out)["error"]
    except (ValueError, TypeError, KeyError):
        return None
    return error if isinstance(error, str) else None
