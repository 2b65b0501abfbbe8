"""What a person sees with kubectl."""

from __future__ import annotations

import re

import pytest

from tests.e2e import trees, volumes
from tests.e2e.conftest import Kubectl
from tests.e2e.objects import Json
from tests.e2e.platform import Platform


@pytest.fixture(scope="module")
def backup(platform: Platform) -> Json:
    """One of each kind, all of them done."""
    volumes.filled(platform, "sensor", trees.SMALL)
    platform.apply(platform.backup_job("nightly", "sensor", schedule="30 2 * * *", timeZone="Europe/Berlin"))
    platform.wait_condition("BackupJob", "nightly", "Ready")
    run = platform.completed("Backup", platform.backup("nightly", "nightly-1"))
    target = {"newClaim": {"name": "copy", "size": "64Mi"}}
    platform.completed("RestoreJob", platform.restore("back", {"backupRef": {"name": "nightly-1"}}, target))
    platform.wait_condition("BackupJob", "nightly", "Healthy")
    return run


def table(printed: str) -> tuple[list[str], list[str]]:
    """Headings and the cells of the one row; columns are two blanks or more apart."""
    head, row = printed.strip().splitlines()
    return re.split(r"\s{2,}", head.strip()), re.split(r"\s{2,}", row.strip())


def test_backup_jobs_tell_when_they_last_worked_and_when_they_run_next(platform: Platform, backup: Json, kubectl: Kubectl) -> None:
    head, row = table(kubectl("get", "ibj", "-n", platform.namespace))
    assert head == ["NAME", "TYPE", "SCHEDULE", "LAST SUCCESS", "NEXT", "READY", "HEALTHY", "AGE"]
    assert row[:3] == ["nightly", "Full", "30 2 * * * Europe/Berlin"]
    assert re.fullmatch(r"\d+[smh]\S*", row[3])
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT0[01]:30:00Z", row[4])
    assert row[5:7] == ["True", "True"]


def test_backups_tell_phase_and_size(platform: Platform, backup: Json, kubectl: Kubectl) -> None:
    head, row = table(kubectl("get", "ibk", "-n", platform.namespace))
    assert head == ["NAME", "JOB", "TYPE", "PHASE", "SIZE", "FILES", "AGE"]
    assert row[:6] == ["nightly-1", "nightly", "Full", "Completed", backup["status"]["size"], "1"]


def test_wide_backups_tell_reason_and_checksum(platform: Platform, backup: Json, kubectl: Kubectl) -> None:
    head, row = table(kubectl("get", "backups.backup.iot-system.io", "-o", "wide", "-n", platform.namespace))
    shown = dict(zip(head, row, strict=True))
    assert (shown["REASON"], shown["CHECKSUM"]) == ("Completed", backup["status"]["checksum"])


def test_restore_jobs_tell_from_where_to_where(platform: Platform, backup: Json, kubectl: Kubectl) -> None:
    head, row = table(kubectl("get", "irj", "-n", platform.namespace))
    assert head == ["NAME", "BACKUP", "TARGET", "PHASE", "FILES", "SIZE", "AGE"]
    assert row[:6] == ["back", "nightly-1", "copy", "Completed", "1", "4 B"]


def test_storages_tell_where_they_are_and_whether_they_answer(platform: Platform, backup: Json, kubectl: Kubectl) -> None:
    head, row = table(kubectl("get", "ibs", "-n", platform.namespace))
    assert head == ["NAME", "LOCATION", "ENCRYPTION", "READY", "REASON", "AGE"]
    assert row[:5] == ["minio", f"s3://iot-backups/{platform.prefix}", "Age", "True", "Ready"]


def test_one_word_lists_all_four_kinds(platform: Platform, backup: Json, kubectl: Kubectl) -> None:
    listed = kubectl("get", "iot-backup", "-o", "name", "-n", platform.namespace).split()
    assert sorted(name.partition(".")[0] for name in listed) == ["backup", "backupjob", "backupstorage", "restorejob"]


def test_explain_reads_like_documentation(installed: None, kubectl: Kubectl) -> None:
    told = kubectl("explain", "backupjob.spec.source")
    assert "DESCRIPTION" in told
    assert "volume\t<Object> -required-" in told
    for kind in ("backupstorage", "backupjob", "backup.spec", "restorejob.spec"):
        assert "<empty>" not in kubectl("explain", kind, "--recursive=false", "--api-version=backup.iot-system.io/v1alpha1")


def test_describe_ends_with_what_happened(platform: Platform, backup: Json, kubectl: Kubectl) -> None:
    """The Events of the run, by the operator."""
    told = kubectl("describe", "ibk/nightly-1", "-n", platform.namespace)
    (row,) = [line for line in told.partition("Events:")[2].splitlines() if "Completed" in line]
    assert re.search(r"Normal\s+Completed\s+\S+\s+iot-backup-operator\s+\d+ B from 1 file of 4 B", row)
