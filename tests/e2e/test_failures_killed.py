"""Runs that are killed, that cannot start, that take too long, that meet another one; and an operator killed meanwhile."""

from __future__ import annotations

import copy
from collections.abc import Iterator

import pytest

from tests.e2e import volumes
from tests.e2e.failing import Witness, check_store, phases
from tests.e2e.objects import Json
from tests.e2e.platform import condition
from tests.e2e.slow import CLAIM, KEEPER, Slow

FILL = "open('/data/file', 'w').write('data' * 1000)"


@pytest.fixture(scope="module")
def slow(witness: Witness) -> Iterator[Slow]:
    """A tenant with an earlier backup, and folders whose backups last."""
    platform = witness.platform
    volumes.filled(platform, "data", FILL)
    platform.apply(platform.backup_job("small", "data"), platform.backup_job("small-parallel", "data", concurrencyPolicy="Allow"))
    platform.backup("small", "earlier")
    slow = Slow(witness)
    slow.start()
    yield slow
    platform.objects.delete("Pod", platform.namespace, KEEPER, grace_seconds=0)


STRUCK: dict[str, Json] = {
    "killed": {"backoffLimit": 1},
    "deleted": {"backoffLimit": 1},
    "killed-for-good": {"backoffLimit": 0},
    "replaced": {"concurrencyPolicy": "Replace"},
}
"""BackupJobs whose worker is struck in the middle of its upload; the next attempt would end soon."""


@pytest.fixture(scope="module")
def started(slow: Slow) -> Slow:
    """Everything under way at once, and what is killed, deleted or replaced already so."""
    platform = slow.witness.platform
    platform.apply(
        slow.job("timeout", timeout="20s", backoffLimit=0),
        platform.backup_job("out-of-memory", "data", backoffLimit=1, worker={"resources": {"limits": {"memory": "16Mi"}}}),
        platform.backup_job("nowhere", "data", startDeadline="20s", worker={"nodeSelector": {"iot-backup.test/no-such": "node"}}),
        platform.backup_job("no-image", "data", startDeadline="30s", schedule="0 3 1 1 *"),
    )
    for name in ("timeout", "out-of-memory", "nowhere"):
        platform.backup(name, f"{name}-now")
    platform.wait_condition("BackupJob", "no-image", "Ready", deadline=30)
    platform.create(_of_cron_job(platform.get("CronJob", "no-image"), "no-image-now"))
    for name, spec in STRUCK.items():
        platform.apply(slow.job(name, **spec))
        platform.backup(name, f"{name}-now")
    for name in STRUCK:
        pod = slow.uploading(f"{name}-now")
        slow.shorten(name)
        if name.startswith("killed"):
            slow.kill(f"{name}-now")
        elif name == "deleted":
            platform.objects.delete("Pod", platform.namespace, pod["metadata"]["name"], grace_seconds=0)
        else:
            platform.backup(name, f"{name}-next")
    return slow


def _of_cron_job(cron_job: Json, name: str) -> Json:
    """As `kubectl create job --from` makes it, from a template whose image is gone from the registry since."""
    template = copy.deepcopy(cron_job["spec"]["jobTemplate"])
    container = template["spec"]["template"]["spec"]["containers"][0]
    container["image"] = container["image"].rpartition(":")[0] + ":pruned"
    metadata = {**template.get("metadata", {}), "name": name}
    metadata["annotations"] = {"cronjob.kubernetes.io/instantiate": "manual"}
    owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": cron_job["metadata"]["name"], "uid": cron_job["metadata"]["uid"]}
    metadata["ownerReferences"] = [{**owner, "controller": True}]
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": template["spec"]}


def test_a_worker_killed_in_the_middle_of_its_upload_is_told_at_once_and_tried_again(started: Slow) -> None:
    witness = started.witness
    waiting = witness.waits("Backup", "killed-now", "Killed", "the worker in pod killed-now-", "was killed", "the Job may try again")
    assert waiting["status"]["failure"]["exitCode"] == 137
    body = witness.completed("Backup", "killed-now")
    assert body["status"]["attempts"] == 2
    assert "failure" not in body["status"]
    assert "Failed" not in phases(witness.history.versions("Backup", witness.platform.namespace, "killed-now"))


def test_a_worker_killed_for_good_is_a_failure_with_that_reason(started: Slow) -> None:
    ended = started.witness.failed("Backup", "killed-for-good-now", "Killed", "was killed (SIGKILL) before it could report")
    assert ended["status"]["failure"]["exitCode"] == 137
    assert ended["status"]["attempts"] == 1


def test_a_pod_deleted_by_force_is_followed_by_another_attempt(started: Slow) -> None:
    assert started.witness.completed("Backup", "deleted-now")["status"]["attempts"] == 2


def test_a_replaced_run_says_for_which(started: Slow) -> None:
    witness = started.witness
    witness.failed("Backup", "replaced-now", "Replaced", "to make room for replaced-next", "concurrencyPolicy: Replace")
    witness.completed("Backup", "replaced-next")


def test_too_little_memory_is_named_and_what_to_raise(started: Slow) -> None:
    witness = started.witness
    says = ("needed more memory than its limit", "raise worker.resources.limits.memory")
    witness.waits("Backup", "out-of-memory-now", "OOMKilled", *says, "the Job may try again", deadline=60)
    ended = witness.failed("Backup", "out-of-memory-now", "OOMKilled", *says, deadline=60)
    assert ended["status"]["attempts"] == 2


