"""Pods, Jobs and CronJobs, as whole objects."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from iot_backup import vocabulary
from iot_backup.core import cronjobs, jobs, naming, orders, spec, templates
from iot_backup.core.cronjobs import Slot
from iot_backup.core.identity import Identity
from iot_backup.core.templates import Image, Plan
from iot_backup.errors import InvalidSpec

from .facts import UID, backup_job, restore_job, storage

Json = dict[str, Any]
IMAGE = Image("registry.example/worker:1", pull_secrets=("pull",))
LABELS = {
    "app.kubernetes.io/name": "iot-backup-operator",
    "app.kubernetes.io/component": "worker",
    "app.kubernetes.io/managed-by": "iot-backup-operator",
    "backup.iot-system.io/operation": "backup",
    "backup.iot-system.io/owner-kind": "BackupJob",
    "backup.iot-system.io/owner-name": "daily",
}


def _plan(identity: Identity = Identity(999, 998, (2000,)), **changes: Any) -> Plan:  # noqa: B008 - frozen
    job, store = backup_job(**changes), storage()
    trusted = orders.trust(store)
    assert trusted is not None
    return Plan(orders.backup(job, store, trusted), "BackupJob", "daily", IMAGE, identity, job.spec.worker)


def test_the_pod_of_a_backup() -> None:
    plan = _plan()
    text = spec.encode(plan.order)
    assert templates.pod_template(plan) == {
        "metadata": {"labels": LABELS, "annotations": {"backup.iot-system.io/spec": text}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "enableServiceLinks": False,
            "imagePullSecrets": [{"name": "pull"}],
            "securityContext": {
                "runAsUser": 999,
                "runAsGroup": 998,
                "runAsNonRoot": True,
                "supplementalGroups": [2000],
                "seccompProfile": {"type": "RuntimeDefault"},
            },
            "containers": [
                {
                    "name": "worker",
                    "image": "registry.example/worker:1",
                    "imagePullPolicy": "IfNotPresent",
                    "args": ["worker", "backup", "--spec", "/run/iot-backup/spec/spec.json", "--spec-sha256", spec.digest(text)],
                    "env": [
                        {
                            "name": "IOT_BACKUP_JOB_NAME",
                            "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/job-name']"}},
                        },
                        {
                            "name": "IOT_BACKUP_JOB_UID",
                            "valueFrom": {"fieldRef": {"fieldPath": "metadata.labels['batch.kubernetes.io/controller-uid']"}},
                        },
                    ],
                    "resources": {"requests": {"cpu": "100m", "memory": "160Mi"}, "limits": {"memory": "256Mi"}},
                    "securityContext": {
                        "allowPrivilegeEscalation": False,
                        "readOnlyRootFilesystem": True,
                        "capabilities": {"drop": ["ALL"]},
                    },
                    "terminationMessagePolicy": "File",
                    "volumeMounts": [
                        {"name": "tmp", "mountPath": "/tmp"},
                        {"name": "spec", "mountPath": "/run/iot-backup/spec", "readOnly": True},
                        {"name": "secret-store", "mountPath": "/run/secrets/iot-backup/store", "readOnly": True},
                        {"name": "secret-writer", "mountPath": "/run/secrets/iot-backup/writer", "readOnly": True},
                        {"name": "source", "mountPath": "/source", "readOnly": True},
                    ],
                }
            ],
            "volumes": [
                {"name": "tmp", "emptyDir": {}},
                {
                    "name": "spec",
                    "downwardAPI": {
                        "items": [{"path": "spec.json", "fieldRef": {"fieldPath": "metadata.annotations['backup.iot-system.io/spec']"}}],
                        "defaultMode": 0o444,
                    },
                },
                {
                    "name": "secret-store",
                    "secret": {
                        "secretName": "credentials",
                        "optional": True,
                        "defaultMode": 0o444,
                        "items": [
                            {"key": "aws-access-key-id", "path": "access-key-id"},
                            {"key": "aws-secret-access-key", "path": "secret-access-key"},
                        ],
                    },
                },
                {
                    "name": "secret-writer",
                    "secret": {
                        "secretName": "s3-writer-key",
                        "optional": True,
                        "defaultMode": 0o444,
                        "items": [{"key": "key", "path": "key"}],
                    },
                },
                {"name": "source", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}},
            ],
        },
    }


def test_root_gets_only_what_baseline_admits() -> None:
    pod = templates.pod_template(_plan(Identity(0, 0, root=True)))["spec"]
    assert (pod["securityContext"]["runAsUser"], pod["securityContext"]["runAsNonRoot"]) == (0, False)
    added = pod["containers"][0]["securityContext"]["capabilities"]["add"]
    assert added == ["CHOWN", "DAC_OVERRIDE", "FOWNER", "FSETID", "MKNOD", "SETFCAP"]


def test_what_a_user_sets_on_the_pod() -> None:
    worker = {
        "resources": {"requests": {"cpu": "1"}, "limits": {"memory": "64Mi"}},
        "nodeSelector": {"disk": "ssd"},
        "tolerations": [{"key": "edge", "operator": "Exists"}],
        "priorityClassName": "low",
        "podLabels": {"team": "a"},
        "podAnnotations": {"note": "b"},
    }
    template = templates.pod_template(_plan(worker=worker))
    pod = template["spec"]
    assert pod["containers"][0]["resources"] == {"requests": {"cpu": "1"}, "limits": {"memory": "64Mi"}}
    assert (pod["nodeSelector"], pod["tolerations"], pod["priorityClassName"]) == (
        {"disk": "ssd"},
        [{"key": "edge", "operator": "Exists"}],
        "low",
    )
    assert template["metadata"]["labels"] == {"team": "a", **LABELS}
    assert template["metadata"]["annotations"]["note"] == "b"


def test_fs_group_and_level_only_where_they_are_set() -> None:
    context = templates.pod_template(_plan(Identity(1, 2, (), 3, "s0")))["spec"]["securityContext"]
    assert (context["fsGroup"], context["fsGroupChangePolicy"], context["seLinuxOptions"]) == (3, "OnRootMismatch", {"level": "s0"})
    assert "supplementalGroups" not in context


def _volumes(order: templates.Order) -> dict[str, Json]:
    template = templates.pod_template(Plan(order, "RestoreJob", "back", IMAGE, Identity()))
    return {v["name"]: v for v in template["spec"]["volumes"]}


CREDENTIALS = {"secret-store": "c", "secret-ca": "ca"}


@pytest.mark.parametrize(
    ("brought", "key"),
    [({}, {"secret-encryption": "keys"}), ({"identitySecretRef": {"name": "mine", "key": "age"}}, {"secret-identity": "mine"})],
)
def test_a_restore_mounts_one_key_to_read_with_the_ca_and_its_target(brought: Json, key: Json) -> None:
    store = storage(s3={"bucket": "backups", "credentialsSecretRef": {"name": "c"}, "caBundleSecretRef": {"name": "ca"}})
    restore = restore_job({"resolved": {"archive": "0" * 16, "storage": "s3"}}, **brought)
    assert restore.status.resolved is not None
    volumes = _volumes(orders.restore(restore, store, restore.status.resolved))
    assert {name: v["secret"]["secretName"] for name, v in volumes.items() if "secret" in v} == {**CREDENTIALS, **key}
    assert volumes["target"]["persistentVolumeClaim"] == {"claimName": "data"}


def test_a_probe_mounts_the_passphrase_and_the_writers_key() -> None:
    assert {name for name, v in _volumes(orders.probe(storage())).items() if "secret" in v} == {
        "secret-store",
        "secret-encryption",
        "secret-writer",
    }


def test_a_volume_store_is_mounted_where_the_order_says() -> None:
    store = storage(volume={"claimName": "store", "path": "x"}, encryption={"algorithm": "None"})
    volumes = _volumes(orders.probe(store))
    assert volumes["store"]["persistentVolumeClaim"] == {"claimName": "store"}
    assert {name for name, v in volumes.items() if "secret" in v} == {"secret-writer"}


def test_a_job() -> None:
    plan = _plan()
    owner = jobs.Owner("Backup", "now", "u1")
    made = jobs.job("now", "plant", owner=owner, plan=plan, timeout=timedelta(hours=1), backoff_limit=2, annotations={"a": "b"})
    assert made == {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": "now",
            "namespace": "plant",
            "labels": LABELS,
            "annotations": {"a": "b"},
            "ownerReferences": [
                {
                    "apiVersion": "backup.iot-system.io/v1alpha1",
                    "kind": "Backup",
                    "name": "now",
                    "uid": "u1",
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": {
            "backoffLimit": 2,
            "activeDeadlineSeconds": 3600,
            "podReplacementPolicy": "Failed",
            "ttlSecondsAfterFinished": 86400,
            "podFailurePolicy": {
                "rules": [
                    {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                    {"action": "FailJob", "onExitCodes": {"containerName": "worker", "operator": "In", "values": [64, 65, 66, 70, 73, 77]}},
                ]
            },
            "template": templates.pod_template(plan),
        },
    }


def test_a_cronjob() -> None:
    job = backup_job(
        schedule="@daily", timeZone="Europe/Berlin", suspend=True, concurrencyPolicy="Replace", startingDeadlineSeconds=60, timeout="2h"
    )
    plan = _plan()
    made = cronjobs.cron_job(job, Slot(None, "@daily", "Europe/Berlin", "Full"), plan, Identity(999, 998, (2000,)))
    annotations = made["metadata"].pop("annotations")
    assert made == {
        "apiVersion": "batch/v1",
        "kind": "CronJob",
        "metadata": {
            "name": "daily",
            "namespace": "plant",
            "labels": LABELS,
            "ownerReferences": [jobs.Owner("BackupJob", "daily", UID).reference],
        },
        "spec": {
            "schedule": "0 0 * * *",
            "timeZone": "Europe/Berlin",
            "suspend": True,
            "concurrencyPolicy": "Replace",
            "startingDeadlineSeconds": 60,
            "successfulJobsHistoryLimit": 10,
            "failedJobsHistoryLimit": 10,
            "jobTemplate": {"metadata": {"labels": LABELS}, "spec": jobs.job_spec(plan, timedelta(hours=2), 2)},
        },
    }
    assert cronjobs.remembered([{"metadata": {"annotations": annotations}}]) == Identity(999, 998, (2000,))


def test_without_a_zone_a_schedule_is_utc() -> None:
    assert cronjobs.cron_job(backup_job(), Slot("n", "0 1 * * *", None, "Full"), _plan(), None)["spec"]["timeZone"] == "Etc/UTC"


def test_a_bad_schedule_is_never_built() -> None:
    with pytest.raises(InvalidSpec):
        cronjobs.cron_job(backup_job(), Slot(None, "0 0 * * 7", None, "Full"), _plan(), None)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"uid": "x", "gid": 1, "groups": []}', '{"uid": 1}'])
def test_notes_that_cannot_be_read_are_no_notes(text: str) -> None:
    assert cronjobs.remembered([{"metadata": {"annotations": {cronjobs.WORKLOAD_IDENTITY: text}}}, {"metadata": {}}]) is None


def test_in_place_sees_what_others_changed_and_what_we_no_longer_want() -> None:
    wanted = cronjobs.cron_job(backup_job(), Slot(None, "@daily", None, "Full"), _plan(), None)
    actual = {**wanted, "metadata": {**wanted["metadata"], "uid": "x"}, "spec": {**wanted["spec"], "added": "by the server"}}
    assert cronjobs.in_place(wanted, actual)
    assert not cronjobs.in_place(wanted, None)
    assert not cronjobs.in_place(wanted, {**actual, "spec": {**actual["spec"], "suspend": True}})
    without = cronjobs.cron_job(backup_job(), Slot(None, "@daily", None, "Full"), _plan(worker={"nodeSelector": {"a": "b"}}), None)
    assert not cronjobs.in_place(wanted, {**actual, "metadata": {**actual["metadata"], "annotations": without["metadata"]["annotations"]}})


def test_slots() -> None:
    assert cronjobs.slots(backup_job()) == ()
    assert cronjobs.slots(backup_job(schedule="@daily", timeZone="Etc/UTC")) == (Slot(None, "@daily", "Etc/UTC", "Full"),)
    own = [{"name": "n", "schedule": "@weekly"}, {"name": "w", "schedule": "@monthly", "type": "Full"}]
    assert cronjobs.slots(backup_job(type="Incremental", schedules=own)) == (
        Slot("n", "@weekly", None, "Incremental"),
        Slot("w", "@monthly", None, "Full"),
    )


def test_orders_say_what_the_resources_say() -> None:
    store = storage()
    trusted = orders.trust(store)
    assert trusted is not None
    order = orders.backup(backup_job(chain="c", compression={"level": 7}, allowEmpty=True, timeout="90s"), store, trusted, schedule="night")
    assert (order.chain, order.level, order.allow_empty, order.timeout_seconds, order.schedule, order.path) == (
        "c",
        7,
        True,
        90,
        "night",
        "db",
    )
    assert (order.type, order.floor, order.max_chain_length, order.include, order.exclude, order.one_file_system) == (
        "Full",
        None,
        30,
        (),
        (),
        False,
    )
    assert order.repository.encryption.passphrase is None
    assert orders.location(store) == "s3://backups/a/b"
    assert orders.location(storage(volume={"claimName": "c", "path": "x"}, encryption={"algorithm": "None"})) == "pvc://c/x"


FLOOR = spec.Floor(seq=4, manifest_sha256="e" * 64)


@pytest.mark.parametrize(("asked", "type_"), [(None, "Incremental"), ("Full", "Full"), ("Differential", "Differential")])
def test_a_run_takes_the_type_it_was_asked_for_else_its_jobs(asked: spec.BackupType | None, type_: str) -> None:
    store = storage()
    trusted = orders.trust(store)
    assert trusted is not None
    source = {"volume": {"claimName": "data", "include": ["/a/"], "exclude": ["*.tmp", "!b"], "oneFileSystem": True}}
    order = orders.backup(backup_job(type="Incremental", maxChainLength=7, source=source), store, trusted, type_=asked, floor=FLOOR)
    assert (order.type, order.max_chain_length, order.floor) == (type_, 7, FLOOR)
    assert (order.include, order.exclude, order.one_file_system) == (("/a/",), ("*.tmp", "!b"), True)


def test_orders_say_what_bandwidth_their_run_may_take() -> None:
    store = storage()
    trusted = orders.trust(store)
    assert trusted is not None
    assert orders.backup(backup_job(), store, trusted).bandwidth_limit is None
    assert orders.backup(backup_job(worker={"bandwidthLimit": "20M"}), store, trusted).bandwidth_limit == 20_000_000
    restore = restore_job({"resolved": {"archive": "0" * 16, "chain": "c"}}, worker={"bandwidthLimit": "10Mi"})
    assert restore.status.resolved is not None
    assert orders.restore(restore, store, restore.status.resolved).bandwidth_limit == 10 << 20


def test_a_restore_order_says_what_the_restore_job_says() -> None:
    wanted = {"type": "Selective", "include": ["/a/"], "exclude": ["b"], "onConflict": "KeepNewer", "mode": "Plan", "verify": False}
    restore = restore_job({"resolved": {"archive": "0" * 16, "chain": "c"}}, worker={"identity": "Root"}, **wanted)
    assert restore.status.resolved is not None
    order = orders.restore(restore, storage(), restore.status.resolved, FLOOR)
    assert (order.type, order.include, order.exclude) == ("Selective", ("/a/",), ("b",))
    assert (order.on_conflict, order.mode, order.verify, order.devices, order.floor) == ("KeepNewer", "Plan", False, True, FLOOR)
    usual = restore_job({"resolved": {"archive": "0" * 16}})
    assert usual.status.resolved is not None
    order = orders.restore(usual, storage(), usual.status.resolved)
    assert (order.type, order.include, order.exclude) == ("Full", (), ())
    assert (order.on_conflict, order.mode, order.verify, order.devices, order.floor) == ("Overwrite", "Restore", True, False, None)


def test_a_plan_cannot_write_to_its_target() -> None:
    restore = restore_job({"resolved": {"archive": "0" * 16}}, mode="Plan")
    assert restore.status.resolved is not None
    plan = Plan(orders.restore(restore, storage(), restore.status.resolved), "RestoreJob", "back", IMAGE, Identity())
    pod = templates.pod_template(plan)["spec"]
    assert {"name": "target", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}} in pod["volumes"]
    assert {"name": "target", "mountPath": "/target", "readOnly": True} in pod["containers"][0]["volumeMounts"]


@pytest.mark.parametrize("algorithm", ["Age", "AES256"])
def test_an_order_names_the_cipher_and_a_backup_no_passphrase(algorithm: str) -> None:
    store = storage(encryption={"algorithm": algorithm, "secretRef": {"name": "keys", "key": "passphrase"}})
    trusted = orders.trust(store)
    assert trusted is not None
    sealed = orders.backup(backup_job(), store, trusted).repository.encryption
    assert (sealed.algorithm, sealed.passphrase) == (algorithm, None)


def test_a_probe_creates_a_repository_only_where_none_is_pinned() -> None:
    fresh, pinned = orders.probe(storage(pinned=False)), orders.probe(storage())
    assert (fresh.create, fresh.fingerprint) == (True, None)
    assert (pinned.create, pinned.fingerprint) == (False, storage().status.fingerprint)
    passphrase = fresh.repository.encryption.passphrase
    assert passphrase is not None
    assert passphrase.file == "encryption/passphrase"
    named = storage(pinned=False, encryption={"recipients": ["age1" + "q" * 58], "fingerprint": "cd" * 32})
    assert orders.probe(named).fingerprint == "cd" * 32


def test_ending_a_job_is_no_suspension() -> None:
    assert jobs.ending() == {"spec": {"activeDeadlineSeconds": 1}}


def test_labels_carry_long_names_as_digests() -> None:
    long = "n" * 80
    assert templates.labels("backup", "BackupJob", long)[vocabulary.OWNER_NAME] == naming.label(long)
