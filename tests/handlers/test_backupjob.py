"""BackupJobs: CronJobs in place, runs on request, what the runs say about the job."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from iot_backup.core.report import Failure

if TYPE_CHECKING:
    from .conftest import Json, World

REQUESTED = "backup.iot-system.io/run-requested-at"


@pytest.fixture
def ready(world: World) -> World:
    world.ready_storage()
    world.claim()
    return world


def _cron_jobs(world: World) -> list[str]:
    return [c["metadata"]["name"] for c in world.cluster.list("cronjobs")]


def _ended(world: World, name: str, *, good: bool) -> Json:
    job = world.job(name)
    world.kubelet.run(job)
    if good:
        world.kubelet.backed_up(job)
        world.kubelet.job_complete(job)
    else:
        world.kubelet.fail(job, Failure(reason="AccessDenied", message="no right to write", exit_code=77))
        world.kubelet.job_failed(job, "PodFailurePolicy")
    return world.condition("backups", name, "Succeeded", "True" if good else "False")


def test_a_schedule_becomes_a_cronjob(ready: World) -> None:
    ready.backup_job(schedule="30 2 * * *", timeZone="Europe/Berlin", suspend=True)
    cron_job = ready.until(lambda: ready.cluster.get("cronjobs", "daily"))
    spec = cron_job["spec"]
    assert (spec["schedule"], spec["timeZone"], spec["suspend"], spec["concurrencyPolicy"]) == (
        "30 2 * * *",
        "Europe/Berlin",
        True,
        "Forbid",
    )
    assert (spec["successfulJobsHistoryLimit"], spec["failedJobsHistoryLimit"], spec["startingDeadlineSeconds"]) == (10, 10, 3600)
    body = ready.condition("backupjobs", "daily", "Suspended", "True")
    assert body["status"]["schedule"] == "30 2 * * * Europe/Berlin"
    assert "nextRunTime" not in body["status"]
    ready.cluster.patch("backupjobs", "daily", {"spec": {"suspend": False}})
    ready.condition("backupjobs", "daily", "Suspended", "False")
    assert ready.until(lambda: (ready.cluster.get("cronjobs", "daily") or {})["spec"]["suspend"] is False)
    assert ready.cluster.get("backupjobs", "daily")["status"]["nextRunTime"] > "2026"  # type: ignore[index]


def test_several_schedules_become_several_cronjobs_and_go_with_their_schedule(ready: World) -> None:
    ready.backup_job(schedules=[{"name": "night", "schedule": "0 1 * * *"}, {"name": "noon", "schedule": "0 12 * * *"}])
    ready.until(lambda: len(_cron_jobs(ready)) == 2)
    ready.cluster.patch("backupjobs", "daily", {"spec": {"schedules": [{"name": "noon", "schedule": "0 13 * * *"}]}})
    ready.until(lambda: [c["spec"]["schedule"] for c in ready.cluster.list("cronjobs")] == ["0 13 * * *"])


def test_a_deleted_or_edited_cronjob_is_put_right(ready: World) -> None:
    ready.backup_job(schedule="@daily")
    ready.until(lambda: _cron_jobs(ready))
    ready.cluster.delete("cronjobs", "daily")
    ready.until(lambda: _cron_jobs(ready))
    ready.cluster.patch("cronjobs", "daily", {"spec": {"schedule": "* * * * *"}})
    ready.until(lambda: (ready.cluster.get("cronjobs", "daily") or {})["spec"]["schedule"] == "0 0 * * *")


def test_a_cronjob_of_somebody_else_is_left_alone(ready: World) -> None:
    ready.cluster.create("cronjobs", {"metadata": {"name": "daily"}, "spec": {"schedule": "1 1 1 1 1"}})
    ready.backup_job(schedule="@daily")
    ready.condition("backupjobs", "daily", "Ready", "False", "CronJobNameTaken")
    assert ready.cluster.get("cronjobs", "daily")["spec"]["schedule"] == "1 1 1 1 1"  # type: ignore[index]


@pytest.mark.parametrize(
    ("spec", "word"), [({"schedule": "61 * * * *"}, "minute"), ({"schedule": "@daily", "timeZone": "Mars/Olympus"}, "Mars/Olympus")]
)
def test_a_bad_schedule_stalls_the_job_and_says_why(ready: World, spec: Json, word: str) -> None:
    ready.backup_job(**spec)
    body = ready.condition("backupjobs", "daily", "Ready", "False", "InvalidSchedule")
    stalled = next(c for c in body["status"]["conditions"] if c["type"] == "Stalled")
    assert stalled["status"] == "True"
    assert word in stalled["message"]
    assert _cron_jobs(ready) == []


def test_missing_storage_and_claim_are_told_and_found_when_they_come(world: World) -> None:
    world.backup_job(schedule="@daily")
    world.condition("backupjobs", "daily", "Ready", "False", "StorageMissing")
    world.ready_storage()
    world.condition("backupjobs", "daily", "Ready", "False", "SourceMissing")
    world.claim()
    world.condition("backupjobs", "daily", "Ready", "True")
    assert _cron_jobs(world) == ["daily"]


def test_cronjobs_stay_when_the_storage_fails_later(ready: World) -> None:
    ready.backup_job(schedule="@daily")
    ready.condition("backupjobs", "daily", "Ready", "True")
    ready.kubelet.probe = lambda _: Failure(reason="StorageUnavailable", message="no answer", exit_code=69)
    ready.cluster.patch("backupstorages", "s3", {"metadata": {"annotations": {"backup.iot-system.io/probe-requested-at": "1"}}})
    ready.condition("backupstorages", "s3", "Ready", "False", "StorageUnavailable")
    ready.touch("backupjobs", "daily")
    ready.condition("backupjobs", "daily", "Ready", "True")
    assert _cron_jobs(ready) == ["daily"]


def test_the_annotation_starts_one_run_and_is_echoed(ready: World) -> None:
    ready.backup_job()
    ready.cluster.patch("backupjobs", "daily", {"metadata": {"annotations": {REQUESTED: "first"}}})
    backup = ready.until(lambda: ready.cluster.list("backups"))[0]
    ready.until(lambda: (ready.cluster.get("backupjobs", "daily") or {}).get("status", {}).get("lastHandledRunRequest") == "first")
    _ended(ready, backup["metadata"]["name"], good=True)
    ready.touch("backupjobs", "daily")
    ready.cluster.patch("backupjobs", "daily", {"metadata": {"annotations": {REQUESTED: "second"}}})
    ready.until(lambda: len(ready.cluster.list("backups")) == 2)


def test_the_runs_make_the_job_healthy_or_not(ready: World) -> None:
    ready.backup_job()
    ready.condition("backupjobs", "daily", "Healthy", "Unknown", "NoRuns")
    ready.backup("a")
    _ended(ready, "a", good=True)
    body = ready.condition("backupjobs", "daily", "Healthy", "True", "LastRunSucceeded")
    assert body["status"]["lastBackup"]["name"] == "a"
    assert body["status"]["lastSuccessTime"] == ready.cluster.get("backups", "a")["status"]["completionTime"]  # type: ignore[index]
    ready.backup("b")
    _ended(ready, "b", good=False)
    body = ready.condition("backupjobs", "daily", "Healthy", "False", "LastRunFailed")
    assert "no right to write" in next(c["message"] for c in body["status"]["conditions"] if c["type"] == "Healthy")
    assert next(c["status"] for c in body["status"]["conditions"] if c["type"] == "Ready") == "True"
    ready.until(lambda: (ready.cluster.get("backupjobs", "daily") or {})["status"]["consecutiveFailures"] == 1)


def test_a_running_workload_is_remembered_for_when_it_is_stopped(ready: World) -> None:
    ready.user_pod("data")
    ready.backup_job(schedule="@daily")
    ready.until(lambda: _cron_jobs(ready))
    ready.cluster.delete("pods", "db-0")
    ready.touch("backupjobs", "daily")
    cron_job = ready.until(lambda: c if (c := ready.cluster.get("cronjobs", "daily")) and "affinity" not in _pod(c) else None)
    assert _pod(cron_job)["securityContext"]["runAsUser"] == 999


def _pod(cron_job: Json) -> Json:
    pod: Json = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    return pod


def test_workloads_with_different_users_are_refused_by_name_of_the_field(ready: World) -> None:
    ready.user_pod("data", "db-0")
    ready.user_pod("data", "other-0", securityContext={"runAsUser": 1000})
    ready.backup_job(schedule="@daily")
    body = ready.condition("backupjobs", "daily", "Ready", "False", "AmbiguousIdentity")
    assert "worker.securityContext.runAsUser" in body["status"]["conditions"][0]["message"]


def test_root_cronjobs_are_suspended_when_the_namespace_loses_its_permission(ready: World) -> None:
    allow = "backup.iot-system.io/allow-root-workers"
    ready.cluster.patch("namespaces", "default", {"metadata": {"annotations": {allow: "true"}}})
    ready.backup_job(schedule="@daily", worker={"identity": "Root"})
    ready.condition("backupjobs", "daily", "Ready", "True")
    ready.cluster.patch("namespaces", "default", {"metadata": {"annotations": {allow: None}}})
    ready.touch("backupjobs", "daily")
    ready.condition("backupjobs", "daily", "Ready", "False", "RootNotAllowed")
    assert ready.until(lambda: (ready.cluster.get("cronjobs", "daily") or {})["spec"]["suspend"])


def test_nothing_is_written_while_nothing_changes(ready: World) -> None:
    ready.backup_job(schedule="@daily")
    ready.condition("backupjobs", "daily", "Ready", "True")
    ready.backup("a")
    _ended(ready, "a", good=True)
    ready.condition("backupjobs", "daily", "Healthy", "True")
    ready.stop()
    before, asked = _versions(ready), len(ready.cluster.log)
    ready.start()
    ready.until(lambda: [r for r in ready.cluster.log[asked:] if r.resource == "pods" and r.verb == "list"])
    ready.backup_job("marker", suspend=True)
    ready.condition("backupjobs", "marker", "Ready", "True")
    assert {key: version for key, version in _versions(ready).items() if before.get(key) != version} == {}


def _versions(world: World) -> dict[tuple[str, str, str], str]:
    ours = {"marker", "iot-backup-operator-heartbeat"}
    return {
        k: o["metadata"]["resourceVersion"]
        for k, o in list(world.cluster.objects.items())
        if k[2] not in ours and not k[2].startswith("marker.")
    }
