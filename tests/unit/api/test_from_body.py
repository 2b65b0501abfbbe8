"""Decoding what the API server gives: metadata, defaults, status, and errors a person understands."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any

import pytest

from iot_backup.api.backup import Backup, Run
from iot_backup.api.backupjob import BackupJob
from iot_backup.api.backupstorage import BackupStorage
from iot_backup.api.restorejob import RestoreJob
from iot_backup.errors import InvalidSpec

METADATA = {"name": "daily", "namespace": "iot-system"}
JOB_SPEC = {"storageRef": {"name": "primary"}, "source": {"volume": {"claimName": "data"}}}
READY = {
    "type": "Ready",
    "status": "True",
    "reason": "Accepted",
    "message": "All is well.",
    "lastTransitionTime": "2026-01-01T00:00:00Z",
    "observedGeneration": 3,
}


def job(spec: dict[str, Any] | None = None, **parts: Any) -> BackupJob:
    return BackupJob.from_body({"metadata": METADATA, "spec": {**JOB_SPEC, **(spec or {})}, **parts})


def test_metadata_is_decoded_and_what_is_not_ours_is_left_out() -> None:
    decoded = BackupJob.from_body(
        {
            "apiVersion": "backup.iot-system.io/v1alpha1",
            "kind": "BackupJob",
            "metadata": {
                **METADATA,
                "uid": "0c3b",
                "generation": 7,
                "creationTimestamp": "2026-01-01T00:00:00Z",
                "deletionTimestamp": "2026-01-02T00:00:00Z",
                "annotations": {"a": "b"},
                "labels": {"c": "d"},
                "managedFields": [{"manager": "kubectl"}],
            },
            "spec": JOB_SPEC,
        }
    )
    metadata = decoded.metadata
    assert (decoded.name, decoded.namespace, metadata.uid, metadata.generation) == ("daily", "iot-system", "0c3b", 7)
    assert metadata.creation_timestamp == datetime(2026, 1, 1, tzinfo=UTC)
    assert metadata.deletion_timestamp == datetime(2026, 1, 2, tzinfo=UTC)
    assert (metadata.annotations, metadata.labels) == ({"a": "b"}, {"c": "d"})


def test_durations_become_timedeltas() -> None:
    decoded = job({"timeout": "1h30m"}).spec
    assert (decoded.timeout, decoded.start_deadline) == (timedelta(minutes=90), timedelta(minutes=10))


def test_a_chain_is_the_jobs_own_name_unless_it_says_another() -> None:
    assert job().chain == "daily"
    assert job({"chain": "database"}).chain == "database"


def test_views_of_mappings_are_read_like_dicts() -> None:
    spec = MappingProxyType(
        {
            "storageRef": MappingProxyType({"name": "p"}),
            "source": {"volume": {"claimName": "c"}},
            "worker": {"tolerations": ({"key": "k"},)},
        }
    )
    decoded = BackupJob.from_body(MappingProxyType({"metadata": MappingProxyType(METADATA), "spec": spec}))
    assert decoded.spec.storage_ref.name == "p"
    assert decoded.spec.worker.tolerations[0].key == "k"


def test_conditions_are_found_by_type() -> None:
    status = job(status={"observedGeneration": 3, "conditions": [READY, {**READY, "type": "Healthy", "status": "False"}]}).status
    ready = status.condition("Ready")
    assert ready is not None
    assert (ready.reason, ready.observed_generation) == ("Accepted", 3)
    assert status.condition("Stalled") is None


def test_a_status_of_a_newer_operator_is_read_without_what_is_unknown() -> None:
    assert job(status={"observedGeneration": 1, "novelty": {"a": 1}}).status.observed_generation == 1


def test_fields_with_names_of_their_own_are_decoded() -> None:
    decoded = Backup.from_body(
        {
            "metadata": METADATA,
            "spec": {"jobRef": {"name": "daily"}, "run": {"jobName": "daily-1", "jobUID": "0c3b"}},
            "status": {"failure": {"class": "StorageFull", "message": "No room.", "exitCode": 73}, "sourceOwner": {"uid": 1, "gid": 2}},
        }
    )
    assert decoded.spec.run == Run(job_name="daily-1", job_uid="0c3b")
    assert decoded.status.failure is not None
    assert (decoded.status.failure.class_, decoded.status.failure.exit_code) == ("StorageFull", 73)
    context = job({"worker": {"securityContext": {"seLinuxOptions": {"level": "s0"}}}}).spec.worker.security_context
    assert context.se_linux_options is not None
    assert context.se_linux_options.level == "s0"


@pytest.mark.parametrize(
    ("target", "claim"),
    [({"claimName": "data"}, "data"), ({"newClaim": {"name": "copy", "size": "1Gi"}}, "copy")],
)
def test_a_target_names_its_claim_whether_it_is_there_or_not(target: dict[str, Any], claim: str) -> None:
    spec = {"backupRef": {"name": "daily-1"}, "target": target}
    assert RestoreJob.from_body({"metadata": METADATA, "spec": spec}).spec.target.claim == claim


def test_an_error_names_object_field_and_fix() -> None:
    with pytest.raises(InvalidSpec) as error:
        job({"source": {"volume": {"claimName": "data", "path": "a/../b"}}})
    assert error.value.message == (
        "BackupJob iot-system/daily cannot be used: spec.source.volume.path: no part of the path may be '..': write the path from the "
        "claim's root, for example data/backups. Correct the field and apply it again."
    )


def test_an_error_repeats_no_value_that_might_be_a_secret() -> None:
    spec = {
        "s3": {"bucket": "b-1", "credentialsSecretRef": {"name": "s"}, "endpoint": "https://me:hunter2@host"},
        "encryption": {"algorithm": "None"},
    }
    with pytest.raises(InvalidSpec) as error:
        BackupStorage.from_body({"metadata": METADATA, "spec": spec})
    assert "spec.s3.endpoint" in error.value.message
    assert "hunter2" not in error.value.message


@pytest.mark.parametrize(
    "body", [{}, {"metadata": METADATA}, {"metadata": METADATA, "spec": None}, {"metadata": METADATA, "spec": JOB_SPEC, "status": None}]
)
def test_missing_halves_are_an_error_or_empty_never_a_crash(body: dict[str, Any]) -> None:
    if body.get("spec"):
        assert BackupJob.from_body(body).status.conditions == ()
    else:
        with pytest.raises(InvalidSpec):
            BackupJob.from_body(body)
