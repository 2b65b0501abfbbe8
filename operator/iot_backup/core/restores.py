"""Which backup a RestoreJob brings back, and whether its target may be written: decided once, before anything is touched."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from iot_backup.api.restorejob import NewClaim, RestoreJob
from iot_backup.core import identity
from iot_backup.core.identity import Identity
from iot_backup.core.pods import Trouble
from iot_backup.core.templates import labels

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from iot_backup.api.backup import Backup
    from iot_backup.api.backupjob import BackupJob
    from iot_backup.core.admission import Surroundings
    from iot_backup.core.conditions import Json

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def resolve(restore: RestoreJob, backups: Mapping[str, Backup], job: BackupJob | None) -> Json | Trouble:
    """`status.resolved`: the chosen backup, or why there is none yet. Once it is set, it is never asked again."""
    spec = restore.spec
    if spec.storage_ref and spec.archive:
        known = next((b for b in backups.values() if b.status.archive == spec.archive), None)
        chosen = _of(known) if known else {}
        return {**chosen, "storage": spec.storage_ref.name, "archive": spec.archive}
    if spec.backup_ref:
        return _named(spec.backup_ref.name, backups)
    assert spec.backup_job_ref is not None, "a RestoreJob has one source (api/restorejob.py)"
    return _newest(spec.backup_job_ref.name, list(backups.values()), job, spec.as_of)


def _named(name: str, backups: Mapping[str, Backup]) -> Json | Trouble:
    backup = backups.get(name)
    if backup is None:
        return Trouble("BackupMissing", f"Backup {name} is not in this namespace; `kubectl get ibk` lists those that are")
    if backup.status.archive is None or backup.status.storage_ref is None:
        phase = backup.status.phase or "Pending"
        reason = "BackupFailed" if phase in {"Failed", "Cancelled"} else "BackupNotCompleted"
        return Trouble(reason, f"Backup {name} is {phase} and has no archive; restore another one")
    return _of(backup)


def _newest(job_name: str, backups: Sequence[Backup], job: BackupJob | None, as_of: datetime | None) -> Json | Trouble:
    """The newest completed Backup of the job, by when its walk began: of all, or of those not later than `as_of`. Never another."""
    good = [
        b
        for b in backups
        if b.spec.job_ref.name == job_name and b.status.phase == "Completed" and b.status.archive and b.status.storage_ref
    ]
    if not good:
        reason = "NoBackup" if job or any(b.spec.job_ref.name == job_name for b in backups) else "BackupJobMissing"
        return Trouble(reason, f"BackupJob {job_name} has no completed Backup in this namespace; nothing can be restored from it yet")
    if as_of is None:
        return _of(max(good, key=_age))
    # One whose time is not known is nobody's state at a time.
    dated = [b for b in good if b.status.snapshot_time]
    known = [b for b in dated if b.status.snapshot_time and b.status.snapshot_time <= as_of]
    if not known:
        oldest = min(dated, key=_age, default=None)
        told = f"the oldest is {oldest.name}, of {_iso(oldest.status.snapshot_time)}; give asOf that time or a later one" if oldest else ""
        return Trouble(
            "NoBackup", f"BackupJob {job_name} has no completed Backup of {_iso(as_of)} or before; {told or 'none tells its time'}"
        )
    return _of(max(known, key=_age))


def _age(backup: Backup) -> tuple[datetime, datetime, str]:
    """By when its walk began; newest last."""
    return backup.status.snapshot_time or _EPOCH, backup.status.completion_time or _EPOCH, backup.name


def needs_floor(restore: RestoreJob) -> bool:
    """Whether "newest" was the store's or our word: then what is remembered must be shown, unless somebody knows better."""
    return restore.spec.backup_job_ref is not None and not restore.spec.accept_newest


def _of(backup: Backup) -> Json:
    status = backup.status
    fields = {
        "storage": status.storage_ref.name if status.storage_ref else None,
        "archive": status.archive,
        "chain": status.chain,
        "backup": backup.name,
        "snapshotTime": _iso(status.snapshot_time),
        "checksum": status.checksum,
    }
    return {key: value for key, value in fields.items() if value is not None}


def check_target(restore: RestoreJob, around: Surroundings, *, ours: bool) -> Trouble | None:
    """An existing target must be there and, to be written, unused; a new one must not be there, unless this RestoreJob made it (`ours`)."""
    target, name = restore.spec.target, restore.spec.target.claim
    if target.new_claim:
        if name in around.claims and not ours:
            return Trouble(
                "TargetExists",
                f"PersistentVolumeClaim {name} is there already; give newClaim another name, or restore into it with claimName: {name}",
            )
        return None
    if name not in around.claims:
        return Trouble("TargetMissing", f"PersistentVolumeClaim {name} is not in this namespace; create it, or use target.newClaim")
    users = identity.users_of(around.pods, name)
    if users and not target.allow_in_use and restore.spec.mode != "Plan":
        pods = ", ".join(sorted(p["metadata"]["name"] for p in users)[:5])
        return Trouble(
            "TargetInUse", f"claim {name} is mounted by {pods}; stop them, or set target.allowInUse: true to write under their eyes"
        )
    return None


def _iso(moment: datetime | None) -> str | None:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def writer(restore: RestoreJob, backup: Backup | None, workload: Identity | None) -> Identity | None:
    """Who writes where nobody uses the claim now; None if nothing tells.

    The owner of the backup's root folder; where that is root (a volume handed over by fsGroup), the workload as it was last
    seen, with the folder's group. An existing claim is left as it is; a new one is handed over to that group, or where it is
    not known to the writer's own, since a new volume belongs to root.
    """
    owner = backup.status.source_owner if backup else None
    who = Identity(owner.uid, owner.gid) if owner and owner.uid else workload or Identity()
    if restore.spec.target.new_claim:
        asked = restore.spec.worker.security_context
        own = next(gid for gid in (asked.run_as_group, asked.run_as_user, who.gid) if gid is not None)
        return Identity(who.uid, who.gid, fs_group=(owner.gid if owner else 0) or own)
    if owner is None:
        return workload
    return who.joining(*([owner.gid] if owner.gid and owner.gid != who.gid else []))


def new_claim(restore: RestoreJob, wanted: NewClaim, annotation: str) -> Json:
    """The claim to create. It has no owner: deleting the RestoreJob leaves the data. `annotation` names who made it."""
    spec: Json = {"accessModes": list(wanted.access_modes), "resources": {"requests": {"storage": wanted.size}}}
    if wanted.storage_class_name:
        spec["storageClassName"] = wanted.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {
            "name": wanted.name,
            "namespace": restore.namespace,
            "labels": {k: v for k, v in labels("restore", RestoreJob.KIND, restore.name).items() if k != "app.kubernetes.io/component"},
            "annotations": {annotation: restore.metadata.uid},
        },
        "spec": spec,
    }
