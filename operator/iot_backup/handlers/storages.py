"""BackupStorage: looked at by probe Jobs; its status is what the newest one found."""

from __future__ import annotations

import base64
import secrets
from datetime import timedelta
from typing import TYPE_CHECKING

from iot_backup.api.backupstorage import BackupStorage
from iot_backup.cluster import resources
from iot_backup.cluster.client import AlreadyExistsError, Json, RejectedError
from iot_backup.core import jobs, naming, orders, placement, probes, storage_status, templates
from iot_backup.core.identity import Identity
from iot_backup.core.pods import Trouble
from iot_backup.core.results import Expected
from iot_backup.errors import InvalidSpec
from iot_backup.handlers.context import Context, soonest
from iot_backup.handlers.judging import judge

if TYPE_CHECKING:
    from iot_backup.core.probes import Look, Start
    from iot_backup.handlers.queue import Key

_RECHECK = timedelta(seconds=15)


async def reconcile(ctx: Context, key: Key) -> timedelta | None:
    """Start, judge and clear away probes; write what they found."""
    body = ctx.cache.get(resources.BACKUP_STORAGES, key.namespace, key.name)
    if body is None or "deletionTimestamp" in body["metadata"]:
        return None
    try:
        storage = BackupStorage.from_body(body)
    except InvalidSpec as error:
        generation = body["metadata"].get("generation", 0)
        wanted = storage_status.invalid(body.get("status") or {}, generation, Trouble("InvalidSpec", error.message), ctx.now())
        await ctx.set_status(resources.BACKUP_STORAGES, body, wanted, "Ready")
        return None
    looks = await _looks(ctx, storage)
    plan = probes.plan(storage, looks, ctx.clock())
    for name in plan.remove:
        await _remove(ctx, storage.namespace, name)
    affinity = await _placed(ctx, storage)
    problem = affinity if isinstance(affinity, Trouble) else None
    if plan.start and not isinstance(affinity, Trouble):
        problem = await _start(ctx, storage, plan.start, affinity)
    looks = await _looks(ctx, storage)
    last = probes.newest(looks)
    wanted = storage_status.status(storage, body.get("status") or {}, last, problem, ctx.now())
    await ctx.set_status(resources.BACKUP_STORAGES, body, wanted, "Ready")
    return soonest(plan.wait, last.verdict.recheck if last else None, _RECHECK if problem else None)


async def _looks(ctx: Context, storage: BackupStorage) -> list[Look]:
    """The storage's probe Jobs, judged."""
    expected = Expected("probe", storage.namespace, BackupStorage.KIND, storage.name, ctx.settings.worker_image)

    def mine(job: Json) -> bool:
        owners = job["metadata"].get("ownerReferences") or ()
        return any(o.get("uid") == storage.metadata.uid for o in owners) and "deletionTimestamp" not in job["metadata"]

    found: list[Look] = []
    for job in ctx.cache.select(resources.JOBS, storage.namespace, mine):
        verdict = await judge(ctx, job, expected, failure_is_final=True, start_deadline=jobs.PROBE_TIMEOUT)
        report = verdict.report
        found.append(probes.look(job, verdict, good=storage_status.good(report.probe if report else None)))
    return found


async def _placed(ctx: Context, storage: BackupStorage) -> Json | Trouble | None:
    """Affinity of the probe's pod: only a volume store binds it to a node."""
    volume = storage.spec.volume
    if volume is None:
        return None
    name = volume.claim_name
    claim = ctx.cache.get(resources.CLAIMS, storage.namespace, name) or await ctx.client.get(resources.CLAIMS, storage.namespace, name)
    if claim is None:
        return Trouble(
            "StoreClaimMissing", f"PersistentVolumeClaim {name} is not in this namespace; create it, or correct spec.volume.claimName"
        )
    return placement.decide([placement.claim(claim, await ctx.client.list(resources.PODS, storage.namespace))])


async def _start(ctx: Context, storage: BackupStorage, start: Start, affinity: Json | None) -> Trouble | None:
    """The writer key, then the probe. What the server refuses is the storage's trouble."""
    # A new volume belongs to root: the kubelet hands it to the store's group. A run must not ask for that, it mounts a source too.
    group = storage.spec.volume.group if storage.spec.volume else None
    who = Identity(fs_group=group).joining(*([] if group is None else [group]))
    plan = templates.Plan(orders.probe(storage), BackupStorage.KIND, storage.name, ctx.image, who, affinity=affinity)
    owner = jobs.Owner(BackupStorage.KIND, storage.name, storage.metadata.uid)
    job = jobs.job(
        start.name,
        storage.namespace,
        owner=owner,
        plan=plan,
        timeout=jobs.PROBE_TIMEOUT,
        backoff_limit=0,
        annotations={probes.PROBE: start.annotation},
    )
    try:
        await _writer_key(ctx, storage)
        await ctx.create(resources.JOBS, job)
    except AlreadyExistsError:
        await ctx.job(storage.namespace, start.name)
    except RejectedError as error:
        return Trouble("ProbeRejected", f"the API server refuses the probe: {error.message}")
    return None


async def _writer_key(ctx: Context, storage: BackupStorage) -> None:
    """Created once and never read. No owner: the key must outlive the object, or the repository would not know its writer again."""
    name = naming.writer_key(storage.name)
    labels = {k: v for k, v in templates.labels("probe", BackupStorage.KIND, storage.name).items() if k.startswith("app.")}
    try:
        await ctx.client.create(
            resources.SECRETS,
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": name, "namespace": storage.namespace, "labels": labels},
                "type": "Opaque",
                "immutable": True,
                "data": {"key": base64.b64encode(secrets.token_bytes(32)).decode()},
            },
        )
    except AlreadyExistsError:
        return


async def _remove(ctx: Context, namespace: str, name: str) -> None:
    job = ctx.cache.get(resources.JOBS, namespace, name)
    if job is not None:
        await ctx.client.delete(resources.JOBS, namespace, name, job["metadata"]["uid"])
        ctx.cache.drop(resources.JOBS, job)
