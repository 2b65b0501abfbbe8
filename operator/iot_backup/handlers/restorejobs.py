"""RestoreJob: chooses its backup once, checks its target, runs once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iot_backup import vocabulary
from iot_backup.api.restorejob import Resolved, RestoreJob
from iot_backup.cluster import resources
from iot_backup.cluster.client import AlreadyExistsError, Json, RejectedError
from iot_backup.core import admission, jobs, naming, orders, restores, run_status, runs, templates
from iot_backup.core.admission import Surroundings
from iot_backup.core.pods import Trouble
from iot_backup.core.results import Expected
from iot_backup.handlers import pending, surroundings
from iot_backup.handlers.judging import judge
from iot_backup.handlers.queue import Key

if TYPE_CHECKING:
    from datetime import timedelta

    from iot_backup.api.backup import Backup
    from iot_backup.api.backupstorage import BackupStorage
    from iot_backup.core.identity import Identity
    from iot_backup.core.runs import Verdict
    from iot_backup.handlers.context import Context

RESTORED_BY = f"{vocabulary.GROUP}/restored-by"
"""On a claim made for a restore: uid of the RestoreJob."""


async def reconcile(ctx: Context, key: Key) -> timedelta | None:
    """Resolve, check, start once, follow; nothing once it has ended."""
    body = ctx.cache.get(resources.RESTORE_JOBS, key.namespace, key.name)
    if body is None or "deletionTimestamp" in body["metadata"]:
        return None
    restore = await pending.decoded(ctx, resources.RESTORE_JOBS, body, RestoreJob)
    if restore is None:
        return None
    if restore.status.phase in runs.FINAL:
        return await pending.note_generation(ctx, resources.RESTORE_JOBS, body)
    job = await _job_of(ctx, restore)
    if job is not None:
        return await _follow(ctx, body, restore, job)
    if restore.status.job_name:
        text = f"Job {restore.status.job_name} is gone, and what it did is not known; look at the target, then create another RestoreJob"
        return await pending.refuse(ctx, resources.RESTORE_JOBS, body, Trouble("JobDeleted", text))
    return await _start(ctx, body, restore)


async def _job_of(ctx: Context, restore: RestoreJob) -> Json | None:
    name = restore.status.job_name
    job = await ctx.job(restore.namespace, name) if name else None
    return job if job and pending.owned(job, restore.metadata.uid) else None


async def _follow(ctx: Context, body: Json, restore: RestoreJob, job: Json) -> timedelta | None:
    storage = _storage(ctx, restore)
    trust = orders.trust(storage) if storage else None
    expected = Expected("restore", restore.namespace, RestoreJob.KIND, restore.name, ctx.settings.worker_image, trust)
    verdict = await judge(ctx, job, expected, cancel=restore.spec.cancel, start_deadline=restore.spec.start_deadline)
    await ctx.set_status(resources.RESTORE_JOBS, body, _status(ctx, body, restore, verdict, job["metadata"]["name"]), "Succeeded")
    if verdict.give_up:
        await ctx.end_job(job)
    return verdict.recheck


def _status(ctx: Context, body: Json, restore: RestoreJob, verdict: Verdict, job_name: str) -> Json:
    current, generation = body.get("status") or {}, body["metadata"].get("generation", 0)
    if not verdict.final:
        return run_status.running(current, generation, verdict, job_name, ctx.now())
    report = verdict.report if verdict.phase == "Completed" else None
    if report and report.plan and restore.spec.mode == "Plan":
        return run_status.planned(current, generation, verdict, report.plan, job_name=job_name, now=ctx.now())
    if report and report.restore and restore.spec.mode == "Restore":
        return run_status.restored(current, generation, verdict, report.restore, job_name=job_name, now=ctx.now())
    return run_status.failed(current, generation, pending.without_result(verdict), job_name, ctx.now())


async def _start(ctx: Context, body: Json, restore: RestoreJob) -> timedelta | None:
    """Resolve and pin, check, note the Job's name, then create it: a name in status means that it was started."""
    if restore.spec.cancel:
        return await pending.refuse(ctx, resources.RESTORE_JOBS, body, pending.CANCELLED)
    backups = {b.name: b for b in surroundings.backups(ctx, restore.namespace)}
    resolved = restore.status.resolved or _resolve(ctx, restore, backups)
    if isinstance(resolved, Trouble):
        return await pending.hold(ctx, resources.RESTORE_JOBS, body, resolved, restore.spec.start_deadline)
    body = await _pin(ctx, body, restore, resolved)
    # One restore at a time into a claim: what the other one started must be seen before the next asks.
    async with ctx.starting[Key("PersistentVolumeClaim", restore.namespace, restore.spec.target.claim)]:
        made = await _create(ctx, body, restore, resolved, backups)
    if isinstance(made, Trouble):
        return await pending.hold(ctx, resources.RESTORE_JOBS, body, made, restore.spec.start_deadline)
    return await _follow(ctx, ctx.cache.get(resources.RESTORE_JOBS, restore.namespace, restore.name) or body, restore, made)


