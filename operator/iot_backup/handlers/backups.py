"""Backup: starts the run of one made by hand, and says of each what came of it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from iot_backup.api.backup import Backup
from iot_backup.api.backupjob import BackupJob
from iot_backup.cluster import resources
from iot_backup.core import admission, floors, jobs, naming, orders, results, run_status, runs, templates
from iot_backup.core.events import Event
from iot_backup.core.pods import Trouble
from iot_backup.core.report import Warn
from iot_backup.core.results import Expected
from iot_backup.core.run_status import Stored
from iot_backup.core.spec import BackupOrder
from iot_backup.handlers import adopting, pending, surroundings
from iot_backup.handlers.judging import judge
from iot_backup.handlers.queue import Key

if TYPE_CHECKING:
    from iot_backup.api.backupstorage import BackupStorage
    from iot_backup.cluster.client import Json
    from iot_backup.core.admission import Admitted
    from iot_backup.core.runs import Verdict
    from iot_backup.handlers.context import Context

DEFAULT_START_DEADLINE = timedelta(minutes=10)
"""Where there is no BackupJob to say another."""


async def reconcile(ctx: Context, key: Key) -> timedelta | None:
    """Start it if it was made by hand and may start; follow its Job; nothing once it has ended."""
    body = ctx.cache.get(resources.BACKUPS, key.namespace, key.name)
    if body is None or "deletionTimestamp" in body["metadata"]:
        return None
    backup = await pending.decoded(ctx, resources.BACKUPS, body, Backup)
    if backup is None:
        return None
    if backup.status.phase in runs.FINAL:
        return await pending.note_generation(ctx, resources.BACKUPS, body)
    job = surroundings.backup_job(ctx, key.namespace, backup.spec.job_ref.name)
    found = await _job_of(ctx, backup)
    if found is not None:
        return await _follow(ctx, body, backup, job, found)
    if backup.spec.run or backup.status.job_name:
        name = backup.spec.run.job_name if backup.spec.run else backup.status.job_name
        gone = Trouble("JobDeleted", f"Job {name} was deleted before it ended; the store may hold its archive, this object does not know")
        return await pending.refuse(ctx, resources.BACKUPS, body, gone)
    return await _start(ctx, body, backup, job)


async def _job_of(ctx: Context, backup: Backup) -> Json | None:
    """The Job this Backup records or started."""
    if backup.spec.run:
        job = await ctx.job(backup.namespace, backup.spec.run.job_name)
        return job if job and job["metadata"]["uid"] == backup.spec.run.job_uid else None
    for name in (backup.status.job_name or naming.job_of(backup.name), naming.job_beside(backup.name, backup.metadata.uid)):
        seen = ctx.cache.get(resources.JOBS, backup.namespace, name)
        job = seen or (await ctx.job(backup.namespace, name) if backup.status.job_name == name else None)
        if job and pending.owned(job, backup.metadata.uid):
            return job
    return None


async def _follow(ctx: Context, body: Json, backup: Backup, job: BackupJob | None, found: Json) -> timedelta | None:
    """Judge the Job and write what it came to."""
    deadline = job.spec.start_deadline if job else DEFAULT_START_DEADLINE
    wanted_job = adopting.expected(ctx, job) if job else None
    verdict = await judge(ctx, found, wanted_job or _own(ctx, backup), cancel=backup.spec.cancel, start_deadline=deadline)
    stored = _stored(ctx, body, verdict, found)
    wanted = _status(ctx, body, verdict, stored, job, found)
    wanted["origin"] = run_status.origin(found)
    if job:
        wanted["storageRef"] = wanted.get("storageRef") or {"name": job.spec.storage_ref.name}
    written = await ctx.set_status(resources.BACKUPS, body, wanted, "Succeeded")
    if written and wanted["phase"] in runs.FINAL:
        _count(ctx, backup, wanted, verdict)
        for warning in stored.warnings if stored else ():
            await ctx.tell(body, Event(warning.reason, warning.message, "Warning"))
    if verdict.give_up:
        await ctx.end_job(found)
    return verdict.recheck


def _own(ctx: Context, backup: Backup) -> Expected:
    """Where the BackupJob is gone its name is all there is to compare."""
    return Expected("backup", backup.namespace, BackupJob.KIND, backup.spec.job_ref.name, ctx.settings.worker_image)


def _status(ctx: Context, body: Json, verdict: Verdict, stored: Stored | None, job: BackupJob | None, found: Json) -> Json:
    current, generation, name = body.get("status") or {}, body["metadata"].get("generation", 0), found["metadata"]["name"]
    if not verdict.final:
        return run_status.running(current, generation, verdict, name, ctx.now())
    if stored:
        return run_status.backed_up(current, generation, verdict, stored, job, job_name=name, now=ctx.now())
    return run_status.failed(current, generation, pending.without_result(verdict), name, ctx.now())


def _stored(ctx: Context, body: Json, verdict: Verdict, found: Json) -> Stored | None:
    """What the run committed, if it did, with the repository its order named, and whether the store showed it what we remember."""
    result = verdict.report.backup if verdict.report and verdict.phase == "Completed" else None
    order = results.order_of(found)
    if result is None or not isinstance(order, BackupOrder):
        return None
    namespace, repository_id = body["metadata"]["namespace"], order.trust.repository_id
    hidden = floors.hidden_from(result, repository_id, surroundings.backups(ctx, namespace), surroundings.backup_jobs(ctx, namespace))
    return Stored(result, repository_id, (Warn(reason="RolledBack", message=hidden),) if hidden else ())


def _count(ctx: Context, backup: Backup, status: Json, verdict: Verdict) -> None:
    result = verdict.report.backup if verdict.report else None
    seconds = (result.completion_time - result.start_time).total_seconds() if result and status["phase"] == "Completed" else None
    ctx.count_run(backup.namespace, backup.spec.job_ref.name, failed=status["phase"] == "Failed", seconds=seconds)


async def _start(ctx: Context, body: Json, backup: Backup, job: BackupJob | None) -> timedelta | None:
    deadline = job.spec.start_deadline if job else DEFAULT_START_DEADLINE
    if backup.spec.cancel:
        return await pending.refuse(ctx, resources.BACKUPS, body, pending.CANCELLED)
    if job is None:
        missing = Trouble("JobMissing", f"BackupJob {backup.spec.job_ref.name} is not in this namespace; create it, or correct spec.jobRef")
        return await pending.hold(ctx, resources.BACKUPS, body, missing, deadline)
    # One at a time for a job: what the other one started must be seen before the next asks.
    async with ctx.starting[Key(BackupJob.KIND, job.namespace, job.name)]:
        problem = await _another(ctx, backup, job) or await _create(ctx, backup, job)
    if isinstance(problem, Trouble):
        return await pending.hold(ctx, resources.BACKUPS, body, problem, deadline)
    return await _follow(ctx, body, backup, job, problem)


async def _another(ctx: Context, backup: Backup, job: BackupJob) -> Trouble | None:
    """concurrencyPolicy for runs made by hand; the CronJob controller knows its own only."""
    if job.spec.concurrency_policy == "Allow":
        return None
    active = [
        j
        for j in ctx.cache.select(resources.JOBS, job.namespace, lambda j: _active(ctx, j, job.name))
        if not pending.owned(j, backup.metadata.uid)
    ]
    if not active:
        return None
    if job.spec.concurrency_policy == "Replace":
        for other in active:
            await ctx.end_job(other, replaced_by=backup.name)
    names = ", ".join(j["metadata"]["name"] for j in active)
    return Trouble("AnotherRunActive", f"waiting for {names} to end (concurrencyPolicy: {job.spec.concurrency_policy})")


def _active(ctx: Context, job: Json, backup_job: str) -> bool:
    """A run of the job that has not ended: success counts from the pod's end."""
    labels = job["metadata"].get("labels") or {}
    wanted = templates.labels("backup", BackupJob.KIND, backup_job)
    if any(labels.get(key) != value for key, value in wanted.items()) or runs.job_finished(job):
        return False
    record = adopting.backup_of(ctx, job)
    return record is None or (record.get("status") or {}).get("phase") not in runs.FINAL


