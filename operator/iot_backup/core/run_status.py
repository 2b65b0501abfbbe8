"""What a Backup and a RestoreJob say about the run they stand for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from iot_backup import vocabulary
from iot_backup.core.conditions import Condition, Json, merged, reconciling, stalled
from iot_backup.units import format_size

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from iot_backup.api.backupjob import BackupJob
    from iot_backup.core.pods import Trouble
    from iot_backup.core.report import BackupResult, PlanResult, Report, RestoreResult, Warn
    from iot_backup.core.runs import Verdict

Origin = Literal["Scheduled", "Manual"]
WARNINGS = 8
"""Kinds of warnings that a status holds."""


@dataclass(frozen=True)
class Stored:
    """A committed member, and what we know of it besides its report."""

    result: BackupResult
    repository_id: str
    """Where it lies."""
    warnings: tuple[Warn, ...] = ()


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


def backed_up(current: Json, generation: int, verdict: Verdict, stored: Stored, job: BackupJob | None, *, job_name: str, now: str) -> Json:
    """A run that stored an archive. Partial ones succeed only where the BackupJob allows it; the archive is named in any case."""
    assert verdict.report is not None, "a result comes in a report"
    result = stored.result
    told = _warnings([*stored.warnings, *verdict.report.warnings][:WARNINGS])
    fields = {**_of_verdict(current, verdict, job_name), **_of_backup(stored), **told, "failure": None}
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
        "kept": result.kept,
        "deleted": result.deleted,
        "failure": None,
        "resolved": {**_resolved(current, result), "checksum": result.checksum},
    }
    beside = [f"{_count(n, 'path')} {what}" for n, what in ((result.kept, "kept"), (result.deleted, "deleted")) if n]
    message = ", ".join([_count(result.files, "file"), format_size(result.bytes), *beside, f"from archive {result.archive}"])
    return _status(fields, generation, "Completed", Condition("Succeeded", True, "Completed", message), now)


def planned(current: Json, generation: int, verdict: Verdict, result: PlanResult, *, job_name: str, now: str) -> Json:
    """A run that said what a restore would do. Where that could not be done the plan has failed, with the reason a restore would have."""
    assert verdict.report is not None, "a result comes in a report"
    fields = {
        **_of_verdict(current, verdict, job_name),
        **_warnings(verdict.report.warnings),
        "completionTime": verdict.ended,
        "plan": {
            **result.model_dump(by_alias=True, mode="json", exclude={"archive", "chain", "snapshot_time"}),
            "size": format_size(result.bytes),
        },
        "failure": None,
        "resolved": _resolved(current, result),
    }
    succeeded = _plan_condition(result)
    if not succeeded.status:
        fields["failure"] = {"class": succeeded.reason, "message": succeeded.message}
    return _status(fields, generation, "Completed" if succeeded.status else "Failed", succeeded, now)


def origin(job: Mapping[str, Any]) -> Origin:
    """Scheduled: a CronJob's controller made it; `kubectl create job --from` and we make Manual ones."""
    metadata = job["metadata"]
    from_cron = any(o.get("kind") == "CronJob" for o in metadata.get("ownerReferences") or ())
    by_hand = (metadata.get("annotations") or {}).get("cronjob.kubernetes.io/instantiate") == "manual"
    return "Scheduled" if from_cron and not by_hand else "Manual"


def _backup_condition(result: BackupResult, report: Report, *, allow_partial: bool) -> Condition:
    sizes = f"{format_size(result.size_bytes)} from {_count(result.files, 'file')} of {format_size(result.source_bytes)}"
    stored = f"{sizes}, archive {result.archive}" + (f", {result.type} on {result.parent}" if result.parent else "")
    if result.partial:
        missing = {vocabulary.FILES_UNREADABLE, vocabulary.FILES_DAMAGED, vocabulary.FILES_INCOMPLETE}
        unread = "; ".join(w.message for w in report.warnings if w.reason in missing) or "some files could not be read"
        advice = "" if allow_partial else "; give the worker the right to read them, or set allowPartial: true"
        return Condition("Succeeded", allow_partial, "PartialBackup", f"{stored}; {unread}{advice}")
    if result.inconsistent_source:
        sentence = "the source is the data folder of a running PostgreSQL; such a copy may not start: stop the database first"
        return Condition("Succeeded", True, "InconsistentSource", f"{stored}; {sentence}")
    return Condition("Succeeded", True, "Completed", stored)


def _plan_condition(result: PlanResult) -> Condition:
    if result.missing:
        gone = ", ".join(result.missing)
        text = (
            f"a restore is not possible: of {_count(result.members, 'backup')} that it needs {gone} cannot be used; choose an older backup"
        )
        return Condition("Succeeded", False, "ChainBroken", text)
    room = f"needs {format_size(result.space_needed)} of {format_size(result.space_free)} free"
    if result.space_needed > result.space_free:
        return Condition("Succeeded", False, "TargetFull", f"a restore is not possible: it {room}; use a larger claim")
    paths = f"{result.add} new, {result.change} changed, {result.same} the same, {result.keep} kept, {result.delete} deleted"
    reads = f"reads {format_size(result.read_bytes)} from {_count(result.members, 'backup')}, about {result.seconds} s"
    whole = f"would restore {_count(result.files, 'file')}, {format_size(result.bytes)}"
    return Condition("Succeeded", True, "Planned", f"{whole}; paths: {paths}; {reads}; {room}")


def _resolved(current: Json, result: RestoreResult | PlanResult) -> Json:
    found = {"archive": result.archive, "chain": result.chain, "snapshotTime": _iso(result.snapshot_time)}
    return {**(current.get("resolved") or {}), **found}


def _of_verdict(current: Json, verdict: Verdict, job_name: str) -> Json:
    return {**current, "jobName": job_name, "attempts": verdict.attempts, "startTime": current.get("startTime") or verdict.started}


def _of_backup(stored: Stored) -> Json:
    result = stored.result
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
        "seq": result.seq,
        "manifestSha256": result.manifest_sha256,
        # Nobody counts what a stranger wrote: it must not be remembered as something the store has to show.
        "repositoryId": stored.repository_id if result.writer_admitted else None,
        "sourceOwner": {"uid": result.owner_uid, "gid": result.owner_gid},
    }


def _warnings(warnings: Sequence[Warn]) -> Json:
    if not warnings:
        return {"warnings": 0, "warningMessages": None}
    told = [f"{w.reason}: {w.message}" for w in warnings]
    return {"warnings": sum(w.count for w in warnings), "warningMessages": told}


def _failure(verdict: Verdict) -> Json | None:
    """The last attempt's failure, also while another attempt may follow. A pod that is not ours may have ended with 0."""
    if verdict.reason in {"Running", "Starting", "Cancelling", "Cancelled"}:
        return None
    code = verdict.exit_code
    return {
        "class": verdict.reason,
        "message": verdict.message,
        **({"exitCode": code} if code is not None and 0 < code <= 255 else {}),
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
