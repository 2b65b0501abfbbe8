"""Whose eyes and hands a worker has: the user and groups of the workload that uses the claim, unless the spec says otherwise.

Auto never yields user 0. Groups of the workload become supplemental groups, never fsGroup: with that the kubelet would hand
over the source's files to another group.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iot_backup import vocabulary
from iot_backup.core.pods import Trouble

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence


@dataclass(frozen=True)
class Identity:
    """User and groups of a worker's pod."""

    uid: int = vocabulary.WORKER_UID
    gid: int = vocabulary.WORKER_UID
    groups: tuple[int, ...] = ()
    """Supplemental, ascending."""
    fs_group: int | None = None
    selinux_level: str | None = None
    root: bool = False

    def joining(self, *groups: int) -> Identity:
        """The same with more supplemental groups."""
        return Identity(self.uid, self.gid, tuple(sorted({*self.groups, *groups})), self.fs_group, self.selinux_level, self.root)


@dataclass(frozen=True)
class Wish:
    """What worker.identity and worker.securityContext ask for; None where they say nothing."""

    root: bool = False
    uid: int | None = None
    gid: int | None = None
    groups: tuple[int, ...] | None = None
    fs_group: int | None = None
    selinux_level: str | None = None


ROOT_NOT_ALLOWED = Trouble(
    "RootNotAllowed",
    f'worker.identity: Root is admitted only in namespaces that an administrator annotated with {vocabulary.ALLOW_ROOT_WORKERS}: "true"; '
    "ask for that, or set worker.securityContext.runAsUser to the files' owner",
)


def users_of(pods: Sequence[Mapping[str, Any]], claim: str) -> list[Mapping[str, Any]]:
    """Pods that hold the claim now: not ended, and no worker of ours."""
    return [p for p in pods if _alive(p) and not _ours(p) and volumes_of(p, claim)]


def volumes_of(pod: Mapping[str, Any], claim: str) -> set[str]:
    """The pod's volumes that are this claim."""
    volumes = pod.get("spec", {}).get("volumes") or ()
    return {str(v["name"]) for v in volumes if v.get("persistentVolumeClaim", {}).get("claimName") == claim}


def resolve(
    wish: Wish, users: Sequence[Mapping[str, Any]], claim: str, *, root_allowed: bool, fallback: Identity | None = None
) -> Identity | Trouble:
    """The worker's identity on this claim, or why there is none.

    `fallback` is taken where no workload uses the claim now: what it was when one last did, or the owner a restore needs.
    """
    if wish.root:
        return Identity(0, 0, wish.groups or (), wish.fs_group, wish.selinux_level, root=True) if root_allowed else ROOT_NOT_ALLOWED
    fallback = None if users else fallback
    seen = _observed(users, claim) if wish.uid is None else Identity(fs_group=fallback.fs_group if fallback else None)
    if isinstance(seen, Trouble):
        return seen
    if wish.uid is None and fallback:
        seen = fallback
    uid = seen.uid if wish.uid is None else wish.uid
    gid = wish.gid if wish.gid is not None else (seen.gid if wish.uid is None else wish.uid)
    return Identity(
        uid,
        gid,
        seen.groups if wish.groups is None else wish.groups,
        seen.fs_group if wish.fs_group is None else wish.fs_group,
        wish.selinux_level or seen.selinux_level,
    )


def _observed(users: Sequence[Mapping[str, Any]], claim: str) -> Identity | Trouble:
    """What the pods that use the claim run as: the one user, 65532 for root or where nothing tells."""
    found = {uid: (gid, pod) for pod in users for uid, gid in _container_users(pod, claim)}
    if len(found) > 1:
        named = ", ".join(f"{uid} (pod {found[uid][1]['metadata']['name']})" for uid in sorted(found))
        return Trouble(
            "AmbiguousIdentity",
            f"workloads with different users share claim {claim}: {named}; "
            "set worker.securityContext.runAsUser to the one that can read all files",
        )
    uid, gid = next(((uid, gid) for uid, (gid, _) in found.items()), (0, None))
    groups = {g for pod in users for g in _groups(pod)}
    level = next((lvl for pod in users if (lvl := pod["spec"].get("securityContext", {}).get("seLinuxOptions", {}).get("level"))), None)
    if uid == 0:
        return Identity(groups=tuple(sorted(groups - {0})), selinux_level=level)
    return Identity(uid, uid if gid is None else gid, tuple(sorted(groups - {gid})), None, level)


def _container_users(pod: Mapping[str, Any], claim: str) -> Iterator[tuple[int, int | None]]:
    """(uid, gid) of each container that mounts the claim, where the spec or the runtime tells."""
    volumes = volumes_of(pod, claim)
    overall = pod["spec"].get("securityContext") or {}
    running = {s.get("name"): s.get("user", {}).get("linux", {}) for s in pod.get("status", {}).get("containerStatuses") or ()}
    for container in pod["spec"].get("containers") or ():
        if not any(m.get("name") in volumes for m in container.get("volumeMounts") or ()):
            continue
        own = container.get("securityContext") or {}
        told = running.get(container.get("name")) or {}
        uid = _first(own.get("runAsUser"), overall.get("runAsUser"), told.get("uid"))
        if uid is not None:
            yield uid, _first(own.get("runAsGroup"), overall.get("runAsGroup"), told.get("gid"))


def _groups(pod: Mapping[str, Any]) -> Iterator[int]:
    overall = pod["spec"].get("securityContext") or {}
    yield from overall.get("supplementalGroups") or ()
    if overall.get("fsGroup") is not None:
        yield overall["fsGroup"]


def _first(*values: int | None) -> int | None:
    return next((v for v in values if v is not None), None)


def _alive(pod: Mapping[str, Any]) -> bool:
    return pod.get("status", {}).get("phase") not in {"Succeeded", "Failed"} and "deletionTimestamp" not in pod["metadata"]


def _ours(pod: Mapping[str, Any]) -> bool:
    labels = pod["metadata"].get("labels") or {}
    return labels.get(vocabulary.MANAGED_BY) == vocabulary.OPERATOR and vocabulary.OWNER_KIND in labels