def _resolve(ctx: Context, restore: RestoreJob, backups: dict[str, Backup]) -> Resolved | Trouble:
    ref = restore.spec.backup_job_ref
    job = surroundings.backup_job(ctx, restore.namespace, ref.name) if ref else None
    chosen = restores.resolve(restore, backups, job)
    return chosen if isinstance(chosen, Trouble) else Resolved.model_validate(chosen)


async def _pin(ctx: Context, body: Json, restore: RestoreJob, resolved: Resolved) -> Json:
    """Write the choice down before anything follows from it."""
    current: Json = body.get("status") or {}
    chosen = resolved.model_dump(by_alias=True, exclude_none=True, mode="json")
    wanted = {**current, "resolved": current.get("resolved") or chosen, "target": restore.spec.target.claim, "phase": "Pending"}
    await ctx.set_status(resources.RESTORE_JOBS, body, wanted, "Succeeded")
    return ctx.cache.get(resources.RESTORE_JOBS, restore.namespace, restore.name) or body


async def _create(ctx: Context, body: Json, restore: RestoreJob, resolved: Resolved, backups: dict[str, Backup]) -> Json | Trouble:
    storage = surroundings.storage(ctx, restore.namespace, resolved.storage or "")
    if problem := _check_storage(restore, resolved, storage):
        return problem
    assert storage is not None, "checked"
    if problem := _another(ctx, restore):
        return problem
    around = await surroundings.gather(ctx, restore.namespace, storage, restore.spec.worker, restore.spec.target.claim)
    claim = around.claims.get(restore.spec.target.claim)
    ours = (((claim or {}).get("metadata") or {}).get("annotations") or {}).get(RESTORED_BY) == restore.metadata.uid
    if problem := restores.check_target(restore, around, ours=ours):
        return problem
    if restore.spec.target.new_claim and claim is None:
        made = await _new_claim(ctx, restore, around)
        if isinstance(made, Trouble):
            return made
        around = made
    fallback = _writer(ctx, restore, backups.get(resolved.backup or ""))
    admitted = admission.admit_pod(restore.spec.worker, restore.spec.target.claim, around, fallback=fallback)
    if isinstance(admitted, Trouble):
        return admitted
    floor = surroundings.floor(ctx, storage, resolved.chain) if resolved.chain and restores.needs_floor(restore) else None
    order = orders.restore(restore, storage, resolved, floor)
    plan = templates.Plan(order, RestoreJob.KIND, restore.name, ctx.image, admitted.identity, restore.spec.worker, admitted.affinity)
    return await _job(ctx, body, restore, plan)


