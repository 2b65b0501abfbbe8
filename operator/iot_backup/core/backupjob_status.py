"""What a BackupJob says: whether it is in place (Ready), how its runs go (Healthy), and which comes next."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from iot_backup.core import cronjob_times, cronjobs, floors
from iot_backup.core.admission import PERMANENT
from iot_backup.core.conditions import Condition, Json, merged, reconciling, stalled
from iot_backup.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from iot_backup.api.backup import Backup
    from iot_backup.api.backupjob import BackupJob
    from iot_backup.core.cronjobs import Slot
    from iot_backup.core.pods import Trouble

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def status(job: BackupJob, current: Json, problem: Trouble | None, backups: Sequence[Backup], now: datetime) -> Json:
    """The whole status, from its Backups and from what keeps it from being in place."""
    generation = job.metadata.generation
    runs = sorted(backups, key=_order)
    last = runs[-1] if runs else None
    success = max((b for b in runs if b.status.phase == "Completed" and b.status.completion_time), key=_order, default=None)
    wanted = [*_ready(job, problem), _healthy(runs), *_suspended(job)]
    upcoming = None if problem and problem.reason == "InvalidSchedule" else next_run(job, now)
    return {
        **current,
        "observedGeneration": generation,
        "schedule": readable(job),
        "lastBackup": _last(last) if last else None,
        "newest": floors.newest(job, runs),
        "lastSuccessTime": _iso(success.status.completion_time) if success else current.get("lastSuccessTime"),
        "nextRunTime": _iso(upcoming),
        "consecutiveFailures": consecutive_failures(runs),
        "conditions": merged(current.get("conditions") or (), wanted, generation, _iso(now) or ""),
    }


def readable(job: BackupJob) -> str:
    """All schedules in one line: "30 2 * * * Europe/Berlin"; "on demand" without one. A type is told where it is not the job's."""
    return ", ".join(_slot(s, job) for s in cronjobs.slots(job)) or "on demand"


def _slot(slot: Slot, job: BackupJob) -> str:
    type_ = f"({slot.type})" if slot.type != job.spec.type else ""
    return " ".join(part for part in (f"{slot.name}:" if slot.name else "", slot.schedule, slot.time_zone or "", type_) if part)


def next_run(job: BackupJob, now: datetime) -> datetime | None:
    """The earliest start any schedule asks for; None while suspended or on demand only."""
    if job.spec.suspend:
        return None
    try:
        times = [cronjob_times.next_run(s.schedule, s.time_zone, now) for s in cronjobs.slots(job)]
    except InvalidSpec:
        return None
    return min((t for t in times if t), default=None)


def consecutive_failures(runs: Sequence[Backup]) -> int:
    """Failed runs since the last good one; cancelled and unfinished ones do not count. `runs` oldest first."""
    count = 0
    for run in reversed(runs):
        if run.status.phase == "Completed":
            break
        count += run.status.phase == "Failed"
    return count


def _order(backup: Backup) -> tuple[datetime, str]:
    return (backup.status.start_time or backup.metadata.creation_timestamp or _EPOCH, backup.name)


def _ready(job: BackupJob, problem: Trouble | None) -> list[Condition]:
    if problem is None:
        return [Condition("Ready", True, "Ready", f"in place: {readable(job)}")]
    ready = Condition("Ready", False, problem.reason, problem.message)
    permanent = problem.reason in PERMANENT
    return [ready, stalled(problem.reason, problem.message) if permanent else reconciling(problem.reason, problem.message)]


def _healthy(runs: Sequence[Backup]) -> Condition:
    ended = [r for r in runs if r.status.phase in {"Completed", "Failed"}]
    if not ended:
        return Condition("Healthy", None, "NoRuns", "no run has ended yet")
    last = ended[-1]
    if last.status.phase == "Completed":
        return Condition("Healthy", True, "LastRunSucceeded", f"{last.name} completed")
    failures = consecutive_failures(runs)
    why = f"{last.status.failure.class_}: {last.status.failure.message}" if last.status.failure else "no reason was told"
    return Condition("Healthy", False, "LastRunFailed", f"{last.name} failed, {failures} in a row: {why}")


def _suspended(job: BackupJob) -> list[Condition]:
    if job.spec.suspend:
        return [Condition("Suspended", True, "SpecSuspend", "no scheduled run starts while spec.suspend is true; requested ones do")]
    return [Condition("Suspended", False, "NotSuspended")]


def _last(backup: Backup) -> Json:
    status_ = backup.status
    fields: Json = {
        "name": backup.name,
        "type": status_.type,
        "phase": status_.phase,
        "startTime": _iso(status_.start_time),
        "completionTime": _iso(status_.completion_time),
        "sizeBytes": status_.size_bytes,
        "size": status_.size,
        "sourceBytes": status_.source_bytes,
        "files": status_.files,
        "checksum": status_.checksum,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None
