"""What must hold before a run may start, beyond what the schema can say: each check gives a reason and a sentence, or nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iot_backup import vocabulary
from iot_backup.core import cronjobs, identity, orders, placement, schedule
from iot_backup.core.identity import Identity, Wish
from iot_backup.core.pods import Trouble
from iot_backup.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from iot_backup.api.backupjob import BackupJob
    from iot_backup.api.backupstorage import BackupStorage
    from iot_backup.api.workload import Worker
    from iot_backup.core.conditions import Json

PERMANENT = frozenset({"InvalidSpec", "InvalidSchedule", "RootNotAllowed", "AmbiguousIdentity"})
"""Reasons that only an edit removes: a run fails at once, a BackupJob is Stalled."""


@dataclass(frozen=True)
class Surroundings:
    """What a run meets in its namespace. Claims and volumes as the API server gives them."""

    storage: BackupStorage | None
    namespace: Mapping[str, Any]
    claims: Mapping[str, Mapping[str, Any]]
    """By name; only those that exist."""
    volumes: Mapping[str, Mapping[str, Any]]
    """PersistentVolumes of those claims, by the claim's name."""
    pods: Sequence[Mapping[str, Any]]

    @property
    def root_allowed(self) -> bool:
        return (self.namespace.get("metadata", {}).get("annotations") or {}).get(vocabulary.ALLOW_ROOT_WORKERS) == "true"


@dataclass(frozen=True)
class Admitted:
    """A run may start, like this."""

    identity: Identity
    affinity: Json | None


def check_schedules(job: BackupJob) -> Trouble | None:
    """Whether Kubernetes would take every schedule and time zone of the job."""
    for slot in cronjobs.slots(job):
        try:
            schedule.five_fields(slot.schedule)
            schedule.zone(slot.time_zone)
        except InvalidSpec as error:
            return Trouble("InvalidSchedule", f"schedule {slot.name}: {error.message}" if slot.name else error.message)
    return None


def check_storage(name: str, storage: BackupStorage | None, *, for_a_run: bool) -> Trouble | None:
    """The storage must have been Ready once; to start a run now it must be so still."""
    if storage is None:
        return Trouble("StorageMissing", f"BackupStorage {name} is not in this namespace; create it, or name another in storageRef")
    ready = storage.status.condition("Ready")
    told = f"{ready.reason}: {ready.message}" if ready else "it was not looked at yet"
    if orders.trust(storage) is None:
        return Trouble("StorageNotReady", f"BackupStorage {name} was never Ready: {told}")
    usable = ready is not None and (ready.status == "True" or ready.reason == "WriterNotAdmitted")
    if for_a_run and not usable:
        return Trouble("StorageNotReady", f"BackupStorage {name} is not Ready: {told}")
    return None


def check_claim(claim: str, around: Surroundings, *, reason: str, field: str) -> Trouble | None:
    """The claim must exist; it need not be bound, since a class may wait for the first pod."""
    if claim in around.claims:
        return None
    return Trouble(reason, f"PersistentVolumeClaim {claim} is not in this namespace; create it, or correct {field}")


def admit_backup(job: BackupJob, around: Surroundings, *, remembered: Identity | None, for_a_run: bool) -> Admitted | Trouble:
    """Whether the job's worker can be built and would run: the storage, the claims, whose eyes, on which node."""
    claim = job.spec.source.volume.claim_name
    problem = check_storage(job.spec.storage_ref.name, around.storage, for_a_run=for_a_run) or check_claim(
        claim, around, reason="SourceMissing", field="spec.source.volume.claimName"
    )
    return problem or admit_pod(job.spec.worker, claim, around, fallback=remembered)


def admit_pod(worker: Worker, claim: str, around: Surroundings, *, fallback: Identity | None) -> Admitted | Trouble:
    """Identity and placement of a pod that mounts the claim and, if the store is a volume, the store's claim."""
    storage = around.storage
    assert storage is not None, "check_storage comes first"
    store = storage.spec.volume
    if store and (
        problem := check_claim(store.claim_name, around, reason="StoreClaimMissing", field="the BackupStorage's spec.volume.claimName")
    ):
        return problem
    who = identity.resolve(wish(worker), identity.users_of(around.pods, claim), claim, root_allowed=around.root_allowed, fallback=fallback)
    if isinstance(who, Trouble):
        return who
    names = [claim, *([store.claim_name] if store and store.claim_name != claim else [])]
    where = placement.decide([placement.claim(around.claims[n], around.pods, around.volumes.get(n)) for n in names])
    if isinstance(where, Trouble):
        return where
    return Admitted(who.joining(store.group) if store else who, where)


def wish(worker: Worker) -> Wish:
    """What the spec says about the worker's user and groups."""
    context = worker.security_context
    return Wish(
        root=worker.identity == "Root",
        uid=context.run_as_user,
        gid=context.run_as_group,
        groups=tuple(sorted(context.supplemental_groups)) if context.supplemental_groups else None,
        fs_group=context.fs_group,
        selinux_level=context.se_linux_options.level if context.se_linux_options else None,
    )
