"""Whom a change concerns: from an object that was seen to the objects to look at."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iot_backup import vocabulary
from iot_backup.cluster import resources
from iot_backup.core import pods
from iot_backup.core.runs import FINAL
from iot_backup.handlers.queue import Key

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from iot_backup.cluster.client import Json
    from iot_backup.cluster.resources import Resource
    from iot_backup.handlers.cache import Cache

JOB = "Job"
_KINDS = {r.kind for r in resources.OWN}


def concerned(cache: Cache, resource: Resource, body: Json) -> set[Key]:
    """The keys to enqueue for one changed, new or deleted object."""
    namespace, name = str(body["metadata"].get("namespace", "")), str(body["metadata"]["name"])
    keys = set(_RULES.get(resource, _nobody)(cache, body))
    if resource in resources.OWN:
        keys.add(Key(resource.kind, namespace, name))
    return keys


def _nobody(_cache: Cache, _body: Json) -> Iterable[Key]:
    return ()


def _storage(cache: Cache, body: Json) -> Iterator[Key]:
    """Its BackupJobs, and all that waits in the namespace."""
    namespace, name = _id(body)
    for job in cache.select(resources.BACKUP_JOBS, namespace, lambda b: b.get("spec", {}).get("storageRef", {}).get("name") == name):
        yield Key("BackupJob", namespace, job["metadata"]["name"])
    yield from _unfinished(cache, namespace)


def _backup_job(cache: Cache, body: Json) -> Iterator[Key]:
    namespace, name = _id(body)
    for backup in cache.select(resources.BACKUPS, namespace, lambda b: _job_of(b) == name and _open(b)):
        yield Key("Backup", namespace, backup["metadata"]["name"])
    labelled = {vocabulary.OWNER_KIND: "BackupJob", vocabulary.OWNER_NAME: name}
    for job in cache.select(resources.JOBS, namespace, lambda b: labelled.items() <= (b["metadata"].get("labels") or {}).items()):
        yield Key(JOB, namespace, job["metadata"]["name"])


def _backup(cache: Cache, body: Json) -> Iterator[Key]:
    """Its BackupJob; runs of that job that wait for this one to end; restores that wait for it to complete."""
    namespace, _ = _id(body)
    yield Key("BackupJob", namespace, _job_of(body))
    if not _open(body):
        for other in cache.select(resources.BACKUPS, namespace, lambda b: _job_of(b) == _job_of(body) and _open(b)):
            yield Key("Backup", namespace, other["metadata"]["name"])
        yield from _restores(cache, namespace)


def _cron_job(_cache: Cache, body: Json) -> Iterator[Key]:
    namespace, _ = _id(body)
    owner = pods.controller(body)
    if owner.get("kind") == "BackupJob":
        yield Key("BackupJob", namespace, str(owner["name"]))


def _job(cache: Cache, body: Json) -> Iterator[Key]:
    """The object of ours that made it; for a Job of a CronJob the Job itself, which becomes a Backup."""
    namespace, name = _id(body)
    owner = pods.controller(body)
    if owner.get("kind") in _KINDS:
        yield Key(str(owner["kind"]), namespace, str(owner["name"]))
    else:
        yield Key(JOB, namespace, name)
        for backup in cache.select(
            resources.BACKUPS, namespace, lambda b: b.get("spec", {}).get("run", {}).get("jobName") == name and _open(b)
        ):
            yield Key("Backup", namespace, backup["metadata"]["name"])
    if (body["metadata"].get("labels") or {}).get(vocabulary.OPERATION) == "restore":
        yield from _restores(cache, namespace)


def _pod(cache: Cache, body: Json) -> Iterator[Key]:
    """As its Job, which may not have been seen yet: then the Job's own event follows."""
    namespace, _ = _id(body)
    owner = pods.controller(body)
    job = cache.get(resources.JOBS, namespace, str(owner.get("name"))) if owner.get("kind") == JOB else None
    if job is not None:
        yield from _job(cache, job)


def _claim(cache: Cache, body: Json) -> Iterator[Key]:
    """Storages and BackupJobs that name it, and all that waits in the namespace."""
    namespace, name = _id(body)
    for storage in cache.select(resources.BACKUP_STORAGES, namespace, lambda b: (b["spec"].get("volume") or {}).get("claimName") == name):
        yield Key("BackupStorage", namespace, storage["metadata"]["name"])
    for job in cache.select(resources.BACKUP_JOBS, namespace, lambda b: _source(b) == name):
        yield Key("BackupJob", namespace, job["metadata"]["name"])
    yield from _unfinished(cache, namespace)


_RULES = {
    resources.BACKUP_STORAGES: _storage,
    resources.BACKUP_JOBS: _backup_job,
    resources.BACKUPS: _backup,
    resources.CRON_JOBS: _cron_job,
    resources.JOBS: _job,
    resources.PODS: _pod,
    resources.CLAIMS: _claim,
}


def _unfinished(cache: Cache, namespace: str) -> Iterator[Key]:
    for backup in cache.select(resources.BACKUPS, namespace, _open):
        yield Key("Backup", namespace, backup["metadata"]["name"])
    yield from _restores(cache, namespace)


def _restores(cache: Cache, namespace: str) -> Iterator[Key]:
    for restore in cache.select(resources.RESTORE_JOBS, namespace, _open):
        yield Key("RestoreJob", namespace, restore["metadata"]["name"])


def _open(body: Json) -> bool:
    return (body.get("status") or {}).get("phase") not in FINAL


def _job_of(body: Json) -> str:
    return str(body.get("spec", {}).get("jobRef", {}).get("name", ""))


def _source(body: Json) -> str:
    return str(body.get("spec", {}).get("source", {}).get("volume", {}).get("claimName", ""))


def _id(body: Json) -> tuple[str, str]:
    return str(body["metadata"].get("namespace", "")), str(body["metadata"]["name"])
