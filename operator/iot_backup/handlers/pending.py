"""What Backup and RestoreJob share: waiting with a reason, giving up at the deadline, starting exactly one Job."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from typing import TYPE_CHECKING, TypeVar

from iot_backup.api.resource import Resource as Model
from iot_backup.cluster import resources
from iot_backup.cluster.client import AlreadyExistsError, Json, RejectedError
from iot_backup.core import pods, run_status
from iot_backup.core.admission import PERMANENT
from iot_backup.core.pods import Trouble
from iot_backup.errors import InvalidSpec
from iot_backup.handlers.context import Context, soonest

if TYPE_CHECKING:
    from iot_backup.cluster.resources import Resource
    from iot_backup.core.runs import Verdict

RECHECK = timedelta(seconds=10)
"""What is waited for is seen by a watch, most of the time; pods of workloads are not watched."""
CANCELLED = Trouble("Cancelled", "cancelled before it started, as spec.cancel asked")
M = TypeVar("M", bound=Model)


async def decoded(ctx: Context, resource: Resource, body: Json, model: type[M]) -> M | None:
    """The object as a model; one that cannot be read fails with InvalidSpec."""
    try:
        return model.from_body(body)
    except InvalidSpec as error:
        if (body.get("status") or {}).get("phase") is None:
            await refuse(ctx, resource, body, Trouble("InvalidSpec", error.message))
        return None


async def note_generation(ctx: Context, resource: Resource, body: Json) -> timedelta | None:
    """An ended run that was edited (a late cancel): nothing happens, and that was seen."""
    status: Json = body.get("status") or {}
    generation = body["metadata"].get("generation", 0)
    if status.get("observedGeneration") != generation:
        await ctx.set_status(resource, body, {**status, "observedGeneration": generation}, "Succeeded")
    return None


async def hold(ctx: Context, resource: Resource, body: Json, problem: Trouble, deadline: timedelta) -> timedelta | None:
    """Wait for what is missing, until the deadline; what only an edit could change ends it at once."""
    if problem.reason in PERMANENT:
        return await refuse(ctx, resource, body, problem)
    created = pods.time(body["metadata"].get("creationTimestamp")) or ctx.clock()
    left = created + deadline - ctx.clock()
    if left <= timedelta(0):
        return await refuse(
            ctx, resource, body, Trouble(problem.reason, f"gave up after {int(deadline.total_seconds())} s: {problem.message}")
        )
    generation = body["metadata"].get("generation", 0)
    await ctx.set_status(resource, body, run_status.waiting(body.get("status") or {}, generation, problem, ctx.now()), "Succeeded")
    return soonest(left + timedelta(seconds=1), RECHECK)


async def refuse(ctx: Context, resource: Resource, body: Json, problem: Trouble) -> timedelta | None:
    """It ends here."""
    generation = body["metadata"].get("generation", 0)
    wanted = run_status.refused(body.get("status") or {}, generation, problem, ctx.now())
    written = await ctx.set_status(resource, body, wanted, "Succeeded")
    if written and resource == resources.BACKUPS:
        job = body.get("spec", {}).get("jobRef", {}).get("name", "")
        ctx.count_run(body["metadata"]["namespace"], job, failed=wanted["phase"] == "Failed", seconds=None)
    return None


def owned(job: Json, uid: str) -> bool:
    """The object with this uid controls the Job."""
    return pods.controller(job).get("uid") == uid


async def create_job(ctx: Context, job: Json) -> Json | Trouble | None:
    """The Job, made now or before; None if another's Job has the name; Trouble if the server refuses it as it is."""
    metadata = job["metadata"]
    try:
        return await ctx.create(resources.JOBS, job)
    except AlreadyExistsError:
        there = await ctx.job(metadata["namespace"], metadata["name"])
        return there if there and owned(there, metadata["ownerReferences"][0]["uid"]) else None
    except RejectedError as error:
        return Trouble("JobRejected", f"the API server refuses the Job: {error.message}")


def without_result(verdict: Verdict) -> Verdict:
    """A run that ended well by its report, which lacks the result itself, has not ended well."""
    if verdict.phase != "Completed":
        return verdict
    return dataclasses.replace(verdict, phase="Failed", reason="ResultMissing", message="the worker's report holds no result")
