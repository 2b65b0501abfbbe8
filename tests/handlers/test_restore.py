"""RestoreJobs: resolved once, checked, run once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Json, World

TIME = datetime(2026, 5, 1, 2, tzinfo=UTC)


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.fixture
def backed_up(world: World) -> World:
    """A namespace with one completed Backup, called first."""
    world.ready_storage()
    world.claim()
    world.backup_job()
    _complete(world, "first")
    return world


def _complete(world: World, name: str, **result: Any) -> Json:
    world.backup(name)
    job = world.job(name)
    world.kubelet.run(job)
    world.kubelet.backed_up(job, **result)
    return world.condition("backups", name, "Succeeded", "True")


def _restore(world: World, name: str = "back", **spec: Any) -> Json:
    source = {} if {"backupJobRef", "storageRef"} & spec.keys() else {"backupRef": {"name": "first"}}
    return world.cluster.create("restorejobs", {"metadata": {"name": name}, "spec": {**source, "target": {"claimName": "data"}, **spec}})


def test_a_restore_runs_and_tells_what_it_brought_back(backed_up: World) -> None:
    _restore(backed_up)
    job = backed_up.job("back")
    order = backed_up.kubelet.order(job)
    archive = backed_up.cluster.get("backups", "first")["status"]["archive"]  # type: ignore[index]
    assert (order.archive, order.claim, order.chain) == (archive, "data", "daily")
    assert order.trust is not None
    backed_up.kubelet.run(job)
    backed_up.kubelet.restored(job)
    status = backed_up.condition("restorejobs", "back", "Succeeded", "True", "Completed")["status"]
    assert (status["phase"], status["filesRestored"], status["bytesRestored"], status["size"], status["target"]) == (
        "Completed",
        3,
        2048,
        "2.0 KiB",
        "data",
    )
    assert status["resolved"]["backup"] == "first"


def test_latest_is_the_newest_completed_backup_and_stays_chosen(backed_up: World) -> None:
    _restore(backed_up, backupJobRef={"name": "daily"}, latest=True, target={"claimName": "later"})
    body = backed_up.condition("restorejobs", "back", "Succeeded", "Unknown", "TargetMissing")
    assert body["status"]["resolved"]["backup"] == "first"
    _complete(backed_up, "second")
    backed_up.claim("later")
    job = backed_up.job("back")
    assert backed_up.kubelet.order(job).archive == body["status"]["resolved"]["archive"]


def test_a_target_in_use_waits_unless_it_is_allowed(backed_up: World) -> None:
    backed_up.user_pod("data")
    _restore(backed_up)
    body = backed_up.condition("restorejobs", "back", "Succeeded", "Unknown", "TargetInUse")
    assert "db-0" in body["status"]["conditions"][0]["message"]
    assert backed_up.cluster.get("jobs", "back") is None
    _restore(backed_up, "bold", target={"claimName": "data", "allowInUse": True})
    backed_up.job("bold")


def test_a_new_claim_is_made_and_written_as_the_owner_of_the_source(backed_up: World) -> None:
    _restore(backed_up, target={"newClaim": {"name": "fresh", "size": "1Gi"}})
    job = backed_up.job("back")
    claim = backed_up.cluster.get("persistentvolumeclaims", "fresh")
    assert claim is not None
    assert claim["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    assert "ownerReferences" not in claim["metadata"]
    context = job["spec"]["template"]["spec"]["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["fsGroup"]) == (999, 999, 999)


def test_a_new_claim_that_is_there_already_is_refused(backed_up: World) -> None:
    _restore(backed_up, target={"newClaim": {"name": "data", "size": "1Gi"}})
    backed_up.condition("restorejobs", "back", "Succeeded", "Unknown", "TargetExists")


def test_a_missing_backup_is_told(backed_up: World) -> None:
    _restore(backed_up, backupRef={"name": "nosuch"})
    backed_up.condition("restorejobs", "back", "Succeeded", "Unknown", "BackupMissing")


def test_a_restore_never_runs_twice(backed_up: World) -> None:
    _restore(backed_up)
    job = backed_up.job("back")
    backed_up.kubelet.run(job)
    backed_up.condition("restorejobs", "back", "Succeeded", "Unknown", "Running")
    backed_up.cluster.delete("jobs", "back")
    backed_up.condition("restorejobs", "back", "Succeeded", "False", "JobDeleted")
    backed_up.touch("restorejobs", "back")
    backed_up.touch("backupstorages", "s3")
    assert backed_up.cluster.get("jobs", "back") is None


def test_an_archive_is_restored_from_a_storage_without_its_backup_object(backed_up: World) -> None:
    _restore(backed_up, storageRef={"name": "s3"}, archive="0123456789abcdef")
    order = backed_up.kubelet.order(backed_up.job("back"))
    assert (order.archive, order.chain) == ("0123456789abcdef", None)


def test_a_brought_identity_is_mounted_and_needs_no_confirmed_repository(backed_up: World) -> None:
    _restore(backed_up, identitySecretRef={"name": "mine", "key": "age.txt"})
    job = backed_up.job("back")
    secrets = {v["name"]: v["secret"]["secretName"] for v in job["spec"]["template"]["spec"]["volumes"] if "secret" in v}
    assert secrets["secret-identity"] == "mine"


def test_cancelling_a_running_restore_ends_it(backed_up: World) -> None:
    _restore(backed_up)
    job = backed_up.job("back")
    backed_up.kubelet.run(job)
    backed_up.cluster.patch("restorejobs", "back", {"spec": {"cancel": True}})
    backed_up.until(lambda: backed_up.job("back")["spec"]["activeDeadlineSeconds"] == 1)
    backed_up.kubelet.end(job, 143, "")
    body = backed_up.condition("restorejobs", "back", "Succeeded", "False", "Cancelled")
    assert body["status"]["phase"] == "Cancelled"


def test_two_restores_into_one_claim_run_one_after_the_other(backed_up: World) -> None:
    _restore(backed_up, "one")
    job = backed_up.job("one")
    _restore(backed_up, "two")
    backed_up.condition("restorejobs", "two", "Succeeded", "Unknown", "AnotherRunActive")
    backed_up.kubelet.run(job)
    backed_up.kubelet.restored(job)
    backed_up.kubelet.job_complete(job)
    backed_up.job("two")


def test_the_state_at_a_time_is_the_newest_backup_before_it(backed_up: World) -> None:
    """Chosen once: what comes later, even of an earlier time, changes nothing."""
    _complete(backed_up, "second", snapshot_time=TIME + timedelta(hours=2))
    _complete(backed_up, "early", snapshot_time=TIME)
    _restore(backed_up, backupJobRef={"name": "daily"}, asOf=_iso(TIME + timedelta(hours=1)))
    order = backed_up.kubelet.order(backed_up.job("back"))
    assert order.archive == backed_up.cluster.get("backups", "early")["status"]["archive"]  # type: ignore[index]
    body = backed_up.cluster.get("restorejobs", "back")
    assert body is not None
    assert (body["status"]["resolved"]["backup"], body["status"]["resolved"]["snapshotTime"]) == ("early", _iso(TIME))


def test_a_time_before_every_backup_is_refused_and_says_the_oldest(backed_up: World) -> None:
    _complete(backed_up, "early", snapshot_time=TIME)
    _restore(backed_up, backupJobRef={"name": "daily"}, asOf=_iso(TIME - timedelta(seconds=1)), startDeadline="1m")
    body = backed_up.condition("restorejobs", "back", "Succeeded", "Unknown", "NoBackup")
    assert f"the oldest is early, of {_iso(TIME)}" in body["status"]["conditions"][0]["message"]
    backed_up.shift = timedelta(minutes=2)
    backed_up.touch("restorejobs", "back")
    body = backed_up.condition("restorejobs", "back", "Succeeded", "False", "NoBackup")
    assert "resolved" not in body["status"]
    assert backed_up.cluster.get("jobs", "back") is None


@pytest.mark.parametrize(
    ("name", "source", "floor"),
    [
        ("newest", {"backupJobRef": {"name": "daily"}, "latest": True}, 1),
        ("at-a-time", {"backupJobRef": {"name": "daily"}, "asOf": "2100-01-01T00:00:00Z"}, 1),
        ("accepted", {"backupJobRef": {"name": "daily"}, "latest": True, "acceptNewest": True}, None),
        ("by-name", {}, None),
    ],
)
def test_the_newest_must_be_as_new_as_what_is_remembered(backed_up: World, name: str, source: Json, floor: int | None) -> None:
    _restore(backed_up, name, **source)
    found = backed_up.kubelet.order(backed_up.job(name)).floor
    assert (found.seq if found else None) == floor


def test_a_part_is_restored_as_the_job_says_and_what_became_of_the_rest_is_told(backed_up: World) -> None:
    _restore(backed_up, type="Selective", include=["/config/"], exclude=["*.tmp"], onConflict="KeepNewer")
    job = backed_up.job("back")
    order = backed_up.kubelet.order(job)
    assert (order.type, order.include, order.exclude, order.on_conflict) == ("Selective", ("/config/",), ("*.tmp",), "KeepNewer")
    assert order.devices is False
    backed_up.kubelet.run(job)
    backed_up.kubelet.restored(job, files=1, kept=2)
    status = backed_up.condition("restorejobs", "back", "Succeeded", "True", "Completed")["status"]
    assert (status["filesRestored"], status["kept"], status["deleted"]) == (1, 2, 0)
    assert "2 paths kept" in status["conditions"][0]["message"]


@pytest.mark.parametrize(("mode", "kept", "deleted"), [("Mirror", 0, 3), ("SkipExisting", 3, 0)])
def test_a_way_out_of_conflicts_reaches_the_worker_and_its_count_the_status(backed_up: World, mode: str, kept: int, deleted: int) -> None:
    _restore(backed_up, onConflict=mode)
    job = backed_up.job("back")
    assert backed_up.kubelet.order(job).on_conflict == mode
    backed_up.kubelet.run(job)
    backed_up.kubelet.restored(job, kept=kept, deleted=deleted)
    status = backed_up.condition("restorejobs", "back", "Succeeded", "True")["status"]
    assert (status["kept"], status["deleted"]) == (kept, deleted)


def test_a_plan_looks_at_a_claim_in_use_and_cannot_write_to_it(backed_up: World) -> None:
    backed_up.user_pod("data")
    _restore(backed_up, mode="Plan", onConflict="Mirror")
    job = backed_up.job("back")
    pod = job["spec"]["template"]["spec"]
    (target,) = [v for v in pod["volumes"] if v["name"] == "target"]
    assert target["persistentVolumeClaim"] == {"claimName": "data", "readOnly": True}
    assert [m["readOnly"] for m in pod["containers"][0]["volumeMounts"] if m["name"] == "target"] == [True]
    assert backed_up.kubelet.order(job).mode == "Plan"
    backed_up.kubelet.run(job)
    backed_up.kubelet.planned(job)
    status = backed_up.condition("restorejobs", "back", "Succeeded", "True", "Planned")["status"]
    assert status["phase"] == "Completed"
    assert (status["plan"]["add"], status["plan"]["delete"], status["plan"]["size"], status["plan"]["members"]) == (1, 4, "2.0 KiB", 2)
    assert "filesRestored" not in status
    backed_up.until(lambda: backed_up.told("back")[-1:] == ["Planned"], "the Event")


def test_a_plan_that_finds_a_broken_chain_fails_with_that_reason(backed_up: World) -> None:
    _restore(backed_up, mode="Plan")
    job = backed_up.job("back")
    backed_up.kubelet.run(job)
    backed_up.kubelet.planned(job, missing=("0123456789abcdef",))
    status = backed_up.condition("restorejobs", "back", "Succeeded", "False", "ChainBroken")["status"]
    assert (status["failure"]["class"], status["plan"]["missing"]) == ("ChainBroken", ["0123456789abcdef"])


@pytest.mark.parametrize("mode", ["Plan", "Restore"])
def test_an_answer_to_another_question_is_none(backed_up: World, mode: str) -> None:
    _restore(backed_up, mode=mode)
    job = backed_up.job("back")
    backed_up.kubelet.run(job)
    (backed_up.kubelet.restored if mode == "Plan" else backed_up.kubelet.planned)(job)
    backed_up.condition("restorejobs", "back", "Succeeded", "False", "ResultMissing")


def test_a_plan_waits_for_no_restore_and_no_restore_for_a_plan(backed_up: World) -> None:
    _restore(backed_up, "plan-1", mode="Plan")
    backed_up.job("plan-1")
    _restore(backed_up, "one")
    backed_up.job("one")
    _restore(backed_up, "plan-2", mode="Plan")
    backed_up.job("plan-2")


def test_device_nodes_are_made_by_root_alone(backed_up: World) -> None:
    allowed = {"metadata": {"annotations": {"backup.iot-system.io/allow-root-workers": "true"}}}
    backed_up.cluster.patch("namespaces", "default", allowed)
    _restore(backed_up, worker={"identity": "Root"})
    assert backed_up.kubelet.order(backed_up.job("back")).devices is True
