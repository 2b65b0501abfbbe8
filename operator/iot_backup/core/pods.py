"""What a pod's state says to a person: is it running, how did it end, and why does it not start."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from iot_backup import vocabulary

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

STUCK_AFTER = timedelta(seconds=45)
"""A pod whose containers are not created by then is reported: a cold image or volume takes less."""

_WAITING = {
    "ErrImagePull": "ImagePullFailed",
    "ImagePullBackOff": "ImagePullFailed",
    "ErrImageNeverPull": "ImagePullFailed",
    "InvalidImageName": "ImagePullFailed",
    "CreateContainerConfigError": "ContainerConfigError",
    "CreateContainerError": "ContainerConfigError",
    "RunContainerError": "ContainerConfigError",
}
_STOPPED = {"OOMKilled", "ContainerCannotRun", "StartError", "DeadlineExceeded"}


@dataclass(frozen=True)
class Trouble:
    """Why a pod does not do its work: a CamelCase reason and a sentence."""

    reason: str
    message: str


@dataclass(frozen=True)
class End:
    """How the worker container of a pod ended."""

    exit_code: int
    message: str
    """The termination message as it is: untrusted."""
    reason: str
    """The runtime's word: Completed, Error, OOMKilled."""
    started: str | None
    finished: str | None


def time(text: str | None) -> datetime | None:
    """An API server's timestamp; None for None."""
    return None if text is None else datetime.fromisoformat(text)


def controller(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The owner reference of the controller, or an empty mapping."""
    return next((o for o in body.get("metadata", {}).get("ownerReferences") or () if o.get("controller")), {})


def of_job(pods: Sequence[Mapping[str, Any]], job_uid: str) -> list[Mapping[str, Any]]:
    """The pods this Job controls, oldest first."""
    mine = [p for p in pods if controller(p).get("kind") == "Job" and controller(p).get("uid") == job_uid]
    return sorted(mine, key=lambda p: (p["metadata"].get("creationTimestamp", ""), p["metadata"]["name"]))


def worker_end(pod: Mapping[str, Any]) -> End | None:
    """How the worker ended; None while it has not, or where the kubelet never told."""
    for status in pod.get("status", {}).get("containerStatuses") or ():
        terminated = status.get("state", {}).get("terminated")
        if status.get("name") == vocabulary.WORKER_CONTAINER and terminated:
            return End(
                exit_code=int(terminated.get("exitCode", -1)),
                message=str(terminated.get("message") or ""),
                reason=str(terminated.get("reason") or ""),
                started=terminated.get("startedAt"),
                finished=terminated.get("finishedAt"),
            )
    return None


def ended(pod: Mapping[str, Any]) -> bool:
    return pod.get("status", {}).get("phase") in {"Succeeded", "Failed"} or worker_end(pod) is not None


def started(pod: Mapping[str, Any]) -> bool:
    """The worker runs, or has run."""
    return worker_end(pod) is not None or any("running" in s.get("state", {}) for s in _worker_statuses(pod))


def disrupted(pod: Mapping[str, Any]) -> bool:
    """It was taken away (drained, evicted, preempted), which a Job does not count as an attempt."""
    conditions = pod.get("status", {}).get("conditions") or ()
    return any(c.get("type") == "DisruptionTarget" and c.get("status") == "True" for c in conditions)


def trouble(pod: Mapping[str, Any], now: datetime) -> Trouble | None:
    """Why the pod ended without a report, or does not start; None where all goes its way."""
    return _killed(pod) or _not_started(pod, now)


def _killed(pod: Mapping[str, Any]) -> Trouble | None:
    status, name = pod.get("status", {}), pod["metadata"]["name"]
    end = worker_end(pod)
    if end and end.reason in _STOPPED:
        return Trouble(end.reason, _STOP_SENTENCES.get(end.reason, f"pod {name}: {end.message or end.reason}").format(pod=name))
    for condition in status.get("conditions") or ():
        if condition.get("type") == "DisruptionTarget" and condition.get("status") == "True" and status.get("phase") == "Failed":
            return Trouble("Evicted", f"pod {name} was taken away ({condition.get('reason')}): {condition.get('message', '')}")
    if status.get("reason") in {"Evicted", "DeadlineExceeded", "NodeLost", "Shutdown", "Terminated", "Preempting"}:
        reason = "DeadlineExceeded" if status["reason"] == "DeadlineExceeded" else "Evicted"
        return Trouble(reason, f"pod {name} was taken away ({status['reason']}): {status.get('message', '')}")
    if end and end.exit_code == 137:
        return Trouble("Killed", f"the worker in pod {name} was killed (SIGKILL) before it could report; a node short of memory does that")
    return None


_STOP_SENTENCES = {
    "OOMKilled": "the worker in pod {pod} needed more memory than its limit; raise worker.resources.limits.memory",
    "DeadlineExceeded": "pod {pod} was still running at its deadline",
}


def _not_started(pod: Mapping[str, Any], now: datetime) -> Trouble | None:
    name = pod["metadata"]["name"]
    if ended(pod) or pod.get("status", {}).get("phase") not in {"Pending", None}:
        return None
    for status in _worker_statuses(pod):
        waiting = status.get("state", {}).get("waiting", {})
        if waiting.get("reason") in _WAITING:
            told = waiting.get("message") or waiting["reason"]
            return Trouble(_WAITING[waiting["reason"]], f"pod {name} cannot start its container: {told}")
    conditions = {str(c.get("type")): c for c in pod.get("status", {}).get("conditions") or ()}
    scheduled = conditions.get("PodScheduled", {})
    if scheduled.get("status") == "False":
        return Trouble("Unschedulable", f"no node takes pod {name}: {scheduled.get('message', '')}")
    since = time(scheduled.get("lastTransitionTime")) if scheduled.get("status") == "True" else None
    if since and now - since > STUCK_AFTER:
        return Trouble(
            "ContainerCreating",
            f"pod {name} has waited {int((now - since).total_seconds())} s for its volumes or its network; "
            f"`kubectl describe pod {name}` says for which",
        )
    return None


def _worker_statuses(pod: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    for status in pod.get("status", {}).get("containerStatuses") or ():
        if status.get("name") == vocabulary.WORKER_CONTAINER:
            yield status