async def _create(ctx: Context, backup: Backup, job: BackupJob) -> Json | Trouble:
    """The Job of this Backup; one that exists already is taken if it is ours."""
    storage = surroundings.storage(ctx, job.namespace, job.spec.storage_ref.name)
    around = await surroundings.gather(ctx, job.namespace, storage, job.spec.worker, job.spec.source.volume.claim_name)
    admitted = admission.admit_backup(job, around, remembered=surroundings.remembered(ctx, job), for_a_run=True)
    if isinstance(admitted, Trouble):
        return admitted
    assert storage is not None, "admitted, so there is a storage"
    plan = _plan(ctx, backup, job, admitted, storage)
    owner = jobs.Owner(Backup.KIND, backup.name, backup.metadata.uid)
    for name in (naming.job_of(backup.name), naming.job_beside(backup.name, backup.metadata.uid)):
        made = await pending.create_job(
            ctx, jobs.job(name, job.namespace, owner=owner, plan=plan, timeout=job.spec.timeout, backoff_limit=job.spec.backoff_limit)
        )
        if made is not None:
            return made
    return Trouble(
        "JobNameTaken", f"Jobs named {naming.job_of(backup.name)} exist already and belong to others; give the Backup another name"
    )


def _plan(ctx: Context, backup: Backup, job: BackupJob, admitted: Admitted, storage: BackupStorage) -> templates.Plan:
    trusted = orders.trust(storage)
    assert trusted is not None, "admitted, so the repository is pinned"
    floor = None if backup.spec.accept_newest else surroundings.floor(ctx, storage, job.chain)
    order = orders.backup(job, storage, trusted, type_=backup.spec.type, floor=floor)
    return templates.Plan(order, BackupJob.KIND, job.name, ctx.image, admitted.identity, job.spec.worker, admitted.affinity)
