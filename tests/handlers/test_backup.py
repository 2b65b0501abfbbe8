"""Backups: started by hand, recorded when a CronJob made them, told as they go."""

from __future__ import annotations

import time
from datetime import timedelta
from typing import TYPE_CHECKING

import pytest

from iot_backup.core.report import Failure, Warn

from .apiserver import Refusal

if TYPE_CHECKING:
    from .conftest import Json, World


@pytest.fixture
def ready(world: World) -> World:
    """A storage that is Ready, a claim and a BackupJob on demand."""
    world.ready_storage()
    world.claim()
    world.backup_job()
    world.condition("backupjobs", "daily", "Ready", "True")
    return world


def _failure(reason: str, exit_code: int, message: str = "it did not work") -> Failure:
    return Failure(reason=reason, message=message, exit_code=exit_code)


def test_a_backup_made_by_hand_starts_a_job_of_its_name_and_reports_success_at_the_pods_end(ready: World) -> None:
    ready.backup("now")
    job = ready.job("now")
    ready.condition("backups", "now", "Succeeded", "Unknown")
    ready.kubelet.run(job)
    ready.until(lambda: (ready.cluster.get("backups", "now") or {})["status"]["phase"] == "Running")
    ready.kubelet.backed_up(job)
    body = ready.condition("backups", "now", "Succeeded", "True", "Completed")
    status = body["status"]
    assert status["phase"] == "Completed"
    assert (status["size"], status["sizeBytes"], status["files"], status["origin"]) == ("1.0 MiB", 1 << 20, 42, "Manual")
    assert status["checksum"] == "sha256:" + "c" * 64
    assert status["sourceOwner"] == {"uid": 999, "gid": 999}
    assert status["storageRef"] == {"name": "s3"}
    assert {c["type"] for c in status["conditions"]} == {"Succeeded", "Ready"}
    ready.until(lambda: ready.told("now") == ["Running", "Completed"], "the Events")


def test_the_job_belongs_to_the_backup_and_carries_the_order(ready: World) -> None:
    backup = ready.backup("now")
    job = ready.job("now")
    assert [o["uid"] for o in job["metadata"]["ownerReferences"]] == [backup["metadata"]["uid"]]
    order = ready.kubelet.order(job)
    assert (order.kind, order.job, order.chain, order.claim) == ("backup", "daily", "daily", "data")
    assert order.repository.encryption.passphrase is None
    mounted = {v["secret"]["secretName"] for v in job["spec"]["template"]["spec"]["volumes"] if "secret" in v}
    assert mounted == {"backup-secrets", "s3-writer-key"}


def test_reaction_to_a_new_backup_and_to_a_pods_end_is_quick(ready: World) -> None:
    """The best of some: whoever waits for a tick is slow each time, a busy machine is not."""
    ready.backup("warm")
    ready.kubelet.run(ready.job("warm"))
    took = [_reaction(ready, f"now-{number}") for number in range(5)]
    reaction, told = (min(seconds) for seconds in zip(*took, strict=True))
    assert max(reaction, told) < 1, "idle it takes some 0.05 s"
    print(f"reaction {reaction:.3f} s, end to status {told:.3f} s")


def _reaction(world: World, name: str) -> tuple[float, float]:
    """Seconds from a Backup to its Job, and from its pod's end to its status."""
    begun = time.monotonic()
    world.backup(name, job=f"of-{name}")
    world.backup_job(f"of-{name}")
    job = world.job(name)
    reaction = time.monotonic() - begun
    world.kubelet.run(job)
    begun = time.monotonic()
    world.kubelet.backed_up(job)
    world.condition("backups", name, "Succeeded", "True")
    return reaction, time.monotonic() - begun


def test_a_retried_failure_is_unknown_with_the_attempts_reason_and_final_at_the_jobs_end(ready: World) -> None:
    ready.backup("now")
    job = ready.job("now")
    ready.kubelet.run(job)
    ready.kubelet.fail(job, _failure("StorageUnavailable", 69, "the store does not answer"))
    body = ready.condition("backups", "now", "Succeeded", "Unknown", "StorageUnavailable")
    assert body["status"]["failure"]["exitCode"] == 69
    ready.until(lambda: "StorageUnavailable" in ready.told("now"), "the Event")
    ready.kubelet.job_failed(job)
    body = ready.condition("backups", "now", "Succeeded", "False", "StorageUnavailable")
    assert body["status"]["phase"] == "Failed"
    assert {"Ready": "False", "Stalled": "True"}.items() <= {c["type"]: c["status"] for c in body["status"]["conditions"]}.items()