async def _job(ctx: Context, body: Json, restore: RestoreJob, plan: templates.Plan) -> Json | Trouble:
    """The name goes into status first: if all stops in between, this restore has failed, and never runs twice."""
    owner = jobs.Owner(RestoreJob.KIND, restore.name, restore.metadata.uid)
    name = naming.job_of(restore.name)
    taken = await ctx.job(restore.namespace, name)
    if taken is not None and not pending.owned(taken, restore.metadata.uid):
        name = naming.job_beside(restore.name, restore.metadata.uid)
    current: Json = body.get("status") or {}
    await ctx.set_status(resources.RESTORE_JOBS, body, {**current, "jobName": name}, "Succeeded")
    spec = restore.spec
    made = await pending.create_job(
        ctx, jobs.job(name, restore.namespace, owner=owner, plan=plan, timeout=spec.timeout, backoff_limit=spec.backoff_limit)
    )
    if isinstance(made, Trouble):
        fresh = ctx.cache.get(resources.RESTORE_JOBS, restore.namespace, restore.name) or body
        await ctx.set_status(resources.RESTORE_JOBS, fresh, {**(fresh.get("status") or {}), "jobName": None}, "Succeeded")
    return made or Trouble("JobNameTaken", f"a Job named {name} belongs to somebody else; give the RestoreJob another name")


def _check_storage(restore: RestoreJob, resolved: Resolved, storage: BackupStorage | None) -> Trouble | None:
    """A person who brings the identity can restore from a repository that nobody could confirm yet."""
    if restore.spec.identity_secret_ref and storage is not None:
        return None
    return admission.check_storage(resolved.storage or "", storage, for_a_run=True)


def _another(ctx: Context, restore: RestoreJob) -> Trouble | None:
    """Two restores into one claim would mix their files; a plan writes none."""
    if restore.spec.mode == "Plan":
        return None

    def writes_there(job: Json) -> bool:
        labels = job["metadata"].get("labels") or {}
        volumes = job["spec"]["template"]["spec"].get("volumes") or ()
        targets = [v["persistentVolumeClaim"] for v in volumes if v.get("name") == "target" and "persistentVolumeClaim" in v]
        claims = {t.get("claimName") for t in targets if not t.get("readOnly")}
        return labels.get(vocabulary.OPERATION) == "restore" and restore.spec.target.claim in claims and not runs.job_finished(job)

    active = [j["metadata"]["name"] for j in ctx.cache.select(resources.JOBS, restore.namespace, writes_there)]
    return Trouble("AnotherRunActive", f"waiting for {', '.join(active)}, which restores into the same claim") if active else None


async def _new_claim(ctx: Context, restore: RestoreJob, around: Surroundings) -> Surroundings | Trouble:
    wanted = restore.spec.target.new_claim
    assert wanted is not None, "asked for by the caller"
    try:
        made = await ctx.create(resources.CLAIMS, restores.new_claim(restore, wanted, RESTORED_BY))
    except AlreadyExistsError:
        return Trouble("TargetExists", f"PersistentVolumeClaim {wanted.name} is there already; give newClaim another name")
    except RejectedError as error:
        return Trouble("ClaimRejected", f"the API server refuses PersistentVolumeClaim {wanted.name}: {error.message}")
    return Surroundings(around.storage, around.namespace, {**around.claims, wanted.name: made}, around.volumes, around.pods)


def _writer(ctx: Context, restore: RestoreJob, backup: Backup | None) -> Identity | None:
    """Who writes where no workload tells: the workload that was backed up, or the owner of its root folder."""
    job = surroundings.backup_job(ctx, restore.namespace, backup.spec.job_ref.name) if backup else None
    return restores.writer(restore, backup, surroundings.remembered(ctx, job) if job else None)


def _storage(ctx: Context, restore: RestoreJob) -> BackupStorage | None:
    resolved = restore.status.resolved
    return surroundings.storage(ctx, restore.namespace, resolved.storage) if resolved and resolved.storage else None
