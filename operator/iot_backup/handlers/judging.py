"""From a Job as it was seen to a verdict: gathers its pods and asks core."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from iot_backup.cluster import resources
from iot_backup.core import pods, results, runs
from iot_backup.core.events import Event
from iot_backup.core.runs import Facts, Verdict

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iot_backup.core.results import Expected
    from iot_backup.handlers.context import Context

UNTIL_BOUND = timedelta(minutes=10)


async def judge(
    ctx: Context,
    job: Mapping[str, Any],
    expected: Expected,
    *,
    cancel: bool = False,
    start_deadline: timedelta = UNTIL_BOUND,
    failure_is_final: bool = False,
) -> Verdict:
    """The verdict on a Job, by what is known of it and of its pods.

    Jobs and pods come through watches of their own: before a verdict is final the pods are read once more, so that a report
    which comes a moment after the Job's end is not lost.
    """
    strange = results.foreign(job, expected)

    def facts() -> Facts:
        metadata = job["metadata"]
        return Facts(
            job=job,
            pods=pods.of_job(ctx.cache.select(resources.PODS, metadata["namespace"]), metadata["uid"]),
            now=ctx.clock(),
            cancel=cancel,
            start_deadline=start_deadline,
            failure_is_final=failure_is_final,
            genuine=lambda pod: strange is None and results.genuine(job, pod),
        )

    verdict = runs.judge(facts())
    if verdict.final and verdict.phase != "Completed":
        await _read_pods(ctx, job)
        verdict = runs.judge(facts())
    return verdict


async def _read_pods(ctx: Context, job: Mapping[str, Any]) -> None:
    labels = f"batch.kubernetes.io/controller-uid={job['metadata']['uid']}"
    for pod in await ctx.client.list(resources.PODS, job["metadata"]["namespace"], labels):
        ctx.cache.put(resources.PODS, pod)


async def tell_foreign(ctx: Context, about: Mapping[str, Any], job: Mapping[str, Any], why: str) -> None:
    """Say once that a Job's result does not count."""
    metadata = job["metadata"]
    if metadata["uid"] in ctx.told:
        return
    ctx.told.add(metadata["uid"])
    await ctx.tell(about, Event("ForeignJob", f"Job {metadata['name']} carries our labels but does not count: {why}", "Warning"))
