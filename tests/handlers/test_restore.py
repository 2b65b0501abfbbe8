"""RestoreJobs: resolved once, checked, run once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from .conftest import Json, World


@pytest.fixture
def backed_up(world: World) -> World:
    """A namespace with one completed Backup, called first."""
    world.ready_storage()
    world.claim()
    world.backup_job()
    _complete(world, "first")
    return world


def _complete(world: World, name: str) -> Json:
    world.backup(name)
    job = world.job(name)
    world.kubelet.run(job)
    world.kubelet.backed_up(job)
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
