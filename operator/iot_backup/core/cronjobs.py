"""CronJobs, as plain dicts: one for each schedule of a BackupJob."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from iot_backup import vocabulary
from iot_backup.api.backupjob import BackupJob
from iot_backup.core import jobs, naming, schedule, templates
from iot_backup.core.identity import Identity

if TYPE_CHECKING:
    from iot_backup.core.conditions import Json
    from iot_backup.core.spec import BackupType
    from iot_backup.core.templates import Plan

HISTORY = 10
"""Finished Jobs kept, of each kind: a weekend without the operator loses no run."""
APPLIED = f"{vocabulary.GROUP}/applied"
"""Annotation: digest of what was applied, to see what we no longer ask for."""
WORKLOAD_IDENTITY = f"{vocabulary.GROUP}/workload-identity"
"""Annotation: user and groups of the workload when it last ran, for the times when it does not."""


@dataclass(frozen=True)
class Slot:
    """One schedule of a BackupJob."""

    name: str | None
    """None for `spec.schedule`, which is the only one."""
    schedule: str
    time_zone: str | None
    type: BackupType
    """What its runs take."""


def slots(job: BackupJob) -> tuple[Slot, ...]:
    """Every schedule of the job; empty for one that runs on demand."""
    if job.spec.schedule:
        return (Slot(None, job.spec.schedule, job.spec.time_zone, job.spec.type),)
    return tuple(Slot(s.name, s.schedule, s.time_zone, s.type or job.spec.type) for s in job.spec.schedules or ())


def cron_job(job: BackupJob, slot: Slot, plan: Plan, workload: Identity | None) -> Json:
    """The CronJob for one schedule. Raises InvalidSpec for a schedule or zone Kubernetes would refuse."""
    labels = templates.labels("backup", BackupJob.KIND, job.name)
    spec: Json = {
        "schedule": schedule.five_fields(slot.schedule),
        "timeZone": schedule.zone(slot.time_zone).key if slot.time_zone else "Etc/UTC",
        "suspend": job.spec.suspend,
        "concurrencyPolicy": job.spec.concurrency_policy,
        "startingDeadlineSeconds": job.spec.starting_deadline_seconds,
        "successfulJobsHistoryLimit": HISTORY,
        "failedJobsHistoryLimit": HISTORY,
        "jobTemplate": {"metadata": {"labels": labels}, "spec": jobs.job_spec(plan, job.spec.timeout, job.spec.backoff_limit)},
    }
    annotations = {APPLIED: naming.digest(json.dumps([spec, labels], sort_keys=True), length=16)}
    if workload:
        annotations[WORKLOAD_IDENTITY] = json.dumps({"uid": workload.uid, "gid": workload.gid, "groups": workload.groups})
    return {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": naming.cron_job(job.name, slot.name),
            "namespace": job.namespace,
            "labels": labels,
            "annotations": annotations,
            "ownerReferences": [jobs.Owner(BackupJob.KIND, job.name, job.metadata.uid).reference],
        },
        "spec": spec,
    }


def remembered(cron_jobs: Sequence[Mapping[str, Any]]) -> Identity | None:
    """The workload's identity as an earlier CronJob of the job noted it."""
    for body in cron_jobs:
        text = (body["metadata"].get("annotations") or {}).get(WORKLOAD_IDENTITY)
        try:
            noted = json.loads(text or "")
            return Identity(int(noted["uid"]), int(noted["gid"]), tuple(int(g) for g in noted["groups"]))
        except (ValueError, KeyError, TypeError):
            continue
    return None


def in_place(wanted: Json, actual: Mapping[str, Any] | None) -> bool:
    """Whether the cluster has what we want: same digest, and nothing of it changed by another hand."""
    if actual is None:
        return False
    noted = (actual["metadata"].get("annotations") or {}).get(APPLIED)
    return noted == wanted["metadata"]["annotations"][APPLIED] and covers(wanted, actual)


def covers(wanted: Any, actual: Any) -> bool:
    """Everything wanted is there; what the API server or others added is not looked at."""
    if isinstance(wanted, Mapping):
        return isinstance(actual, Mapping) and all(key in actual and covers(value, actual[key]) for key, value in wanted.items())
    if isinstance(wanted, (list, tuple)):
        return isinstance(actual, (list, tuple)) and len(wanted) == len(actual) and all(map(covers, wanted, actual))
    return bool(wanted == actual)
