"""What a pod's state says to a person."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from iot_backup.core import pods

Json = dict[str, Any]
NOW = datetime(2026, 5, 1, 10, 1, tzinfo=UTC)


def _pod(**status: Any) -> Json:
    return {"metadata": {"name": "p"}, "status": status}


def _worker(**state: Any) -> list[Json]:
    return [{"name": "sidecar", "state": {"terminated": {"exitCode": 0}}}, {"name": "worker", "state": state}]


def _condition(type_: str, status: str, **more: str) -> Json:
    return {"type": type_, "status": status, **more}


@pytest.mark.parametrize(
    ("pod", "reason", "word"),
    [
        pytest.param(_pod(phase="Running", containerStatuses=_worker(running={})), None, "", id="running"),
        pytest.param(_pod(phase="Succeeded", containerStatuses=_worker(terminated={"exitCode": 0})), None, "", id="ended well"),
        pytest.param(_pod(phase="Failed", containerStatuses=_worker(terminated={"exitCode": 69})), None, "", id="failed by itself"),
        pytest.param(
            _pod(phase="Failed", containerStatuses=_worker(terminated={"exitCode": 137, "reason": "OOMKilled"})),
            "OOMKilled",
            "limits.memory",
            id="out of memory",
        ),
        pytest.param(
            _pod(
                phase="Failed", containerStatuses=_worker(terminated={"exitCode": 128, "reason": "StartError", "message": "no such file"})
            ),
            "StartError",
            "no such file",
            id="cannot start",
        ),
        pytest.param(
            _pod(phase="Failed", containerStatuses=_worker(terminated={"exitCode": 137, "reason": "Error"})),
            "Killed",
            "SIGKILL",
            id="killed",
        ),
        pytest.param(
            _pod(phase="Failed", reason="Evicted", message="The node was low on memory"), "Evicted", "low on memory", id="evicted"
        ),
        pytest.param(_pod(phase="Failed", reason="DeadlineExceeded"), "DeadlineExceeded", "", id="the pod's own deadline"),
        pytest.param(
            _pod(phase="Failed", conditions=[_condition("DisruptionTarget", "True", reason="DeletionByTaintManager", message="tainted")]),
            "Evicted",
            "tainted",
            id="disrupted",
        ),
        pytest.param(
            _pod(phase="Pending", containerStatuses=_worker(waiting={"reason": "ErrImagePull", "message": "not found"})),
            "ImagePullFailed",
            "not found",
            id="image",
        ),
        pytest.param(
            _pod(phase="Pending", containerStatuses=_worker(waiting={"reason": "CreateContainerConfigError"})),
            "ContainerConfigError",
            "",
            id="config",
        ),
        pytest.param(_pod(phase="Pending", containerStatuses=_worker(waiting={"reason": "ContainerCreating"})), None, "", id="creating"),
        pytest.param(
            _pod(phase="Pending", conditions=[_condition("PodScheduled", "False", message='persistentvolumeclaim "x" not found')]),
            "Unschedulable",
            "not found",
            id="unschedulable",
        ),
        pytest.param(
            _pod(phase="Pending", conditions=[_condition("PodScheduled", "True", lastTransitionTime="2026-05-01T10:00:30Z")]),
            None,
            "",
            id="30 s on a node",
        ),
        pytest.param(
            _pod(phase="Pending", conditions=[_condition("PodScheduled", "True", lastTransitionTime="2026-05-01T10:00:00Z")]),
            "ContainerCreating",
            "60 s",
            id="a minute on a node",
        ),
        pytest.param(_pod(), None, "", id="just made"),
    ],
)
def test_trouble(pod: Json, reason: str | None, word: str) -> None:
    found = pods.trouble(pod, NOW)
    assert (found.reason if found else None) == reason
    assert word in (found.message if found else "")


def test_the_workers_end_is_read_from_its_own_container() -> None:
    end = pods.worker_end(
        _pod(containerStatuses=_worker(terminated={"exitCode": 77, "message": "m", "reason": "Error", "startedAt": "a", "finishedAt": "b"}))
    )
    assert end == pods.End(77, "m", "Error", "a", "b")
    assert pods.worker_end(_pod(containerStatuses=_worker(running={}))) is None


def test_only_pods_the_job_controls_are_its_own() -> None:
    def owned(name: str, uid: str, **more: Any) -> Json:
        owner = {"kind": "Job", "uid": uid, "controller": True, **more}
        return {"metadata": {"name": name, "creationTimestamp": "t", "ownerReferences": [owner]}}

    mine, adopted, other = owned("b", "u"), owned("a", "u", controller=False), owned("c", "v")
    assert pods.of_job([mine, adopted, other, owned("a2", "u")], "u") == [owned("a2", "u"), mine]


def test_started() -> None:
    assert pods.started(_pod(containerStatuses=_worker(running={})))
    assert pods.started(_pod(containerStatuses=_worker(terminated={"exitCode": 1})))
    assert not pods.started(_pod(containerStatuses=_worker(waiting={})))
