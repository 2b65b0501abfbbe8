"""Gathers what a run meets in its namespace; asks the API server only for what the decision needs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iot_backup.api.backupjob import BackupJob
from iot_backup.api.backupstorage import BackupStorage
from iot_backup.cluster import resources
from iot_backup.core import cronjobs
from iot_backup.core.admission import Surroundings
from iot_backup.errors import InvalidSpec

if TYPE_CHECKING:
    from iot_backup.api.workload import Worker
    from iot_backup.cluster.client import Json
    from iot_backup.core.identity import Identity
    from iot_backup.handlers.context import Context


def storage(ctx: Context, namespace: str, name: str) -> BackupStorage | None:
    """The BackupStorage, None if it is not there or cannot be read (which its own status says)."""
    body = ctx.cache.get(resources.BACKUP_STORAGES, namespace, name)
    try:
        return BackupStorage.from_body(body) if body else None
    except InvalidSpec:
        return None


def backup_job(ctx: Context, namespace: str, name: str) -> BackupJob | None:
    """The BackupJob, None if it is not there or cannot be read."""
    body = ctx.cache.get(resources.BACKUP_JOBS, namespace, name)
    try:
        return BackupJob.from_body(body) if body else None
    except InvalidSpec:
        return None


def cron_jobs(ctx: Context, namespace: str, job_uid: str) -> list[Json]:
    """The CronJobs this BackupJob owns."""

    def owned(body: Json) -> bool:
        return any(o.get("uid") == job_uid for o in body["metadata"].get("ownerReferences") or ())

    return ctx.cache.select(resources.CRON_JOBS, namespace, owned)


def remembered(ctx: Context, job: BackupJob) -> Identity | None:
    """The workload's identity as it was last seen."""
    return cronjobs.remembered(cron_jobs(ctx, job.namespace, job.metadata.uid))


async def gather(ctx: Context, namespace: str, found: BackupStorage | None, worker: Worker, claim: str) -> Surroundings:
    """For a worker on this claim. Namespace and volumes are read only where the answer can depend on them."""
    names = [claim, *([found.spec.volume.claim_name] if found and found.spec.volume else [])]
    claims = {name: body for name in names if (body := await _claim(ctx, namespace, name)) is not None}
    volumes: dict[str, Json] = {}
    # Volumes belong to no namespace: with a Role they cannot be read, and the scheduler has the last word anyway.
    if len(claims) > 1 and not ctx.settings.watch_namespaces:
        for name, body in claims.items():
            bound = body.get("spec", {}).get("volumeName")
            volume = await ctx.client.get(resources.VOLUMES, None, bound) if bound else None
            if volume is not None:
                volumes[name] = volume
    around = await ctx.client.get(resources.NAMESPACES, None, namespace) if worker.identity == "Root" else None
    pods = await ctx.client.list(resources.PODS, namespace) if claim in claims else []
    return Surroundings(found, around or {}, claims, volumes, pods)


async def _claim(ctx: Context, namespace: str, name: str) -> Json | None:
    """As it was seen, else as the server has it."""
    return ctx.cache.get(resources.CLAIMS, namespace, name) or await ctx.client.get(resources.CLAIMS, namespace, name)