def test_a_second_attempt_that_succeeds_wins(ready: World) -> None:
    ready.backup("now")
    job = ready.job("now")
    ready.kubelet.run(job)
    ready.kubelet.fail(job, _failure("StorageUnavailable", 69))
    ready.kubelet.run(job)
    ready.kubelet.backed_up(job)
    body = ready.condition("backups", "now", "Succeeded", "True")
    assert body["status"]["attempts"] == 2
    assert "failure" not in body["status"]


@pytest.mark.parametrize(
    ("exit_code", "reason_of_container", "expected"),
    [(137, "OOMKilled", "OOMKilled"), (137, "Error", "Killed"), (1, "Error", "ResultMissing")],
)
def test_a_pod_without_a_report_is_explained(ready: World, exit_code: int, reason_of_container: str, expected: str) -> None:
    ready.backup("now")
    job = ready.job("now")
    ready.kubelet.run(job)
    ready.kubelet.end(job, exit_code, "Traceback (most recent call last)", reason_of_container)
    ready.condition("backups", "now", "Succeeded", "Unknown", expected)
    ready.kubelet.job_failed(job)
    ready.condition("backups", "now", "Succeeded", "False", expected)


def test_a_report_that_names_another_job_does_not_count(ready: World) -> None:
    ready.backup("first")
    other = ready.job("first")
    ready.kubelet.run(other)
    ready.kubelet.backed_up(other)
    ready.condition("backups", "first", "Succeeded", "True")
    message = ready.kubelet.newest(other)["status"]["containerStatuses"][0]["state"]["terminated"]["message"]
    ready.backup("second")
    job = ready.job("second")
    ready.kubelet.run(job)
    ready.kubelet.end(job, 0, message)
    ready.kubelet.job_complete(job)
    ready.condition("backups", "second", "Succeeded", "False", "ResultMissing")


def test_a_pod_that_does_not_start_tells_why(ready: World) -> None:
    ready.backup("now")
    job = ready.job("now")
    pod = ready.kubelet.pod(job)
    waiting = {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "x"'}
    ready.kubelet.status(pod, {"containerStatuses": [{"name": "worker", "state": {"waiting": waiting}}]})
    body = ready.condition("backups", "now", "Succeeded", "Unknown", "ImagePullFailed")
    assert body["status"]["phase"] == "Pending"
    assert "Back-off" in body["status"]["conditions"][0]["message"]


def test_a_run_that_does_not_start_in_time_fails_with_that_reason_and_its_job_is_ended(ready: World) -> None:
    ready.backup("now")
    job = ready.job("now")
    pod = ready.kubelet.pod(job)
    condition = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}
    ready.kubelet.status(pod, {"conditions": [condition]})
    ready.condition("backups", "now", "Succeeded", "Unknown", "Unschedulable")
    ready.shift = timedelta(minutes=11)
    ready.touch("backups", "now")
    ready.condition("backups", "now", "Succeeded", "False", "Unschedulable")
    ready.until(lambda: ready.job("now")["spec"]["activeDeadlineSeconds"] == 1)


def test_a_missing_claim_keeps_the_backup_waiting_until_it_comes(world: World) -> None:
    world.ready_storage()
    world.backup_job()
    # Each kind has a watch of its own, and nothing holds them in step: the operator must have seen the BackupJob first.
    world.condition("backupjobs", "daily", "Ready", "False", "SourceMissing")
    world.backup("now")
    body = world.condition("backups", "now", "Succeeded", "Unknown", "SourceMissing")
    assert body["status"]["phase"] == "Pending"
    world.until(lambda: world.told("now") == ["SourceMissing"], "the Event")
    world.claim()
    world.job("now")


def test_a_missing_claim_fails_the_backup_at_its_deadline(world: World) -> None:
    world.ready_storage()
    world.backup_job(startDeadline="1m")
    world.backup("now")
    world.condition("backups", "now", "Succeeded", "Unknown", "SourceMissing")
    world.shift = timedelta(minutes=2)
    world.touch("backups", "now")
    body = world.condition("backups", "now", "Succeeded", "False", "SourceMissing")
    assert body["status"]["phase"] == "Failed"
    assert [name for j in world.cluster.list("jobs") if not (name := j["metadata"]["name"]).startswith("s3-probe")] == []


