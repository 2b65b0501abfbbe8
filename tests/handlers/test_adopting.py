"""Jobs become Backups: of CronJobs, by hand, and those that ended while nobody looked; foreign ones do not."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import pytest

from iot_backup.core import spec
from iot_backup.vocabulary import SPEC

if TYPE_CHECKING:
    from .conftest import Json, World


@pytest.fixture
def scheduled(world: World) -> World:
    """A BackupJob whose CronJob is in place."""
    world.ready_storage()
    world.claim()
    world.backup_job(schedule="@daily")
    world.condition("backupjobs", "daily", "Ready", "True")
    return world


def _cron_job(world: World) -> Json:
    body = world.cluster.get("cronjobs", "daily")
    assert body is not None
    return body


def test_a_scheduled_job_becomes_a_backup_of_its_name(scheduled: World) -> None:
    job = scheduled.kubelet.fire(_cron_job(scheduled))
    name = job["metadata"]["name"]
    backup = scheduled.until(lambda: scheduled.cluster.get("backups", name))
    assert backup["spec"]["run"] == {"jobName": name, "jobUID": job["metadata"]["uid"]}
    scheduled.kubelet.run(job)
    scheduled.kubelet.backed_up(job)
    assert scheduled.condition("backups", name, "Succeeded", "True")["status"]["origin"] == "Scheduled"


def test_a_job_made_by_kubectl_from_the_cronjob_is_recorded_as_manual(scheduled: World) -> None:
    job = scheduled.kubelet.fire(_cron_job(scheduled), by_hand="my-run")
    scheduled.kubelet.run(job)
    scheduled.kubelet.backed_up(job)
    assert scheduled.condition("backups", "my-run", "Succeeded", "True")["status"]["origin"] == "Manual"


def test_a_run_that_ended_while_the_operator_was_away_is_recorded(scheduled: World) -> None:
    scheduled.stop()
    job = scheduled.kubelet.fire(_cron_job(scheduled))
    scheduled.kubelet.run(job)
    scheduled.kubelet.backed_up(job)
    scheduled.kubelet.job_complete(job)
    scheduled.start()
    scheduled.condition("backups", job["metadata"]["name"], "Succeeded", "True")


def test_a_run_that_was_going_on_when_the_operator_died_is_judged_by_its_job(scheduled: World) -> None:
    job = scheduled.kubelet.fire(_cron_job(scheduled))
    scheduled.kubelet.run(job)
    scheduled.condition("backups", job["metadata"]["name"], "Succeeded", "Unknown", "Running")
    scheduled.stop()
    scheduled.kubelet.end(job, 137, "", "OOMKilled")
    scheduled.kubelet.job_failed(job)
    scheduled.start()
    scheduled.condition("backups", job["metadata"]["name"], "Succeeded", "False", "OOMKilled")


def test_a_backup_of_that_name_that_is_not_this_job_keeps_its_name(scheduled: World) -> None:
    scheduled.backup("my-run", job="nosuch")
    job = scheduled.kubelet.fire(_cron_job(scheduled), by_hand="my-run")
    found = scheduled.until(lambda: [b for b in scheduled.cluster.list("backups") if "run" in b["spec"]])[0]
    assert found["metadata"]["name"].startswith("my-run-")
    assert found["spec"]["run"]["jobUID"] == job["metadata"]["uid"]


def test_deleting_a_recorded_backup_deletes_its_job(scheduled: World) -> None:
    job = scheduled.kubelet.fire(_cron_job(scheduled))
    name = job["metadata"]["name"]
    scheduled.kubelet.run(job)
    scheduled.kubelet.backed_up(job)
    scheduled.kubelet.job_complete(job)
    scheduled.condition("backups", name, "Succeeded", "True")
    scheduled.cluster.delete("backups", name)
    scheduled.until(lambda: scheduled.cluster.get("jobs", name) is None)
    assert scheduled.cluster.get("backups", name) is None


def test_an_object_that_records_a_run_never_starts_one(scheduled: World) -> None:
    recorded = {"jobRef": {"name": "daily"}, "run": {"jobName": "old", "jobUID": "11111111-2222"}}
    scheduled.cluster.create("backups", {"metadata": {"name": "old"}, "spec": recorded})
    scheduled.condition("backups", "old", "Succeeded", "False", "JobDeleted")
    assert scheduled.cluster.get("jobs", "old") is None


@pytest.mark.parametrize("foul", ["image", "args", "container", "command", "volume", "trust"])
def test_a_job_that_the_operator_would_not_build_is_told_and_not_counted(scheduled: World, foul: str) -> None:
    cron_job = copy.deepcopy(_cron_job(scheduled))
    pod = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    worker = pod["containers"][0]
    if foul == "image":
        worker["image"] = "evil.example/worker:1"
    elif foul == "args":
        worker["args"][-1] = "0" * 64
    elif foul == "container":
        pod["containers"].append({"name": "other", "image": "x"})
    elif foul == "command":
        worker["command"] = ["/bin/true"]
    elif foul == "volume":
        next(v for v in pod["volumes"] if v["name"] == "source")["persistentVolumeClaim"]["claimName"] = "other"
    else:
        _redirect(cron_job["spec"]["jobTemplate"]["spec"]["template"])
    scheduled.kubelet.fire(cron_job, by_hand="foreign")
    scheduled.until(lambda: "ForeignJob" in scheduled.told("daily"))
    assert scheduled.cluster.get("backups", "foreign") is None


def _redirect(template: Json) -> None:
    """An order, well-formed, for another repository."""
    worker = template["spec"]["containers"][0]
    order = spec.decode(template["metadata"]["annotations"][SPEC], worker["args"][-1])
    assert isinstance(order, spec.BackupOrder)
    trust = order.trust.model_copy(update={"fingerprint": "ff" * 32})
    text = spec.encode(order.model_copy(update={"trust": trust}))
    template["metadata"]["annotations"][SPEC], worker["args"][-1] = text, spec.digest(text)


def test_a_pod_that_was_adopted_does_not_count(scheduled: World) -> None:
    job = scheduled.kubelet.fire(_cron_job(scheduled))
    evil = copy.deepcopy(job["spec"]["template"]["spec"])
    evil["containers"][0]["command"] = ["/bin/sh"]
    scheduled.kubelet.pod(job, spec={**evil, "nodeName": "node-1"})
    scheduled.kubelet.backed_up(job)
    scheduled.kubelet.job_complete(job)
    scheduled.condition("backups", job["metadata"]["name"], "Succeeded", "False", "ForeignJob")


def test_a_job_from_before_an_edit_or_another_version_still_counts(scheduled: World) -> None:
    cron_job = copy.deepcopy(_cron_job(scheduled))
    worker = cron_job["spec"]["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]
    worker["image"] = worker["image"].rpartition(":")[0] + ":1.0.0"
    worker["resources"]["limits"]["memory"] = "1Gi"
    scheduled.cluster.patch("backupjobs", "daily", {"spec": {"compression": {"level": 9}}})
    job = scheduled.kubelet.fire(cron_job, by_hand="older")
    scheduled.kubelet.run(job)
    scheduled.kubelet.backed_up(job)
    scheduled.condition("backups", "older", "Succeeded", "True")
