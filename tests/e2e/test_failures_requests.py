"""Requests that cannot be carried out as they are: told before anything is started."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import volumes
from tests.e2e.apiserver import ApiServer, Refused
from tests.e2e.failing import Witness, kstatus
from tests.e2e.objects import Json
from tests.e2e.platform import condition

FILL = "open('/data/file', 'w').write('data')"
DEADLINE = 12
"""Seconds that a run waits for what is missing (startDeadline)."""


@pytest.fixture(scope="module")
def tenant(witness: Witness) -> Iterator[Witness]:
    """A namespace with one backup, a claim that a pod uses, and one that nobody does."""
    platform = witness.platform
    volumes.filled(platform, "data", FILL)
    platform.apply(platform.backup_job("good", "data"))
    platform.backup("good", "earlier")
    platform.apply(volumes.claim("in-use"), volumes.claim("idle"))
    volumes.start_workload(platform, "holder", "in-use")
    witness.completed("Backup", "earlier")
    yield witness
    platform.objects.delete("Pod", platform.namespace, "holder", grace_seconds=0)


@pytest.mark.parametrize(
    ("name", "spec", "says"),
    [
        ("minute-61", {"schedule": "61 2 * * *"}, ("'61 2 * * *'", "Use five fields")),
        ("weekday-7", {"schedule": "0 2 * * 7"}, ("'0 2 * * 7'", "write 0 for Sunday")),
        (
            "one-of-two",
            {"schedules": [{"name": "a", "schedule": "@daily"}, {"name": "b", "schedule": "0 25 * * *"}]},
            ("schedule b:", "25"),
        ),
        ("mars", {"schedule": "30 2 * * *", "timeZone": "Mars/Olympus"}, ("timeZone 'Mars/Olympus'", "use an IANA name")),
    ],
)
def test_a_schedule_that_nothing_can_follow_stalls_the_backup_job(tenant: Witness, name: str, spec: Json, says: tuple[str, ...]) -> None:
    tenant.platform.apply(tenant.platform.backup_job(name, "data", **spec))
    body = tenant.tells("BackupJob", name, "False", "InvalidSchedule", *says, deadline=30).body
    assert kstatus(body) == "Failed", "only an edit removes it"
    assert "nextRunTime" not in body["status"]
    assert [c for c in tenant.platform.list("CronJob") if c["metadata"]["name"].startswith(name)] == []


def test_a_corrected_schedule_is_taken_up_at_once(tenant: Witness) -> None:
    tenant.platform.apply(tenant.platform.backup_job("corrected", "data", schedule="99 2 * * *"))
    tenant.tells("BackupJob", "corrected", "False", "InvalidSchedule", deadline=30)
    tenant.platform.apply(tenant.platform.backup_job("corrected", "data", schedule="30 2 * * *"))
    body = tenant.tells("BackupJob", "corrected", "True", "Ready", deadline=30).body
    assert kstatus(body) == "Current"
    assert body["status"]["nextRunTime"]


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ({"schedule": "whenever"}, "a schedule has five fields: minute hour day-of-month month day-of-week"),
        ({"schedule": "TZ=Europe/Berlin 0 2 * * *"}, "name the zone in timeZone"),
        ({"schedule": "0 2 * * *", "timeZone": "Local"}, "'Local' is no time zone: give its IANA name"),
        ({"schedule": "0 2 * * *", "schedules": [{"name": "a", "schedule": "@daily"}]}, "schedule and schedules exclude each other"),
    ],
)
def test_a_schedule_of_the_wrong_form_is_refused_by_the_api_server(tenant: Witness, api: ApiServer, spec: Json, says: str) -> None:
    body = tenant.platform._placed(tenant.platform.backup_job("refused", "data", **spec))
    with pytest.raises(Refused) as refusal:
        api.create(body, dry_run=True)
    assert says in refusal.value.message


def test_a_run_waits_for_a_missing_claim_and_starts_when_it_comes(tenant: Witness) -> None:
    platform = tenant.platform
    platform.apply(platform.backup_job("late", "late", allowEmpty=True))
    says = ("PersistentVolumeClaim late is not in this namespace", "create it, or correct spec.source.volume.claimName")
    assert kstatus(tenant.tells("BackupJob", "late", "False", "SourceMissing", *says, deadline=30).body) == "InProgress"
    platform.backup("late", "late-now")
    tenant.waits("Backup", "late-now", "SourceMissing", *says, deadline=30)
    platform.apply(volumes.claim("late"))
    tenant.completed("Backup", "late-now")
    platform.wait_condition("BackupJob", "late", "Ready", deadline=30)


def test_a_run_whose_claim_never_comes_gives_up_at_its_start_deadline(tenant: Witness) -> None:
    platform = tenant.platform
    platform.apply(platform.backup_job("no-claim", "nowhere", startDeadline=f"{DEADLINE}s"))
    platform.backup("no-claim", "no-claim-now")
    tenant.failed("Backup", "no-claim-now", "SourceMissing", f"gave up after {DEADLINE} s", "PersistentVolumeClaim nowhere", deadline=60)


def test_a_run_of_no_backup_job_waits_and_says_so(tenant: Witness) -> None:
    tenant.platform.backup("nobody", "of-nobody")
    tenant.waits("Backup", "of-nobody", "JobMissing", "BackupJob nobody is not in this namespace", "create it, or correct", deadline=30)
    tenant.platform.patch("Backup", "of-nobody", {"spec": {"cancel": True}})
    body = tenant.tells("Backup", "of-nobody", "False", "Cancelled", "cancelled before it started", deadline=30).body
    assert body["status"]["phase"] == "Cancelled"


def test_root_workers_need_an_administrator(tenant: Witness) -> None:
    platform = tenant.platform
    says = ("worker.identity: Root", "backup.iot-system.io/allow-root-workers", "ask for that, or set worker.securityContext.runAsUser")
    platform.apply(platform.backup_job("root", "data", worker={"identity": "Root"}))
    assert kstatus(tenant.tells("BackupJob", "root", "False", "RootNotAllowed", *says, deadline=30).body) == "Failed"
    platform.backup("root", "root-now")
    tenant.failed("Backup", "root-now", "RootNotAllowed", *says, deadline=30)


BACKUP: Json = {"backupRef": {"name": "earlier"}}
RESTORES: dict[str, tuple[Json, Any, str, tuple[str, ...]]] = {
    "no-backup": (
        {"backupRef": {"name": "nothing"}},
        "idle",
        "BackupMissing",
        ("Backup nothing is not in this namespace", "kubectl get ibk"),
    ),
    "no-job": (
        {"backupJobRef": {"name": "nothing"}, "latest": True},
        "idle",
        "BackupJobMissing",
        ("BackupJob nothing has no completed Backup",),
    ),
    "no-storage": (
        {"storageRef": {"name": "nothing"}, "archive": "0123456789abcdef"},
        "idle",
        "StorageMissing",
        ("BackupStorage nothing is not in this namespace", "create it, or name another"),
    ),
    "no-target": (BACKUP, "nothing", "TargetMissing", ("PersistentVolumeClaim nothing is not in this namespace", "use target.newClaim")),
    "in-use": (BACKUP, "in-use", "TargetInUse", ("claim in-use is mounted by holder", "stop them, or set target.allowInUse: true")),
    "there-already": (
        BACKUP,
        {"newClaim": {"name": "idle", "size": "1Gi"}},
        "TargetExists",
        ("PersistentVolumeClaim idle is there already", "claimName: idle"),
    ),
}
"""Source, target, reason, and what the message must say."""


@pytest.fixture(scope="module")
def restores(tenant: Witness) -> Witness:
    for name, (source, target, _, _) in RESTORES.items():
        tenant.platform.restore(name, source, target, startDeadline=f"{DEADLINE}s")
    return tenant


@pytest.mark.parametrize("name", RESTORES)
def test_a_restore_that_cannot_start_says_why_and_gives_up_at_its_start_deadline(restores: Witness, name: str) -> None:
    _, _, reason, says = RESTORES[name]
    restores.waits("RestoreJob", name, reason, *says, deadline=30)
    ended = restores.failed("RestoreJob", name, reason, f"gave up after {DEADLINE} s", *says, deadline=60)
    assert "jobName" not in ended["status"]
    assert [job for job in restores.platform.list("Job") if job["metadata"]["name"] == name] == []


def test_a_restore_starts_when_its_target_is_free(tenant: Witness) -> None:
    platform = tenant.platform
    platform.apply(volumes.claim("soon-free"))
    volumes.start_workload(platform, "leaver", "soon-free")
    platform.restore("patient", BACKUP, "soon-free")
    tenant.waits("RestoreJob", "patient", "TargetInUse", "mounted by leaver", deadline=30)
    platform.objects.delete("Pod", platform.namespace, "leaver", grace_seconds=0)
    restored = tenant.completed("RestoreJob", "patient")
    assert restored["status"]["filesRestored"] == 1


def test_an_archive_that_the_store_does_not_have_is_told_by_the_worker(tenant: Witness) -> None:
    tenant.platform.restore("no-archive", {"storageRef": {"name": "minio"}, "archive": "0123456789abcdef"}, "idle")
    ended = tenant.failed(
        "RestoreJob", "no-archive", "SourceUnavailable", "the store has no backup 0123456789abcdef", "Look at status.archive"
    )
    assert ended["status"]["failure"]["exitCode"] == 66


def test_nothing_of_all_that_is_in_the_store(tenant: Witness) -> None:
    for name in ("no-claim-now", "root-now", "of-nobody"):
        assert "archive" not in tenant.last("Backup", name)["status"]
    assert condition(tenant.platform.get("BackupStorage", "minio"), "Ready")["status"] == "True"
    tenant.no_secrets()
