"""BackupJob: its CronJobs, its run-now annotation, and what its runs say about it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from iot_backup import vocabulary
from iot_backup.api.backup import Backup
from iot_backup.api.backupjob import BackupJob
from iot_backup.cluster import resources
from iot_backup.cluster.client import AlreadyExistsError, Json, RejectedError
from iot_backup.core import admission, backupjob_status, cronjobs, identity, naming, orders, storage_status, templates
from iot_backup.core.events import Event
from iot_backup.core.pods import Trouble
from iot_backup.errors import InvalidSpec
from iot_backup.handlers import surroundings
from iot_backup.handlers.queue import Key

if TYPE_CHECKING:
    from iot_backup.core.admission import Admitted, Surroundings
    from iot_backup.core.cronjobs import Slot
    from iot_backup.handlers.context import Context

_RECHECK = timedelta(seconds=30)


async def reconcile(ctx: Context, key: Key) -> timedelta | None:
    """Put the CronJobs in place, start what was asked for, write the status."""
    body = ctx.cache.get(resources.BACKUP_JOBS, key.namespace, key.name)
    if body is None:
        ctx.metrics.job_gone(key.namespace, key.name)
        return None
    if "deletionTimestamp" in body["metadata"]:
        return None
    current: Json = body.get("status") or {}
    try:
        job = BackupJob.from_body(body)
    except InvalidSpec as error:
        generation = body["metadata"].get("generation", 0)
        wanted = storage_status.invalid(current, generation, Trouble("InvalidSpec", error.message), ctx.now())
        await ctx.set_status(resources.BACKUP_JOBS, body, wanted, "Ready")
        return None
    ctx.metrics.job_seen(job.namespace, job.name)
    asked = await _run_requested(ctx, job)
    problem = await _in_place(ctx, job)
    backups = backups_of(ctx, job.namespace, job.name)
    wanted = backupjob_status.status(job, {**current, **asked}, problem, backups, ctx.clock())
    await ctx.set_status(resources.BACKUP_JOBS, body, wanted, "Ready")
    _gauges(ctx, job, backups)
    return _again(ctx, job, problem)


def backups_of(ctx: Context, namespace: str, job: str) -> list[Backup]:
    """The job's Backups; those that cannot be read say so themselves."""
    found: list[Backup] = []
    for body in ctx.cache.select(resources.BACKUPS, namespace, lambda b: b.get("spec", {}).get("jobRef", {}).get("name") == job):
        try:
            found.append(Backup.from_body(body))
        except InvalidSpec:
            continue
    return found


async def _run_requested(ctx: Context, job: BackupJob) -> Json:
    """A Backup for a new value of the annotation; the echo, for status."""
    value = job.metadata.annotations.get(vocabulary.RUN_REQUESTED_AT)
    if not value or value == job.status.last_handled_run_request:
        return {}
    name = naming.requested_backup(job.name, job.metadata.uid, value)
    metadata = {"name": name, "namespace": job.namespace}
    try:
        await ctx.create(
            resources.BACKUPS,
            {"apiVersion": vocabulary.API_VERSION, "kind": Backup.KIND, "metadata": metadata, "spec": {"jobRef": {"name": job.name}}},
        )
    except AlreadyExistsError:
        return {"lastHandledRunRequest": value[:1024]}
    await ctx.enqueue(Key(Backup.KIND, job.namespace, name))
    return {"lastHandledRunRequest": value[:1024]}


