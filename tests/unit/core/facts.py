"""Objects as an API server gives them, for tables of decisions."""

from __future__ import annotations

from typing import Any

from iot_backup.api.backup import Backup
from iot_backup.api.backupjob import BackupJob
from iot_backup.api.backupstorage import BackupStorage
from iot_backup.api.restorejob import RestoreJob

Json = dict[str, Any]
UID = "11111111-aaaa"
FINGERPRINT = "ab" * 32
T0 = "2026-05-01T10:00:00Z"


def metadata(name: str, **more: Any) -> Json:
    return {"name": name, "namespace": "plant", "uid": UID, "generation": 1, "creationTimestamp": T0, **more}


def storage(
    *, pinned: bool = True, ready: tuple[str, str] = ("True", "Ready"), annotations: Json | None = None, **spec: Any
) -> BackupStorage:
    """On S3 and Ready, unless told otherwise."""
    place = {} if "volume" in spec else {"s3": {"bucket": "backups", "prefix": "a/b", "credentialsSecretRef": {"name": "credentials"}}}
    condition = {"type": "Ready", "status": ready[0], "reason": ready[1], "message": "so it is", "lastTransitionTime": T0}
    status = {"conditions": [condition], **({"repositoryId": "r1", "fingerprint": FINGERPRINT, "recipient": "age1x"} if pinned else {})}
    body = {"encryption": {"secretRef": {"name": "keys", "key": "passphrase"}}, **place, **spec}
    return BackupStorage.from_body({"metadata": metadata("s3", annotations=annotations or {}), "spec": body, "status": status})


def backup_job(name: str = "daily", status: Json | None = None, **spec: Any) -> BackupJob:
    body = {"storageRef": {"name": "s3"}, "source": {"volume": {"claimName": "data", "path": "db"}}, **spec}
    return BackupJob.from_body({"metadata": metadata(name), "spec": body, "status": status or {}})


def backup(name: str, phase: str | None = None, *, start: str = T0, job: str = "daily", **status: Any) -> Backup:
    known = {"phase": phase, "startTime": start} if phase else {}
    return Backup.from_body({"metadata": metadata(name), "spec": {"jobRef": {"name": job}}, "status": {**known, **status}})


def restore_job(status: Json | None = None, **spec: Any) -> RestoreJob:
    source = {} if {"backupJobRef", "storageRef"} & spec.keys() else {"backupRef": {"name": "first"}}
    body = {**source, "target": {"claimName": "data"}, **spec}
    return RestoreJob.from_body({"metadata": metadata("back"), "spec": body, "status": status or {}})


def claim(name: str = "data", *modes: str, volume: str | None = None) -> Json:
    return {"metadata": {"name": name}, "spec": {"accessModes": list(modes) or ["ReadWriteOnce"], "volumeName": volume}}


def user_pod(name: str = "db-0", *, claim: str = "data", node: str | None = "node-1", **more: Any) -> Json:
    """A workload's pod that mounts the claim in its container `db`."""
    spec: Json = {
        "nodeName": node,
        "containers": [
            {"name": "db", "volumeMounts": [{"name": "v"}], **more.pop("container", {})},
            {"name": "sidecar", "securityContext": {"runAsUser": 7}},
        ],
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": claim}}, {"name": "tmp", "emptyDir": {}}],
        "securityContext": more.pop("security", {}),
    }
    labels = more.pop("labels", {"app": "db", "pod-template-hash": "x", "batch.kubernetes.io/job-name": "y"})
    return {"metadata": {"name": name, "labels": labels, **more.pop("metadata", {})}, "spec": spec, "status": {"phase": "Running", **more}}
