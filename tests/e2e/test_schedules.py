"""Schedules: what reaches the CronJobs, and how their Jobs become Backups."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e import trees, volumes
from tests.e2e.conftest import Kubectl
from tests.e2e.deployment import Operator
from tests.e2e.objects import Json
from tests.e2e.platform import Platform, condition
from tests.e2e.waiting import wait_for

NIGHTLY = "30 2 * * *"
MINUTE = 60


@pytest.fixture(scope="module", autouse=True)
def every_minute(platform: Platform) -> str:
    """A BackupJob that is due within a minute; the other tests use the time until then."""
    volumes.filled(platform, "sensor", trees.SMALL)
    platform.apply(platform.backup_job("minutely", "sensor", schedule="* * * * *"))
    platform.wait_condition("BackupJob", "minutely", "Ready")
    return "minutely"


def scheduled(platform: Platform, name: str, **spec: Any) -> Json:
    """Apply a BackupJob of that name and return it once it is in place."""
    platform.apply(platform.backup_job(name, "sensor", **spec))
    return platform.wait_condition("BackupJob", name, "Ready")


def cron_jobs(platform: Platform, job: str) -> list[Json]:
    return platform.list("CronJob", f"backup.iot-system.io/owner-name={job}")


def of_job(platform: Platform, job: str) -> list[Json]:
    return [b for b in platform.list("Backup") if b["spec"]["jobRef"]["name"] == job]


def from_cron_job(platform: Platform, kubectl: Kubectl, cron_job: str, name: str) -> str:
    """What a person does to run a CronJob now."""
    kubectl("create", "job", name, f"--from=cronjob/{cron_job}", "-n", platform.namespace)
    return name


def test_schedule_time_zone_and_suspend_reach_the_cron_job(platform: Platform) -> None:
    body = scheduled(platform, "zoned", schedule=NIGHTLY, timeZone="Europe/Berlin", suspend=True)
    (cron_job,) = cron_jobs(platform, "zoned")
    told = {key: cron_job["spec"][key] for key in ("schedule", "timeZone", "suspend", "concurrencyPolicy", "startingDeadlineSeconds")}
    assert told == {
        "schedule": NIGHTLY,
        "timeZone": "Europe/Berlin",
        "suspend": True,
        "concurrencyPolicy": "Forbid",
        "startingDeadlineSeconds": 3600,
    }
    assert condition(body, "Suspended")["status"] == "True"
    assert "nextRunTime" not in body["status"]


def test_an_edit_reaches_the_cron_job(platform: Platform) -> None:
    scheduled(platform, "edited", schedule=NIGHTLY, suspend=True)
    body = scheduled(platform, "edited", schedule="0 5 * * 1", suspend=False)
    (cron_job,) = cron_jobs(platform, "edited")
    assert (cron_job["spec"]["schedule"], cron_job["spec"]["suspend"], cron_job["spec"]["timeZone"]) == ("0 5 * * 1", False, "Etc/UTC")
    assert condition(body, "Suspended")["status"] == "False"
    assert body["status"]["nextRunTime"][11:] == "05:00:00Z"


def test_a_change_by_another_hand_is_taken_back(platform: Platform) -> None:
    scheduled(platform, "meddled", schedule=NIGHTLY)
    (cron_job,) = cron_jobs(platform, "meddled")
    platform.patch("CronJob", cron_job["metadata"]["name"], {"spec": {"schedule": "0 0 1 1 *"}})
    wait_for(lambda: cron_jobs(platform, "meddled")[0]["spec"]["schedule"] == NIGHTLY, what="the schedule is as the BackupJob says")


def test_several_schedules_are_several_cron_jobs(platform: Platform) -> None:
    hourly, nightly = {"name": "hourly", "schedule": "0 * * * *"}, {"name": "nightly", "schedule": NIGHTLY}
    body = scheduled(platform, "several", schedules=[hourly, nightly])
    assert sorted(c["spec"]["schedule"] for c in cron_jobs(platform, "several")) == ["0 * * * *", NIGHTLY]
    assert body["status"]["schedule"] == f"hourly: 0 * * * *, nightly: {NIGHTLY}"


def test_a_schedule_that_is_removed_takes_its_cron_job_along(platform: Platform) -> None:
    hourly, nightly = {"name": "hourly", "schedule": "0 * * * *"}, {"name": "nightly", "schedule": NIGHTLY}
    scheduled(platform, "shrinking", schedules=[hourly, nightly])
    scheduled(platform, "shrinking", schedules=[nightly])
    wait_for(lambda: len(cron_jobs(platform, "shrinking")) == 1, what="one CronJob is left")
    assert cron_jobs(platform, "shrinking")[0]["spec"]["schedule"] == NIGHTLY
    platform.apply(platform.backup_job("shrinking", "sensor"))
    wait_for(lambda: not cron_jobs(platform, "shrinking"), what="on demand only: no CronJob is left")


def test_a_job_made_from_a_cron_job_becomes_a_backup(platform: Platform, kubectl: Kubectl) -> None:
    scheduled(platform, "by-hand", schedule=NIGHTLY)
    name = from_cron_job(platform, kubectl, "by-hand", "by-hand-now")
    wait_for(lambda: platform.objects.get("Backup", platform.namespace, name), what="the Job is adopted")
    body = platform.completed("Backup", name)
    uid = platform.get("Job", name)["metadata"]["uid"]
    assert body["spec"]["run"] == {"jobName": name, "jobUID": uid}
    assert (body["status"]["origin"], body["status"]["files"]) == ("Manual", 1)


def test_a_deleted_backup_job_leaves_its_backups_and_archives(platform: Platform, kubectl: Kubectl) -> None:
    scheduled(platform, "leaving", schedule=NIGHTLY)
    made = platform.completed("Backup", platform.backup("leaving"))
    adopted = from_cron_job(platform, kubectl, "leaving", "leaving-adopted")
    wait_for(lambda: platform.objects.get("Backup", platform.namespace, adopted), what="the Job is adopted")
    platform.completed("Backup", adopted)
    before = platform.keys("chains/leaving/")
    platform.delete("BackupJob", "leaving")
    wait_for(lambda: not cron_jobs(platform, "leaving"), 60, what="its CronJob goes with it")
    wait_for(lambda: platform.objects.get("Job", platform.namespace, adopted) is None, 60, what="and what the CronJob owned")
    assert sorted(b["metadata"]["name"] for b in of_job(platform, "leaving")) == sorted([made["metadata"]["name"], adopted])
    assert [b["status"]["phase"] for b in of_job(platform, "leaving")] == ["Completed", "Completed"]
    assert platform.keys("chains/leaving/") == before


def test_a_run_without_the_operator_is_a_backup_when_it_returns(platform: Platform, kubectl: Kubectl, operator: Operator) -> None:
    scheduled(platform, "unseen", schedule=NIGHTLY)
    operator.scale(0)
    try:
        name = from_cron_job(platform, kubectl, "unseen", "unseen-run")
        kubectl("wait", "--for=condition=Complete", f"job/{name}", "-n", platform.namespace, "--timeout=60s")
        assert platform.objects.get("Backup", platform.namespace, name) is None
    finally:
        operator.scale(1)
    wait_for(lambda: platform.objects.get("Backup", platform.namespace, name), what="the Job is adopted")
    body = platform.completed("Backup", name)
    assert body["status"]["archive"] in "".join(platform.keys("chains/unseen/"))


def test_a_cron_job_fires_and_its_run_is_a_scheduled_backup(platform: Platform, every_minute: str) -> None:
    (name, *_) = wait_for(
        lambda: [b["metadata"]["name"] for b in of_job(platform, every_minute)], MINUTE + 30, what="a scheduled run within its minute"
    )
    body = platform.completed("Backup", name)
    assert body["status"]["origin"] == "Scheduled"
    assert body["spec"]["run"]["jobName"] == name
    healthy = platform.wait_condition("BackupJob", every_minute, "Healthy")
    assert healthy["status"]["lastSuccessTime"] >= body["status"]["completionTime"]
    platform.delete("BackupJob", every_minute)