async def _in_place(ctx: Context, job: BackupJob) -> Trouble | None:
    """CronJobs as the schedules say, none beside them; or what stands in the way. Those in place stay while it does."""
    existing = {c["metadata"]["name"]: c for c in surroundings.cron_jobs(ctx, job.namespace, job.metadata.uid)}
    slots = cronjobs.slots(job)
    for name in existing.keys() - {naming.cron_job(job.name, slot.name) for slot in slots}:
        await ctx.client.delete(resources.CRON_JOBS, job.namespace, name, existing[name]["metadata"]["uid"])
    found = surroundings.storage(ctx, job.namespace, job.spec.storage_ref.name)
    around = await surroundings.gather(ctx, job.namespace, found, job.spec.worker, job.spec.source.volume.claim_name)
    admitted = admission.check_schedules(job) or admission.admit_backup(
        job, around, remembered=surroundings.remembered(ctx, job), for_a_run=False
    )
    if isinstance(admitted, Trouble):
        await _suspend_root(ctx, job, admitted, existing)
        return admitted
    for slot in slots:
        wanted = _cron_job(ctx, job, slot, admitted, around)
        if problem := await _apply(ctx, job, wanted, existing.get(wanted["metadata"]["name"])):
            return problem
    return None


async def _apply(ctx: Context, job: BackupJob, wanted: Json, seen: Json | None) -> Trouble | None:
    """The CronJob as wanted; one of that name which belongs to somebody else is left alone."""
    if cronjobs.in_place(wanted, seen):
        return None
    name = wanted["metadata"]["name"]
    known = seen or await ctx.client.get(resources.CRON_JOBS, job.namespace, name)
    if known is not None and not any(o.get("uid") == job.metadata.uid for o in known["metadata"].get("ownerReferences") or ()):
        return Trouble("CronJobNameTaken", f"CronJob {name} is there already and belongs to somebody else; rename one of the two")
    try:
        applied = await ctx.client.apply(resources.CRON_JOBS, wanted)
    except RejectedError as error:
        return Trouble("CronJobRejected", f"the API server refuses CronJob {name}: {error.message}")
    ctx.cache.put(resources.CRON_JOBS, applied)
    return None


def _cron_job(ctx: Context, job: BackupJob, slot: Slot, admitted: Admitted, around: Surroundings) -> Json:
    assert around.storage is not None, "admitted, so there is a storage"
    trusted = orders.trust(around.storage)
    assert trusted is not None, "admitted, so the repository is pinned"
    # Without a floor: it would rewrite the CronJob after each run (docs/architecture.md).
    order = orders.backup(job, around.storage, trusted, type_=slot.type, schedule=slot.name)
    plan = templates.Plan(order, BackupJob.KIND, job.name, ctx.image, admitted.identity, job.spec.worker, admitted.affinity)
    users = identity.users_of(around.pods, order.claim)
    seen = identity.resolve(identity.Wish(), users, order.claim, root_allowed=False) if users else None
    workload = seen if isinstance(seen, identity.Identity) else surroundings.remembered(ctx, job)
    return cronjobs.cron_job(job, slot, plan, workload)


async def _suspend_root(ctx: Context, job: BackupJob, problem: Trouble, existing: dict[str, Json]) -> None:
    """A namespace that lost its permission for root workers runs none any more, also not from CronJobs made before."""
    if problem.reason != "RootNotAllowed":
        return
    for name, body in existing.items():
        if not body.get("spec", {}).get("suspend"):
            await ctx.client.patch(resources.CRON_JOBS, job.namespace, name, {"spec": {"suspend": True}})
            await ctx.tell(body, Event("CronJobSuspended", problem.message, "Warning"))


def _gauges(ctx: Context, job: BackupJob, backups: list[Backup]) -> None:
    good = [b for b in backups if b.status.phase == "Completed" and b.status.completion_time]
    last = max(good, key=lambda b: b.status.completion_time.timestamp() if b.status.completion_time else 0.0, default=None)
    if last and last.status.completion_time:
        ctx.metrics.last_backup(
            job.namespace, job.name, size=last.status.size_bytes or 0, timestamp=last.status.completion_time.timestamp()
        )


def _again(ctx: Context, job: BackupJob, problem: Trouble | None) -> timedelta | None:
    """When the next run is due its time in status is stale; what is missing may have come."""
    if problem and problem.reason not in admission.PERMANENT:
        return _RECHECK
    now = ctx.clock()
    upcoming = None if problem else backupjob_status.next_run(job, now)
    return upcoming - now + timedelta(seconds=1) if upcoming else None
