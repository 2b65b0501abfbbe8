"""Gathers what a run meets in its namespace; asks the API server only for what the decision needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from iot_backup.api.backup import Backup
from iot_backup.api.backupjob import BackupJob
from iot_backup.api.backupstorage import BackupStorage
from iot_backup.api.resource import Resource
from iot_backup.cluster import resources
from iot_backup.core import cronjobs, floors, orders
from iot_backup.core.admission import Surroundings
from iot_backup.core.floors import Chain
from iot_backup.errors import InvalidSpec

if TYPE_CHECKING:
    from iot_backup.api.workload import Worker
    from iot_backup.cluster.client import Json
    from iot_backup.core.identity import Identity
    from iot_backup.core.spec import Floor
    from iot_backup.handlers.context import Context

M = TypeVar("M", bound=Resource)


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


def backups(ctx: Context, namespace: str) -> list[Backup]:
    """All Backups of the namespace; those that cannot be read say so themselves."""
    return _readable(Backup, ctx.cache.select(resources.BACKUPS, namespace))


def backup_jobs(ctx: Context, namespace: str) -> list[BackupJob]:
    """All BackupJobs of the namespace that can be read."""
    return _readable(BackupJob, ctx.cache.select(resources.BACKUP_JOBS, namespace))


def floor(ctx: Context, storage: BackupStorage, chain: str) -> Floor | None:
    """What a store must still show of the chain, by all that this namespace remembers."""
    trusted = orders.trust(storage)
    if trusted is None:
        return None
    return floors.floor(Chain(trusted.repository_id, chain), backups(ctx, storage.namespace), backup_jobs(ctx, storage.namespace))


def _readable(model: type[M], bodies: list[Json]) -> list[M]:
    found: list[M] = []
    for body in bodies:
        try:
            found.append(model.from_body(body))
        except InvalidSpec:
            continue
    return found


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
