"""Where a worker must run: beside the workload that holds a ReadWriteOnce claim.

The answer is a required podAffinity to the workload's stable labels, so the scheduler resolves it at each run, also when
the workload moved while the operator was away.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iot_backup.core.identity import users_of
from iot_backup.core.pods import Trouble

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from iot_backup.core.conditions import Json

HOSTNAME = "kubernetes.io/hostname"
_PASSING = {
    "pod-template-hash",
    "controller-revision-hash",
    "pod-template-generation",
    "statefulset.kubernetes.io/pod-name",
    "apps.kubernetes.io/pod-index",
    "controller-uid",
    "job-name",
}


@dataclass(frozen=True)
class Claim:
    """A claim a worker mounts, and who else does."""

    name: str
    modes: tuple[str, ...]
    pods: Sequence[Mapping[str, Any]] = ()
    """All pods of the namespace."""
    volume: Mapping[str, Any] | None = None
    """The PersistentVolume behind it, if bound."""

    @property
    def users(self) -> list[Mapping[str, Any]]:
        """Pods of workloads that hold it on a node now."""
        return [p for p in users_of(self.pods, self.name) if p["spec"].get("nodeName")]

    @property
    def one_node(self) -> bool:
        return not {"ReadWriteMany", "ReadOnlyMany"} & set(self.modes)

    @property
    def nodes(self) -> frozenset[str] | None:
        """The only nodes it can be mounted on; None if nothing says so."""
        pinned = _volume_nodes(self.volume or {})
        if pinned is not None:
            return pinned
        held = {str(p["spec"]["nodeName"]) for p in self.users} if self.one_node else set()
        return frozenset(held) or None


def claim(body: Mapping[str, Any], pods: Sequence[Mapping[str, Any]], volume: Mapping[str, Any] | None = None) -> Claim:
    """From a PersistentVolumeClaim as the API server gives it."""
    return Claim(str(body["metadata"]["name"]), tuple(body.get("spec", {}).get("accessModes") or ()), pods, volume)


def decide(claims: Sequence[Claim]) -> Json | Trouble | None:
    """The pod's affinity, None where it may run anywhere, or why it can run nowhere."""
    for one in claims:
        if one.users and "ReadWriteOncePod" in one.modes:
            holder = one.users[0]["metadata"]["name"]
            return Trouble(
                "ClaimInUse",
                f"claim {one.name} is ReadWriteOncePod and pod {holder} holds it: no other pod can mount it until that one ends",
            )
    pinned = [c for c in claims if c.nodes is not None]
    for first, second in itertools.pairwise(pinned):
        if not (first.nodes or frozenset()) & (second.nodes or frozenset()):
            return Trouble(
                "ClaimsOnDifferentNodes",
                f"claim {first.name} is on {_listed(first)} and claim {second.name} on {_listed(second)}: no pod can mount both; "
                "use an object store, or a claim that several nodes can mount",
            )
    terms = [term for c in claims if c.one_node and c.users for term in [_beside(c.users[0])]]
    required = [t for t in terms if "labelSelector" in t]
    affinity: Json = {}
    if required:
        affinity["podAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": required}
    fixed = next((t for t in terms if "labelSelector" not in t), None)
    if fixed:
        affinity["nodeAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [fixed]}}
    return affinity or None


def _beside(pod: Mapping[str, Any]) -> Json:
    """A podAffinity term for the pod's workload; for a pod without stable labels, its node."""
    labels = pod["metadata"].get("labels") or {}
    stable = {k: v for k, v in sorted(labels.items()) if k not in _PASSING and not k.startswith("batch.kubernetes.io/")}
    if not stable:
        return {"matchFields": [{"key": "metadata.name", "operator": "In", "values": [pod["spec"]["nodeName"]]}]}
    return {"labelSelector": {"matchLabels": stable}, "topologyKey": HOSTNAME}


def _volume_nodes(volume: Mapping[str, Any]) -> frozenset[str] | None:
    """Host names a local volume is bound to."""
    terms = volume.get("spec", {}).get("nodeAffinity", {}).get("required", {}).get("nodeSelectorTerms") or ()
    wanted = [e for t in terms for e in t.get("matchExpressions") or () if e.get("key") == HOSTNAME and e.get("operator") == "In"]
    return frozenset(str(v) for e in wanted for v in e.get("values") or ()) if wanted else None


def _listed(one: Claim) -> str:
    return " or ".join(sorted(one.nodes or ()))
