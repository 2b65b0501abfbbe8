"""Whose result counts: a Job that is what its order makes of it, a pod that is what its Job makes of it."""

from __future__ import annotations

import copy
import json
from typing import TYPE_CHECKING, Any

import pytest

from iot_backup.core import orders, results, spec, templates
from iot_backup.core.identity import Identity
from iot_backup.core.results import Expected
from iot_backup.core.templates import Image, Plan
from iot_backup.vocabulary import SPEC

from .facts import backup_job, storage

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
STORE = storage()
TRUST = orders.trust(STORE)
assert TRUST is not None
EXPECTED = Expected("backup", "plant", "BackupJob", "daily", "registry.example:5000/worker:2", TRUST)


def _job(identity: Identity = Identity(), image: str = "registry.example:5000/worker:2", **changes: Any) -> Json:  # noqa: B008 - frozen
    """As the API server gives it back: with what it fills in."""
    job = backup_job(**changes)
    assert TRUST is not None
    template = templates.pod_template(Plan(orders.backup(job, STORE, TRUST), "BackupJob", "daily", Image(image), identity, job.spec.worker))
    template = copy.deepcopy(template)
    template["metadata"]["labels"]["controller-uid"] = "u"
    template["metadata"]["creationTimestamp"] = None
    pod = template["spec"]
    pod.update(dnsPolicy="ClusterFirst", schedulerName="default-scheduler", terminationGracePeriodSeconds=30)
    pod["containers"][0]["terminationMessagePath"] = "/dev/termination-log"
    for env in pod["containers"][0]["env"]:
        env["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
    return {"metadata": {"name": "j", "uid": "u"}, "spec": {"template": template}}


def _pod(job: Json) -> Json:
    owner = {"kind": "Job", "uid": "u", "controller": True}
    template = copy.deepcopy(job["spec"]["template"])
    template["spec"]["containers"][0]["volumeMounts"].append({"name": "kube-api-access", "mountPath": "/x"})
    return {
        "metadata": {"name": "p", "annotations": template["metadata"]["annotations"], "ownerReferences": [owner]},
        "spec": template["spec"],
    }


@pytest.mark.parametrize(
    "job",
    [
        pytest.param(_job(), id="as built"),
        pytest.param(_job(image="registry.example:5000/worker:1"), id="another tag"),
        pytest.param(_job(image="registry.example:5000/worker@sha256:" + "0" * 64), id="a digest"),
        pytest.param(_job(Identity(999, 998, (5,))), id="another user"),
        pytest.param(_job(Identity(0, 0, root=True)), id="root, as it was allowed then"),
        pytest.param(
            _job(worker={"nodeSelector": {"a": "b"}, "resources": {"limits": {"memory": "1Gi"}}, "podLabels": {"c": "d"}}), id="other knobs"
        ),
        pytest.param(_job(compression={"level": 9}, timeout="1h"), id="another order for the same repository"),
    ],
)
def test_what_we_built_counts(job: Json) -> None:
    assert results.foreign(job, EXPECTED) is None


def test_an_order_written_before_an_upgrade_counts() -> None:
    """It lacks what was not there yet: the same run, in other words."""
    job = _job()
    annotations = job["spec"]["template"]["metadata"]["annotations"]
    younger = {"include", "exclude", "oneFileSystem", "maxChainLength"}
    text = json.dumps({key: value for key, value in json.loads(annotations[SPEC]).items() if key not in younger})
    annotations[SPEC] = text
    _worker(job)["args"][-1] = spec.digest(text)
    assert results.foreign(job, EXPECTED) is None


def _worker(job: Json) -> Json:
    worker: Json = job["spec"]["template"]["spec"]["containers"][0]
    return worker


def _reorder(**changes: Any) -> Callable[[Json], None]:
    """Another order, with its right digest."""

    def change(job: Json) -> None:
        order = results.order_of(job)
        assert order is not None
        text = spec.encode(order.model_copy(update=changes))
        job["spec"]["template"]["metadata"]["annotations"][SPEC] = text
        _worker(job)["args"][-1] = spec.digest(text)

    return change


@pytest.mark.parametrize(
    ("change", "word"),
    [
        (lambda j: j["spec"].pop("template"), "order is missing"),
        (lambda j: j["spec"]["template"]["metadata"].pop("annotations"), "order is missing"),
        (lambda j: _worker(j)["args"].__setitem__(-1, "0" * 64), "order is missing"),
        (lambda j: _worker(j).update(image="evil.example/worker:2"), "image"),
        (lambda j: _worker(j).update(command=["sh"]), "command"),
        (lambda j: _worker(j)["args"].insert(0, "--debug"), "args"),
        (lambda j: _worker(j)["env"].append({"name": "LD_PRELOAD", "value": "x"}), "env"),
        (lambda j: _worker(j)["volumeMounts"].pop(), "volumeMounts"),
        (lambda j: _worker(j)["securityContext"].update(privileged=True), "privileged"),
        (lambda j: j["spec"]["template"]["spec"]["containers"].append({"name": "x", "image": "y"}), "containers"),
        (lambda j: j["spec"]["template"]["spec"].update(initContainers=[{"name": "x"}]), "initContainers"),
        (lambda j: j["spec"]["template"]["spec"].update(hostPID=True), "hostPID"),
        (lambda j: j["spec"]["template"]["spec"].update(serviceAccountName="admin"), "serviceAccountName"),
        (lambda j: j["spec"]["template"]["spec"]["volumes"][-1]["persistentVolumeClaim"].update(claimName="other"), "volumes"),
        (_reorder(trust=TRUST.model_copy(update={"repository_id": "r2"})), "r2"),
        (_reorder(repository=orders.repository(STORE, opens_identity=False).model_copy(update={"namespace": "other"})), "namespace other"),
    ],
)
def test_what_somebody_else_put_together_does_not(change: Callable[[Json], None], word: str) -> None:
    job = _job()
    change(job)
    why = results.foreign(job, EXPECTED)
    assert why is not None
    assert word in why


def test_the_operation_must_be_the_one_expected() -> None:
    why = results.foreign(_job(), Expected("restore", "plant", "RestoreJob", "daily", EXPECTED.image))
    assert why is not None
    assert "backup" in why


def _change_pod(**changes: Any) -> Callable[[Json], None]:
    return lambda p: p["spec"]["containers"][0].update(changes)


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (lambda _: None, True),
        (lambda p: p["spec"]["containers"].append({"name": "mesh-proxy"}), True),
        (lambda p: p["metadata"]["ownerReferences"][0].update(uid="other"), False),
        (lambda p: p["metadata"]["ownerReferences"][0].update(controller=False), False),
        (lambda p: p["spec"].update(ephemeralContainers=[{"name": "debug"}]), False),
        (_change_pod(image="evil.example/worker:2"), False),
        (_change_pod(command=["sh"]), False),
        (_change_pod(args=["worker"]), False),
        (_change_pod(volumeMounts=[]), False),
        (lambda p: p["metadata"].update(annotations={SPEC: "{}"}), False),
        (lambda p: p["spec"].update(containers=[]), False),
    ],
)
def test_a_pod_counts_if_it_is_its_jobs(change: Callable[[Json], None], *, counts: bool) -> None:
    job = _job()
    pod = _pod(job)
    change(pod)
    assert results.genuine(job, pod) is counts


@pytest.mark.parametrize(
    ("image", "expected"),
    [("a", "a"), ("a:1", "a"), ("h:5000/a", "h:5000/a"), ("h:5000/a:1", "h:5000/a"), ("h/a@sha256:0", "h/a"), ("h/a:1@sha256:0", "h/a")],
)
def test_the_repository_of_an_image(image: str, expected: str) -> None:
    assert results.repository(image) == expected