def test_a_storage_that_is_not_ready_keeps_the_backup_waiting(world: World) -> None:
    world.kubelet.answer_probes = False
    world.storage()
    world.claim()
    world.backup_job()
    world.backup("now")
    world.condition("backups", "now", "Succeeded", "Unknown", "StorageNotReady")


def test_root_without_permission_fails_at_once(ready: World) -> None:
    ready.backup_job("rooted", worker={"identity": "Root"})
    ready.condition("backupjobs", "rooted", "Ready", "False", "RootNotAllowed")
    ready.backup("now", job="rooted")
    body = ready.condition("backups", "now", "Succeeded", "False", "RootNotAllowed")
    assert "allow-root-workers" in body["status"]["failure"]["message"]


def test_root_with_permission_runs_as_root_with_few_capabilities(ready: World) -> None:
    ready.cluster.patch("namespaces", "default", {"metadata": {"annotations": {"backup.iot-system.io/allow-root-workers": "true"}}})
    ready.backup_job("rooted", worker={"identity": "Root"})
    ready.backup("now", job="rooted")
    pod = ready.job("now")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == 0
    assert pod["containers"][0]["securityContext"]["capabilities"]["drop"] == ["ALL"]


def test_the_worker_runs_as_the_workload_and_beside_it(ready: World) -> None:
    ready.user_pod("data")
    ready.backup("now")
    pod = ready.job("now")["spec"]["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == 999
    assert pod["securityContext"]["supplementalGroups"] == [2000]
    assert "fsGroup" not in pod["securityContext"]
    terms = pod["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert terms == [{"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}]


def test_a_store_and_a_source_on_different_nodes_are_refused_with_that_reason(world: World) -> None:
    world.cluster.create(
        "backupstorages", {"metadata": {"name": "s3"}, "spec": {"volume": {"claimName": "store"}, "encryption": {"algorithm": "None"}}}
    )
    for claim, node in (("store", "node-1"), ("data", "node-2")):
        expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node]}
        affinity = {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}
        world.cluster.create("persistentvolumes", {"metadata": {"name": f"pv-{claim}"}, "spec": {"nodeAffinity": affinity}})
        spec = {"accessModes": ["ReadWriteOnce"], "volumeName": f"pv-{claim}"}
        world.cluster.create("persistentvolumeclaims", {"metadata": {"name": claim}, "spec": spec})
    world.condition("backupstorages", "s3", "Ready", "True")
    world.backup_job()
    world.backup("now")
    body = world.condition("backups", "now", "Succeeded", "Unknown", "ClaimsOnDifferentNodes")
    assert "node-2" in body["status"]["conditions"][0]["message"]


def test_two_backups_of_a_job_run_one_after_the_other(ready: World) -> None:
    ready.backup("one")
    first = ready.job("one")
    ready.backup("two")
    ready.condition("backups", "two", "Succeeded", "Unknown", "AnotherRunActive")
    assert ready.cluster.get("jobs", "two") is None
    ready.kubelet.run(first)
    ready.kubelet.backed_up(first)
    ready.job("two")


def test_two_backups_at_the_same_moment_start_one_job(ready: World) -> None:
    ready.backup("one")
    ready.backup("two")
    waiting = ready.until(lambda: [b for b in ready.cluster.list("backups") if _reason(b) == "AnotherRunActive"])
    assert len(waiting) == 1
    assert len([j for j in ready.cluster.list("jobs") if j["metadata"]["name"] in {"one", "two"}]) == 1


def _reason(body: Json) -> str:
    conditions = body.get("status", {}).get("conditions") or [{"reason": ""}]
    return str(conditions[0]["reason"])


def test_allow_runs_both(ready: World) -> None:
    ready.backup_job("parallel", concurrencyPolicy="Allow")
    ready.backup("one", job="parallel")
    ready.backup("two", job="parallel")
    ready.job("one")
    ready.job("two")


def test_replace_ends_the_run_that_is_going_on(ready: World) -> None:
    ready.backup_job("replacing", concurrencyPolicy="Replace")
    ready.backup("one", job="replacing")
    first = ready.job("one")
    ready.kubelet.run(first)
    ready.backup("two", job="replacing")
    ready.until(lambda: ready.job("one")["spec"]["activeDeadlineSeconds"] == 1)
    ready.kubelet.fail(first, _failure("Cancelled", 143))
    ready.kubelet.job_failed(first, "DeadlineExceeded")
    ready.condition("backups", "one", "Succeeded", "False", "Replaced")
    ready.job("two")