def test_a_pod_that_no_node_takes_is_told_and_given_up_at_the_start_deadline(started: Slow) -> None:
    witness = started.witness
    witness.waits("Backup", "nowhere-now", "Unschedulable", "no node takes pod", "didn't match Pod's node affinity/selector", deadline=60)
    witness.failed("Backup", "nowhere-now", "Unschedulable", "not running after", "(startDeadline)", deadline=90)
    _no_pod_runs(witness, "nowhere-now")


def test_an_image_that_cannot_be_pulled_is_told_and_given_up_at_the_start_deadline(started: Slow) -> None:
    witness = started.witness
    witness.waits("Backup", "no-image-now", "ImagePullFailed", "cannot start its container", ":pruned", deadline=90)
    witness.failed("Backup", "no-image-now", "ImagePullFailed", "not running after", "(startDeadline)", ":pruned", deadline=90)
    _no_pod_runs(witness, "no-image-now")


def _no_pod_runs(witness: Witness, job: str) -> None:
    """A run that was given up is over in the cluster, too: its Job ends and takes its pod along."""

    def met() -> bool:
        jobs = witness.history.versions("Job", witness.platform.namespace, job)
        return any(c["type"] == "Failed" and c["status"] == "True" for c in jobs[-1].body.get("status", {}).get("conditions", []))

    witness.history.wait(met, 60, lambda: f"Job {job} has ended")


def test_a_run_that_takes_too_long_is_stopped_and_cleans_up(started: Slow) -> None:
    witness = started.witness
    says = ("Job timeout-now did not end within its timeout", "raise timeout, or see what held it up")
    witness.failed("Backup", "timeout-now", "DeadlineExceeded", *says, deadline=90)


def test_two_runs_at_once_follow_each_other(started: Slow) -> None:
    witness, platform = started.witness, started.witness.platform
    witness.completed("Backup", "earlier")  # else both wait for it
    names = [platform.backup("small", name) for name in ("first", "second")]
    bodies = [witness.completed("Backup", name) for name in names]
    waited = [name for name in names if any("AnotherRunActive" in told for told in witness.path("Backup", name))]
    assert len(waited) == 1
    (ran,) = set(names) - set(waited)
    witness.waits("Backup", waited[0], "AnotherRunActive", f"waiting for {ran} to end (concurrencyPolicy: Forbid)")
    assert len({body["status"]["archive"] for body in bodies}) == 2


def test_where_it_is_allowed_they_run_side_by_side(started: Slow) -> None:
    witness, platform = started.witness, started.witness.platform
    names = [platform.backup("small-parallel", name) for name in ("left", "right")]
    bodies = [witness.completed("Backup", name) for name in names]
    assert len({body["status"]["archive"] for body in bodies}) == 2
    assert not [told for name in names for told in witness.path("Backup", name) if "AnotherRunActive" in told]


def test_an_operator_killed_in_the_middle_of_a_run_takes_it_up_again(started: Slow) -> None:
    witness, platform = started.witness, started.witness.platform
    started.folder("survivor", size=3 << 30)
    job = platform.backup_job("survivor", CLAIM)
    job["spec"]["source"]["volume"]["path"] = "survivor"
    platform.apply(job)
    platform.backup("survivor", "survivor-now")
    witness.wait_running("survivor-now")
    platform.operator.kill()
    platform.operator.wait_ready()
    body = witness.completed("Backup", "survivor-now", deadline=120)
    assert body["status"]["attempts"] == 1
    witness.event(body, "Completed")
    assert len([e for e in witness.events(body) if e["reason"] == "Completed"]) == 1, "told once"
    assert len([j for j in platform.list("Job") if j["metadata"]["name"].startswith("survivor")]) == 1


def test_only_killed_runs_leave_something_and_that_is_announced(started: Slow) -> None:
    """Killed twice with -9, once by force; those that were stopped took away what they had begun."""
    witness, platform = started.witness, started.witness.platform
    witness.failed("Backup", "timeout-now", "DeadlineExceeded", deadline=90)
    ended = [platform.wait_ended("Backup", b["metadata"]["name"]) for b in platform.list("Backup")]
    whole = check_store(platform.keys(), killed=3)
    assert whole == sorted(b["status"]["archive"] for b in ended if condition(b, "Succeeded")["status"] == "True")


def test_the_verdict_follows_the_end_of_the_last_pod_within_seconds(started: Slow) -> None:
    """Of success at once; of a failure when the Job controller, too, sees that nothing will follow."""
    witness = started.witness
    witness.failed("Backup", "timeout-now", "DeadlineExceeded", deadline=90)
    names = ("earlier", "killed-now", "first", "left", "killed-for-good-now", "out-of-memory-now", "timeout-now")
    seconds = {name: round(witness.seconds_from_end("Backup", name), 2) for name in names}
    print("seconds from a pod's end to the verdict:", seconds)
    assert max(seconds.values()) < 15


def test_the_earlier_backup_restores_and_no_secret_shows(started: Slow) -> None:
    witness, platform = started.witness, started.witness.platform
    platform.restore("back", {"backupRef": {"name": "earlier"}}, {"newClaim": {"name": "back", "size": "64Mi"}})
    witness.completed("RestoreJob", "back")
    assert volumes.fingerprint(platform, "back", "content") == volumes.fingerprint(platform, "data", "content")
    witness.no_secrets()
