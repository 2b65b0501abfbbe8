"""Whose result counts: only that of a pod whose Job is what we would have built for the order it carries (store.md section 7).

Image tag, identity, resources and placement may have changed since; what the worker was told to do, in which container, with
which mounts, may not. So a Job made before an upgrade or an edit still counts, one that somebody else put together does not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iot_backup import vocabulary
from iot_backup.core import pods, spec, templates
from iot_backup.core.identity import Identity
from iot_backup.errors import InvalidSpec

if TYPE_CHECKING:
    from iot_backup.core.conditions import Json

_USERS_OWN = {"nodeSelector", "tolerations", "priorityClassName", "affinity", "imagePullSecrets", "securityContext"}
_SERVERS_OWN = {"dnsPolicy", "schedulerName", "terminationGracePeriodSeconds", "terminationMessagePath", "imagePullPolicy", "apiVersion"}
_IGNORED = _USERS_OWN | _SERVERS_OWN


@dataclass(frozen=True)
class Expected:
    """What a Job must be about to count."""

    operation: str
    namespace: str
    owner_kind: str
    owner_name: str
    image: str
    trust: spec.Trust | None = None
    """The pinned repository; None = nothing to compare with (a probe, or a storage that is gone)."""


def foreign(job: Mapping[str, Any], expected: Expected) -> str | None:
    """Why the Job is not one we built; None if it is."""
    template = job.get("spec", {}).get("template") or {}
    order = _order(template)
    if order is None:
        return "its order is missing, or is not the one its arguments name"
    if (order.kind, order.repository.namespace) != (expected.operation, expected.namespace):
        return f"its order is a {order.kind} for namespace {order.repository.namespace}"
    trusted = getattr(order, "trust", None)
    if expected.trust and trusted and trusted != expected.trust:
        return f"its order names repository {trusted.repository_id}, not {expected.trust.repository_id}"
    root = (template["spec"].get("securityContext") or {}).get("runAsUser") == 0
    plan = templates.Plan(order, expected.owner_kind, expected.owner_name, templates.Image(expected.image), Identity(root=root))
    built = templates.pod_template(plan)
    # An operator of another version wrote another text for the same order; that it is the one the arguments name was seen above.
    built["spec"]["containers"][0]["args"][-1] = _args(template)[-1]
    differing = _first_difference(_skeleton(built["spec"]), _skeleton(template["spec"]), "spec")
    return f"its pod template is not what the operator builds: {differing}" if differing else None


def genuine(job: Mapping[str, Any], pod: Mapping[str, Any]) -> bool:
    """The pod is the one the Job's template describes, not one that was adopted or added to."""
    wanted = _containers(job["spec"]["template"]["spec"])
    actual = _containers(pod.get("spec", {}))
    if pods.controller(pod).get("uid") != job["metadata"]["uid"] or pod.get("spec", {}).get("ephemeralContainers"):
        return False
    worker, theirs = wanted.get(vocabulary.WORKER_CONTAINER, {}), actual.get(vocabulary.WORKER_CONTAINER, {})
    same = all(worker.get(key) == theirs.get(key) for key in ("image", "command", "args"))
    mounts = [m for m in worker.get("volumeMounts") or () if m not in (theirs.get("volumeMounts") or ())]
    annotation = (pod["metadata"].get("annotations") or {}).get(vocabulary.SPEC)
    return same and not mounts and annotation == job["spec"]["template"]["metadata"]["annotations"].get(vocabulary.SPEC)


def order_of(job: Mapping[str, Any]) -> templates.Order | None:
    """The order a Job carries, if it is readable and the one its arguments name."""
    return _order(job.get("spec", {}).get("template") or {})


def _order(template: Mapping[str, Any]) -> templates.Order | None:
    text = (template.get("metadata", {}).get("annotations") or {}).get(vocabulary.SPEC)
    args = _args(template)
    if not text or not args:
        return None
    try:
        return spec.decode(text, args[-1])
    except InvalidSpec:
        return None


def _args(template: Mapping[str, Any]) -> Sequence[str]:
    return _containers(template.get("spec") or {}).get(vocabulary.WORKER_CONTAINER, {}).get("args") or ()


def _containers(pod_spec: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    return {str(c.get("name")): c for c in pod_spec.get("containers") or ()}


def _skeleton(value: Any, key: str = "") -> Any:
    """What must be equal: without what users may set, what the server fills in, and the image's version."""
    if isinstance(value, Mapping):
        drop = _IGNORED if key != "container" else _SERVERS_OWN | {"resources"}
        kept: Json = {
            k: _skeleton(v, "container" if k == "containers" else k) for k, v in value.items() if k not in drop and v not in (None, {}, [])
        }
        return kept
    if isinstance(value, list):
        return [_skeleton(item, key) for item in value]
    return repository(value) if key == "image" and isinstance(value, str) else value


def repository(image: str) -> str:
    """An image reference without tag and digest."""
    name = image.partition("@")[0]
    head, slash, tail = name.rpartition("/")
    return head + slash + tail.partition(":")[0]


def _first_difference(wanted: Any, actual: Any, where: str) -> str | None:
    if isinstance(wanted, Mapping) and isinstance(actual, Mapping):
        for key in sorted({*wanted, *actual}):
            if (found := _first_difference(wanted.get(key), actual.get(key), f"{where}.{key}")) is not None:
                return found
        return None
    if isinstance(wanted, list) and isinstance(actual, list) and len(wanted) == len(actual):
        pairs = enumerate(zip(wanted, actual, strict=True))
        return next((f for i, (a, b) in pairs if (f := _first_difference(a, b, f"{where}[{i}]")) is not None), None)
    return None if wanted == actual else where
