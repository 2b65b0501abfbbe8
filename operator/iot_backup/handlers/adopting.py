"""Every backup Job gets its Backup: those of CronJobs, those of `kubectl create job --from`, and those that ended while nobody looked."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iot_backup import vocabulary
from iot_backup.api.backup import Backup
from iot_backup.api.backupjob import BackupJob
from iot_backup.cluster import resources
from iot_backup.cluster.client import AlreadyExistsError, Json
from iot_backup.core import naming, orders, results
from iot_backup.core.results import Expected
from iot_backup.core.spec import BackupOrder
from iot_backup.handlers import surroundings
from iot_backup.handlers.judging import tell_foreign
from iot_backup.handlers.queue import Key

if TYPE_CHECKING:
    from datetime import timedelta

    from iot_backup.handlers.context import Context


def expected(ctx: Context, job: BackupJob) -> Expected:
    """What a backup Job of this BackupJob must be."""
    storage = surroundings.storage(ctx, job.namespace, job.spec.storage_ref.name)
    return Expected(
        "backup", job.namespace, BackupJob.KIND, job.name, ctx.settings.worker_image, orders.trust(storage) if storage else None
    )


def backup_of(ctx: Context, job: Json) -> Json | None:
    """The Backup that records this Job, or that asked for it."""
    metadata = job["metadata"]
    owners = {o.get("uid") for o in metadata.get("ownerReferences") or ()}

    def records(body: Json) -> bool:
        run = body.get("spec", {}).get("run")
        return bool(run.get("jobUID") == metadata["uid"] if run else body["metadata"]["uid"] in owners)

    return next(iter(ctx.cache.select(resources.BACKUPS, metadata["namespace"], records)), None)


async def reconcile(ctx: Context, key: Key) -> timedelta | None:
    """Make the Backup of a Job, once; a Job that is not what we build gets an Event instead."""
    job = ctx.cache.get(resources.JOBS, key.namespace, key.name)
    if job is None or "deletionTimestamp" in job["metadata"]:
        return None
    known = backup_of(ctx, job)
    if known is not None:
        await ctx.enqueue(Key(Backup.KIND, key.namespace, known["metadata"]["name"]))
        return None
    labels = job["metadata"].get("labels") or {}
    if any(o.get("kind") == Backup.KIND for o in job["metadata"].get("ownerReferences") or ()):
        return None
    backup_job = surroundings.backup_job(ctx, key.namespace, labels.get(vocabulary.OWNER_NAME, ""))
    if backup_job is None:
        return None
    why = results.foreign(job, expected(ctx, backup_job))
    if why is not None:
        await tell_foreign(ctx, ctx.cache.get(resources.BACKUP_JOBS, key.namespace, backup_job.name) or job, job, why)
        return None
    await _record(ctx, job, backup_job)
    return None


async def _record(ctx: Context, job: Json, backup_job: BackupJob) -> None:
    """Named as the Job; where a stranger has that name, with six digits more."""
    metadata = job["metadata"]
    order = results.order_of(job)
    spec = {
        "jobRef": {"name": backup_job.name},
        "type": order.type if isinstance(order, BackupOrder) else backup_job.spec.type,
        "run": {"jobName": metadata["name"], "jobUID": metadata["uid"]},
    }
    for name in (metadata["name"], naming.job_beside(metadata["name"], metadata["uid"])):
        body = {
            "apiVersion": vocabulary.API_VERSION,
            "kind": Backup.KIND,
            "metadata": {"name": name, "namespace": metadata["namespace"]},
            "spec": spec,
        }
        try:
            await ctx.create(resources.BACKUPS, body)
        except AlreadyExistsError:
            there = await ctx.client.get(resources.BACKUPS, metadata["namespace"], name)
            if there is None or there.get("spec", {}).get("run", {}).get("jobUID") != metadata["uid"]:
                continue
            ctx.cache.put(resources.BACKUPS, there)
        await ctx.enqueue(Key(Backup.KIND, metadata["namespace"], name))
        return
