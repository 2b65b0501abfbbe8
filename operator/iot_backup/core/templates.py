"""The pod of a worker, as a plain dict: one builder for backups, restores and probes.

What the worker does is fixed by the order alone; who it runs as and where is fixed by the plan. Secrets are mounted as
optional files, so that the worker itself can say which Secret lacks which key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from iot_backup import vocabulary
from iot_backup.api.workload import Resources, Worker
from iot_backup.core import naming, spec

if TYPE_CHECKING:
    from iot_backup.core.conditions import Json
    from iot_backup.core.identity import Identity

Order = spec.BackupOrder | spec.RestoreOrder | spec.ProbeOrder

ROOT_CAPABILITIES = ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"]
"""What pod-security `baseline` admits and a tree of many owners needs."""
SECRET_MODE = 0o444
"""Readable for whatever user the worker runs as; the pod has no second container."""

RESOURCES: dict[str, Json] = {
    "backup": {"requests": {"cpu": "100m", "memory": "160Mi"}, "limits": {"memory": "256Mi"}},
    "restore": {"requests": {"cpu": "100m", "memory": "160Mi"}, "limits": {"memory": "512Mi"}},
    "probe": {"requests": {"cpu": "100m", "memory": "160Mi"}, "limits": {"memory": "512Mi"}},
}
"""Opening an identity by passphrase costs 270 MB for a moment (scrypt): restores and probes do, backups never."""


@dataclass(frozen=True)
class Image:
    """The worker's image."""

    name: str
    pull_policy: str = "IfNotPresent"
    pull_secrets: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything a worker's pod is made of."""

    order: Order
    owner_kind: str
    owner_name: str
    image: Image
    identity: Identity
    worker: Worker = field(default_factory=Worker)
    """What the user set on the pod (spec.worker); its identity is decided already."""
    affinity: Json | None = None


def labels(operation: str, owner_kind: str, owner_name: str) -> dict[str, str]:
    """What marks Jobs, CronJobs and pods as ours, and says for whom they work."""
    return {
        "app.kubernetes.io/name": vocabulary.OPERATOR,
        "app.kubernetes.io/component": "worker",
        vocabulary.MANAGED_BY: vocabulary.OPERATOR,
        vocabulary.OPERATION: operation,
        vocabulary.OWNER_KIND: owner_kind,
        vocabulary.OWNER_NAME: naming.label(owner_name),
    }


def pod_template(plan: Plan) -> Json:
    """The template for a Job or CronJob."""
    order_text = spec.encode(plan.order)
    pod: Json = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "securityContext": _pod_security(plan.identity),
        "containers": [_container(plan, spec.digest(order_text))],
        "volumes": [*_own_volumes(), *_secret_volumes(plan.order), *_claim_volumes(plan.order)],
    }
    optional: Json = {
        "imagePullSecrets": [{"name": name} for name in plan.image.pull_secrets],
        "nodeSelector": plan.worker.node_selector,
        "tolerations": [t.model_dump(by_alias=True, exclude_none=True) for t in plan.worker.tolerations],
        "priorityClassName": plan.worker.priority_class_name,
        "affinity": plan.affinity,
    }
    return {
        "metadata": {
            "labels": {**plan.worker.pod_labels, **labels(plan.order.kind, plan.owner_kind, plan.owner_name)},
            "annotations": {**plan.worker.pod_annotations, vocabulary.SPEC: order_text},
        },
        "spec": {**pod, **{key: value for key, value in optional.items() if value}},
    }


def _container(plan: Plan, order_digest: str) -> Json:
    kind = plan.order.kind
    return {
        "name": vocabulary.WORKER_CONTAINER,
        "image": plan.image.name,
        "imagePullPolicy": plan.image.pull_policy,
        "args": ["worker", kind, "--spec", vocabulary.SPEC_FILE, "--spec-sha256", order_digest],
        "env": [
            _from_label(vocabulary.ENV_JOB_NAME, "batch.kubernetes.io/job-name"),
            _from_label(vocabulary.ENV_JOB_UID, "batch.kubernetes.io/controller-uid"),
        ],
        "resources": _resources(kind, plan.worker.resources),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"], **({"add": ROOT_CAPABILITIES} if plan.identity.root else {})},
        },
        "terminationMessagePolicy": "File",
        "volumeMounts": [
            {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - the container's own, an emptyDir
            {"name": "spec", "mountPath": vocabulary.SPEC_FILE.rpartition("/")[0], "readOnly": True},
            *({"name": f"secret-{way}", "mountPath": f"{vocabulary.SECRETS}/{way}", "readOnly": True} for way in _by_folder(plan.order)),
            *_claim_mounts(plan.order),
        ],
    }