def test_cancel_stops_the_job_and_ends_cancelled(ready: World) -> None:
    ready.backup("now")
    job = ready.job("now")
    ready.kubelet.run(job)
    ready.condition("backups", "now", "Succeeded", "Unknown", "Running")
    ready.cluster.patch("backups", "now", {"spec": {"cancel": True}})
    ready.until(lambda: ready.job("now")["spec"]["activeDeadlineSeconds"] == 1)
    ready.kubelet.fail(job, _failure("Cancelled", 143))
    body = ready.condition("backups", "now", "Succeeded", "False", "Cancelled")
    assert body["status"]["phase"] == "Cancelled"


def test_cancel_that_comes_after_the_commit_changes_nothing(ready: World) -> None:
    ready.backup("now")
    job = ready.job("now")
    ready.kubelet.run(job)
    ready.kubelet.backed_up(job)
    ready.condition("backups", "now", "Succeeded", "True")
    ready.cluster.patch("backups", "now", {"spec": {"cancel": True}})
    body = ready.until(lambda: b if (b := ready.cluster.get("backups", "now")) and b["status"]["observedGeneration"] == 2 else None)
    assert body["status"]["phase"] == "Completed"


def test_cancel_before_the_start_starts_nothing(world: World) -> None:
    world.ready_storage()
    world.backup_job()
    world.backup("now", cancel=True)
    body = world.condition("backups", "now", "Succeeded", "False", "Cancelled")
    assert body["status"]["phase"] == "Cancelled"


def test_a_partial_backup_fails_but_names_its_archive(ready: World) -> None:
    ready.backup("now")
    job = ready.job("now")
    ready.kubelet.run(job)
    ready.kubelet.backed_up(job, partial=True, warnings=(Warn(reason="Unreadable", message="cannot read etc/shadow", count=3),))
    body = ready.condition("backups", "now", "Succeeded", "False", "PartialBackup")
    assert body["status"]["phase"] == "Failed"
    assert len(body["status"]["archive"]) == 16
    assert body["status"]["warnings"] == 3


def test_a_partial_backup_succeeds_where_that_is_allowed(ready: World) -> None:
    ready.backup_job("lenient", allowPartial=True)
    ready.backup("now", job="lenient")
    job = ready.job("now")
    ready.kubelet.run(job)
    ready.kubelet.backed_up(job, partial=True)
    ready.condition("backups", "now", "Succeeded", "True", "PartialBackup")
    assert ready.until(lambda: [e for e in ready.cluster.events("now") if e["reason"] == "PartialBackup"])[0]["type"] == "Warning"


def test_an_inconsistent_source_succeeds_with_a_warning(ready: World) -> None:
    ready.backup("now")
    job = ready.job("now")
    ready.kubelet.run(job)
    ready.kubelet.backed_up(job, inconsistent_source=True)
    ready.condition("backups", "now", "Succeeded", "True", "InconsistentSource")
    assert ready.until(lambda: [e for e in ready.cluster.events("now") if e["reason"] == "InconsistentSource"])[0]["type"] == "Warning"


def test_a_job_the_server_refuses_is_told_and_tried_again(ready: World) -> None:
    refusal = Refusal(403, "Forbidden", "exceeded quota: compute")
    ready.cluster.refuse.append(("create", "jobs", refusal))
    ready.backup("now")
    body = ready.condition("backups", "now", "Succeeded", "Unknown", "JobRejected")
    assert "exceeded quota" in body["status"]["conditions"][0]["message"]
    ready.touch("backups", "now")
    ready.job("now")


def test_a_deleted_job_fails_its_backup(ready: World) -> None:
    ready.backup("now")
    ready.kubelet.run(ready.job("now"))
    ready.condition("backups", "now", "Succeeded", "Unknown", "Running")
    ready.cluster.delete("jobs", "now")
    ready.condition("backups", "now", "Succeeded", "False", "JobDeleted")


def test_a_name_taken_by_a_strangers_job_gets_six_digits_more(ready: World) -> None:
    ready.cluster.create("jobs", {"metadata": {"name": "now"}, "spec": {"template": {"spec": {"containers": []}}}})
    ready.backup("now")
    job = ready.until(lambda: [j for j in ready.cluster.list("jobs") if j["metadata"]["name"].startswith("now-")])[0]
    ready.kubelet.run(job)
    ready.kubelet.backed_up(job)
    ready.condition("backups", "now", "Succeeded", "True")
