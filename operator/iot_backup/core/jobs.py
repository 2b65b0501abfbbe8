"""Jobs, as plain dicts."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from iot_backup import errors, vocabulary
from iot_backup.core import templates

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iot_backup.core.conditions import Json
    from iot_backup.core.templates import Plan

KEPT_SECONDS = 24 * 3600
"""How long a Job of ours stays after its end: with it goes the pod, and with that the report."""
PROBE_TIMEOUT = timedelta(minutes=5)
_NEVER_BETTER = sorted(
    {
        e.exit_code
        for e in (
            errors.InvalidSpec,
            errors.CorruptData,
            errors.SourceUnavailable,
            errors.Internal,
            errors.StorageFull,
            errors.AccessDenied,
        )
    }
)
"""Exit codes of failures that another attempt repeats."""


@dataclass(frozen=True)
class Owner:
    """The object of ours that a child belongs to and goes with."""

    kind: str
    name: str
    uid: str

    @property
    def reference(self) -> Json:
        """blockOwnerDeletion is false: true needs the right to set finalizers where that is enforced."""
        return {
            "apiVersion": vocabulary.API_VERSION,
            "kind": self.kind,
            "name": self.name,
            "uid": self.uid,
            "controller": True,
            "blockOwnerDeletion": False,
        }


def job_spec(plan: Plan, timeout: timedelta, backoff_limit: int) -> Json:
    """The spec of a Job, also inside a CronJob."""
    return {
        "backoffLimit": backoff_limit,
        "activeDeadlineSeconds": int(timeout.total_seconds()),
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": vocabulary.WORKER_CONTAINER, "operator": "In", "values": _NEVER_BETTER},
                },
            ]
        },
        "template": templates.pod_template(plan),
    }


def job(
    name: str,
    namespace: str,
    *,
    owner: Owner,
    plan: Plan,
    timeout: timedelta,
    backoff_limit: int,
    annotations: Mapping[str, str] | None = None,
) -> Json:
    """A Job that the operator creates; it is created once and never changed, but for being ended."""
    metadata: dict[str, Any] = {
        "name": name,
        "namespace": namespace,
        "labels": templates.labels(plan.order.kind, plan.owner_kind, plan.owner_name),
        "ownerReferences": [owner.reference],
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": metadata,
        "spec": {**job_spec(plan, timeout, backoff_limit), "ttlSecondsAfterFinished": KEPT_SECONDS},
    }


def ending(replaced_by: str | None = None) -> Json:
    """A merge patch that ends a Job: its pods get SIGTERM, and it fails with DeadlineExceeded. `replaced_by` says for which run.

    Not `suspend`: a suspended Job never ends, and a CronJob that forbids concurrency would wait for it for ever.
    """
    note = {"metadata": {"annotations": {vocabulary.REPLACED_BY: replaced_by}}} if replaced_by else {}
    return {**note, "spec": {"activeDeadlineSeconds": 1}}
