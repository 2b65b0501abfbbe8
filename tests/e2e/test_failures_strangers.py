"""Jobs and pods that somebody else made and that claim to be ours, with forged reports: nothing of them counts."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from iot_backup.core import report
from iot_backup.core.report import BackupResult, Report
from iot_backup.core.templates import labels
from tests.e2e import volumes
from tests.e2e.failing import Witness
from tests.e2e.objects import Json
from tests.e2e.platform import condition
from tests.e2e.slow import KEEPER, Slow

FORGED_ARCHIVE = "f0f0f0f0f0f0f0f0"
SLIPS = 4
"""Runs in which a pod tries to slip in."""
TRACKED = "batch.kubernetes.io/job-tracking"
"""With this finalizer the Job controller counts a pod as one of its own."""


@pytest.fixture(scope="module")
def slow(witness: Witness) -> Iterator[Slow]:
    """A tenant with a folder whose backup lasts."""
    slow = Slow(witness)
    slow.start()
    witness.platform.apply(slow.job("victim"))
    witness.platform.wait_condition("BackupJob", "victim", "Ready")
    yield slow
    witness.platform.objects.delete("Pod", witness.platform.namespace, KEEPER, grace_seconds=0)


def _forged(job: str, uid: str) -> str:
    now = datetime(2030, 1, 1, tzinfo=UTC)
    result = BackupResult(
        archive=FORGED_ARCHIVE,
        chain="victim",
        type="Full",
        seq=1,
        start_time=now,
        completion_time=now,
        snapshot_time=now,
        size_bytes=1,
        source_bytes=1,
        files=1,
        entries=1,
        checksum="sha256:" + "0" * 64,
        manifest_sha256="0" * 64,
    )
    return report.encode(Report(kind="backup", job=job, job_uid=uid, backup=result))


def _pod(witness: Witness, message: str) -> Json:
    """Runs to a good end and leaves this report."""
    pod = volumes.pod(witness.platform, "unused", "unused", "import sys\nopen('/dev/termination-log', 'w').write(sys.argv[1])", message)
    pod["spec"]["containers"][0]["name"] = "worker"
    del pod["spec"]["volumes"], pod["spec"]["containers"][0]["volumeMounts"]
    return pod


def test_a_strangers_job_with_our_labels_becomes_no_backup_and_is_told(slow: Slow) -> None:
    witness, platform = slow.witness, slow.witness.platform
    template = _pod(witness, _forged("forged", "unknown"))
    template["metadata"] = {"labels": labels("backup", "BackupJob", "victim")}
    platform.create(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": "forged", "labels": labels("backup", "BackupJob", "victim")},
            "spec": {"backoffLimit": 0, "template": {k: template[k] for k in ("metadata", "spec")}},
        }
    )
    event = witness.event(platform.get("BackupJob", "victim"), "ForeignJob")
    assert event["type"] == "Warning"
    assert "Job forged carries our labels but does not count" in event["message"]

    def ended() -> bool:
        seen = witness.history.versions("Job", platform.namespace, "forged")
        return bool(seen) and bool(seen[-1].body.get("status", {}).get("succeeded"))

    witness.history.wait(ended, 60, lambda: "the stranger's Job has ended")
    slow.shorten("victim")
    platform.backup("victim", "afterwards")
    witness.completed("Backup", "afterwards")
    assert platform.objects.get("Backup", platform.namespace, "forged") is None
    status = platform.wait_condition("BackupJob", "victim", "Healthy", deadline=10)["status"]
    assert status["lastBackup"]["name"] == "afterwards"
    assert FORGED_ARCHIVE not in str(status)


def test_a_pod_slipped_into_a_job_of_ours_does_not_make_it_succeed(slow: Slow) -> None:
    """Between two attempts the Job waits, and a pod that names it as its owner passes for its own for a moment.

    The Job controller may take it away before it ends, to make room for its own: then another run is tried.
    """
    witness, platform = slow.witness, slow.witness.platform
    for number in range(SLIPS):
        job = f"victim-{number}"
        backup = f"joined-{number}"
        came_to_its_end = _slipped_in(slow, job, backup)
        if came_to_its_end:
            witness.waits("Backup", backup, "ForeignJob", "is not what the operator built", "does not count", deadline=20)
        status = platform.wait_ended("Backup", backup)["status"]
        committed = [key for key in platform.keys(f"chains/{job}/") if key.endswith(".manifest.json")]
        if condition({"status": status}, "Succeeded")["status"] == "True":
            # The Job controller let another attempt follow, and that one was genuine.
            assert [key for key in committed if key.endswith(f"-{status['archive']}.manifest.json")]
        else:
            assert came_to_its_end
            assert (status["failure"]["class"], committed) == ("ForeignJob", [])
        said = [v.body for versions in witness.history.of_kind("Backup", platform.namespace) for v in versions]
        assert FORGED_ARCHIVE not in str(said)
        assert FORGED_ARCHIVE not in str(platform.get("BackupJob", job)["status"])
        if came_to_its_end:
            return
    pytest.fail(f"in {SLIPS} runs no stranger's pod came to its end inside a Job of ours: nothing was shown")


def _slipped_in(slow: Slow, job_name: str, backup: str) -> bool:
    """Let a stranger's pod join the Backup's Job after its first attempt; whether it came to a good end there."""
    witness, platform = slow.witness, slow.witness.platform
    platform.apply(slow.job(job_name, backoffLimit=3))
    platform.backup(job_name, backup)
    ours = slow.uploading(backup)
    slow.shorten(job_name)
    slow.kill(backup)
    witness.waits("Backup", backup, "Killed", deadline=10)
    # Before the Job controller counts the attempt as over, a second pod is one too many, and the younger one goes.
    counted = lambda: any(v.body.get("status", {}).get("failed") for v in witness.history.versions("Job", platform.namespace, backup))  # noqa: E731
    witness.history.wait(counted, 15, lambda: f"the Job controller counts the failed attempt of {backup}")
    uid = platform.get("Job", backup)["metadata"]["uid"]
    pod = _pod(witness, _forged(backup, uid))
    name = f"slipped-into-{backup}"
    owner = {"apiVersion": "batch/v1", "kind": "Job", "name": backup, "uid": uid, "controller": True, "blockOwnerDeletion": True}
    pod["metadata"] = {"name": name, "labels": ours["metadata"]["labels"], "ownerReferences": [owner], "finalizers": [TRACKED]}
    platform.create(pod)

    def fate() -> str | None:
        for version in witness.history.versions("Pod", platform.namespace, name):
            if version.body.get("status", {}).get("phase") == "Succeeded":
                return "ended"
            if version.body["metadata"].get("deletionTimestamp"):
                return "taken away"
        return None

    return bool(witness.history.wait(fate, 60, lambda: f"pod {name} ends, or is taken away") == "ended")
