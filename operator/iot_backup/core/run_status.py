"""What a Backup and a RestoreJob say about the run they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from iot_backup import vocabulary
from iot_backup.core.conditions import Condition, Json, merged, reconciling, stalled
from iot_backup.units import format_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from iot_backup.api.backupjob import BackupJob
    from iot_backup.core.pods import Trouble
    from iot_backup.core.report import BackupResult, Report, RestoreResult, Warn
    from iot_backup.core.runs import Verdict

Origin = Literal["Scheduled", "Manual"]


def waiting(current: Json, generation: int, problem: Trouble, now: str) -> Json:
    """Nothing was started yet, and why."""
    return _status(current, generation, "Pending", Condition("Succeeded", None, problem.reason, problem.message), now)


def refused(current: Json, generation: int, problem: Trouble, now: str) -> Json:
    """It ends before anything was started."""
    phase = "Cancelled" if problem.reason == "Cancelled" else "Failed"
    fields: Json = {**current, "completionTime": now}
    if phase == "Failed":
        fields["failure"] = {"class": problem.reason, "message": problem.message}
    return _status(fields, generation, phase, Condition("Succeeded", False, problem.reason, problem.message), now)


def running(current: Json, generation: int, verdict: Verdict, job_name: str, now: str) -> Json:
    """A run whose Job exists and whose end is not known."""
    fields = {**_of_verdict(current, verdict, job_name), "failure": _failure(verdict)}
    return _status(fields, generation, verdict.phase, Condition("Succeeded", None, verdict.reason, verdict.message), now)


def failed(current: Json, generation: int, verdict: Verdict, job_name: str, now: str) -> Json:
    """A run that ended without success: Failed or Cancelled."""
    fields = {**_of_verdict(current, verdict, job_name), "failure": _failure(verdict), "completionTime": verdict.ended or now}
    if verdict.phase == "Cancelled":
        fields["failure"] = None
    return _status(fields, generation, verdict.phase, Condition("Succeeded", False, verdict.reason, verdict.message), now)


def backed_up(
    current: Json, generation: int, verdict: Verdict, result: BackupResult, job: BackupJob | None, *, job_name: str, now: str
) -> Json:
    """A run that stored an archive. Partial ones succeed only where the BackupJob allows it; the archive is named in any case."""
    assert verdict.report is not None, "a result comes in a report"
    fields = {**_of_verdict(current, verdict, job_name), **_of_backup(result), **_warnings(verdict.report.warnings), "failure": None}
    succeeded = _backup_condition(result, verdict.report, allow_partial=job is not None and job.spec.allow_partial)
    if not succeeded.status:
        fields["failure"] = {"class": succeeded.reason, "message": succeeded.message}
    return _status(fields, generation, "Completed" if succeeded.status else "Failed", succeeded, now)


def restored(current: Json, generation: int, verdict: Verdict, result: RestoreResult, *, job_name: str, now: str) -> Json:
    """A run that wrote a tree."""
    assert verdict.report is not None, "a result comes in a report"
    fields = {
        **_of_verdict(current, verdict, job_name),
        **_warnings(verdict.report.warnings),
        "completionTime": verdict.ended,
        "filesRestored": result.files,
        "bytesRestored": result.bytes,
        "size": format_size(result.bytes),
        "failure": None,
        "resolved": {
            **(current.get("resolved") or {}),
            "archive": result.archive,
            "chain": result.chain,
            "snapshotTime": result.snapshot_time.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "checksum": result.checksum,
        },
    }
    message = f"{_count(result.files, 'file')}, {format_size(result.bytes)}, from archive {result.archive}"
    return _status(fields, generation, "Completed", Condition("Succeeded", True, "Completed", message), now)


def origin(job: Mapping[str, Any]) -> Origin:
    """Scheduled: a CronJob's controller made it; `kubectl create job --from` and we make Manual ones."""
    metadata = job["metadata"]
    from_cron = any(o.get("kind") == "CronJob" for o in metadata.get("ownerReferences") or ())
    by_hand = (metadata.get("annotations") or {}).get("cronjob.kubernetes.io/instantiate") == "manual"
    return "Scheduled" if from_cron and not by_hand else "Manual"


def _backup_condition(result: BackupResult, report: Report, *, allow_partial: bool) -> Condition:
    sizes = f"{format_size(result.size_bytes)} from {_count(result.files, 'file')} of {format_size(result.source_bytes)}"
    stored = f"{sizes}, archive {result.archive}"
    if result.partial:
        missing = {vocabulary.FILES_UNREADABLE, vocabulary.FILES_DAMAGED, vocabulary.FILES_INCOMPLETE}
        unread = "; ".join(w.message for w in report.warnings if w.reason in missing) or "some files could not be read"
        advice = "" if allow_partial else "; give the worker the right to read them, or set allowPartial: true"
        return Condition("Succeeded", allow_partial, "PartialBackup", f"{stored}; {unread}{advice}")
    if result.inconsistent_source:
        sentence = "the source is the data folder of a running PostgreSQL; such a copy may not start: stop the database first"
        return Condition("Succeeded", True, "InconsistentSource", f"{stored}; {sentence}")
    return Condition("Succeeded", True, "Completed", stored)


def _of_verdict(current: Json, verdict: Verdict, job_name: str) -> Json:
    return {**current, "jobName": job_name, "attempts": verdict.attempts, "startTime": current.get("startTime") or verdict.started}


def _of_backup(result: BackupResult) -> Json:
    return {
        "type": result.type,
        "startTime": _iso(result.start_time),
        "completionTime": _iso(result.completion_time),
        "snapshotTime": _iso(result.snapshot_time),
        "sizeBytes": result.size_bytes,
        "size": format_size(result.size_bytes),
        "sourceBytes": result.source_bytes,
        "files": result.files,
        "checksum": result.checksum,
        "archive": result.archive,
        "chain": result.chain,
        "parent": result.parent,
        "sourceOwner": {"uid": result.owner_uid, "gid": result.owner_gid},
    }


def _warnings(warnings: Sequence[Warn]) -> Json:
    if not warnings:
        return {"warnings": 0, "warningMessages": None}
    told = [f"{w.reason}: {w.message}" for w in warnings]
    return {"warnings": sum(w.count for w in warnings), "warningMessages": told}


def _failure(verdict: Verdict) -> Json | None:
    """The last attempt's failure, also while another attempt may follow."""
    if verdict.exit_code == 0 or verdict.reason in {"Running", "Starting", "Cancelling", "Cancelled"}:
        return None
    code = verdict.exit_code
    return {
        "class": verdict.reason,
        "message": verdict.message,
        **({"exitCode": code} if code is not None and 0 <= code <= 255 else {}),
    }


def _status(fields: Json, generation: int, phase: str, succeeded: Condition, now: str) -> Json:
    ready = Condition("Ready", succeeded.status, succeeded.reason, succeeded.message)
    extra = {
        None: [reconciling(succeeded.reason, succeeded.message)],
        False: [stalled(succeeded.reason, succeeded.message)],
        True: [],
    }[succeeded.status]
    return {
        **fields,
        "observedGeneration": generation,
        "phase": phase,
        "conditions": merged(fields.get("conditions") or (), [succeeded, ready, *extra], generation, now),
    }


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _iso(moment: Any) -> str:
    return str(moment.strftime("%Y-%m-%dT%H:%M:%SZ"))