def _from_label(name: str, label: str) -> Json:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": f"metadata.labels['{label}']"}}}


def _resources(kind: str, wished: Resources) -> Json:
    """Defaults, each replaced by what the user set; a default request goes where the user set a limit, which then counts as both."""
    kept = {name: amount for name, amount in RESOURCES[kind]["requests"].items() if name not in wished.limits}
    return {"requests": {**kept, **wished.requests}, "limits": {**RESOURCES[kind]["limits"], **wished.limits}}


def _pod_security(identity: Identity) -> Json:
    context: Json = {
        "runAsUser": identity.uid,
        "runAsGroup": identity.gid,
        "runAsNonRoot": not identity.root,
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    if identity.groups:
        context["supplementalGroups"] = list(identity.groups)
    if identity.fs_group is not None:
        context["fsGroup"] = identity.fs_group
        context["fsGroupChangePolicy"] = "OnRootMismatch"
    if identity.selinux_level:
        context["seLinuxOptions"] = {"level": identity.selinux_level}
    return context


def _own_volumes() -> list[Json]:
    reference = {"fieldPath": f"metadata.annotations['{vocabulary.SPEC}']"}
    file = vocabulary.SPEC_FILE.rpartition("/")[2]
    return [
        {"name": "tmp", "emptyDir": {}},
        {"name": "spec", "downwardAPI": {"items": [{"path": file, "fieldRef": reference}], "defaultMode": SECRET_MODE}},
    ]


def secrets_of(order: Order) -> list[spec.SecretSource]:
    """Every Secret key the order names: what the worker's pod mounts, and nothing more."""
    repository, store = order.repository, order.repository.store
    found: list[spec.SecretSource | None] = []
    if isinstance(store, spec.S3Target):
        found += [store.access_key_id, store.secret_access_key, store.ca]
    if isinstance(order, spec.RestoreOrder):
        # Reading needs no writer's key, and a brought identity needs no passphrase.
        found.append(order.identity or repository.encryption.passphrase)
    else:
        found += [repository.encryption.passphrase if order.kind == "probe" else None, repository.writer_key]
    return [source for source in found if source is not None]


def _by_folder(order: Order) -> dict[str, list[spec.SecretSource]]:
    folders: dict[str, list[spec.SecretSource]] = {}
    for source in secrets_of(order):
        folders.setdefault(source.file.partition("/")[0], []).append(source)
    return folders


def _secret_volumes(order: Order) -> list[Json]:
    return [
        {
            "name": f"secret-{folder}",
            "secret": {
                "secretName": sources[0].secret,
                "optional": True,
                "defaultMode": SECRET_MODE,
                "items": [{"key": s.key, "path": s.file.partition("/")[2]} for s in sources],
            },
        }
        for folder, sources in _by_folder(order).items()
    ]


def _claims(order: Order) -> list[tuple[str, str, str, bool]]:
    """(volume, claim, mount path, read only) of each claim the order works on."""
    found: list[tuple[str, str, str, bool]] = []
    if isinstance(order, spec.BackupOrder):
        found.append(("source", order.claim, vocabulary.SOURCE, True))
    if isinstance(order, spec.RestoreOrder):
        found.append(("target", order.claim, vocabulary.TARGET, order.mode == "Plan"))
    if isinstance(order.repository.store, spec.VolumeTarget):
        found.append(("store", order.repository.store.claim, order.repository.store.mount, False))
    return found


def _claim_volumes(order: Order) -> list[Json]:
    return [
        {"name": name, "persistentVolumeClaim": {"claimName": claim, **({"readOnly": True} if read_only else {})}}
        for name, claim, _, read_only in _claims(order)
    ]


def _claim_mounts(order: Order) -> list[Json]:
    return [{"name": name, "mountPath": path, **({"readOnly": True} if read_only else {})} for name, _, path, read_only in _claims(order)]
