"""The main job on S3: run now, look, lose the files, bring them back by each of the three ways to name a backup."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass

import pytest

from tests.e2e import trees, volumes
from tests.e2e.conftest import Kubectl
from tests.e2e.objects import Json
from tests.e2e.platform import Platform, condition
from tests.e2e.waiting import wait_for

CLAIM, JOB, WORKLOAD = "historian", "historian-daily", "historian-0"
USER = {"uid": 1000, "fs_group": 1000}
READER = {"uid": 1000, "fs_group": None}
NAMED = {"securityContext": {"runAsUser": 1000}}
"""Nothing in the cluster tells any more whom the files of a deleted Backup belong to."""
REQUEST = "2026-11-23T10:00:00Z"


@dataclass(frozen=True)
class Story:
    """Two backups of a claim that changed in between."""

    before: list[str]
    """Fingerprint at the first backup."""
    after: list[str]
    first: Json
    """The Backup that the annotation asked for; its object is deleted meanwhile, its archive is not."""
    second: Json
    """The Backup made by hand."""
    requested: Json
    """The BackupJob after the first."""


@pytest.fixture(scope="module")
def story(platform: Platform) -> Story:
    """Filled by a workload under `restricted`, backed up, changed, backed up again."""
    platform.apply(volumes.claim(CLAIM))
    volumes.start_workload(platform, WORKLOAD, CLAIM, trees.ODD, **USER)
    platform.apply(platform.backup_job(JOB, CLAIM, schedule="30 2 * * *", timeZone="Europe/Berlin"))
    platform.wait_condition("BackupJob", JOB, "Ready")
    before = volumes.within(platform, WORKLOAD, volumes.FINGERPRINT, volumes.MOUNT).splitlines()
    platform.annotate("BackupJob", JOB, run_requested_at=REQUEST)
    (name,) = wait_for(lambda: [b["metadata"]["name"] for b in platform.list("Backup")], what="the annotation makes a Backup")
    first = platform.completed("Backup", name)
    requested = platform.wait_condition("BackupJob", JOB, "Healthy")
    volumes.within(platform, WORKLOAD, "open('/data/config/broker.conf', 'w').write('listener 8883\\n'); open('/data/new', 'w').write('!')")
    after = volumes.within(platform, WORKLOAD, volumes.FINGERPRINT, volumes.MOUNT).splitlines()
    second = platform.completed("Backup", platform.backup(JOB))
    return Story(before, after, first, second, requested)


@pytest.fixture(scope="module")
def restored(platform: Platform, story: Story) -> dict[str, Json]:
    """By name, the RestoreJobs of this module: one into the claim, which was lost, and two into new ones."""
    volumes.within(platform, WORKLOAD, trees.CLEAR)
    platform.delete("Pod", WORKLOAD)
    platform.delete("Backup", story.first["metadata"]["name"])
    archive = story.first["status"]["archive"]
    platform.restore("by-backup", {"backupRef": {"name": story.second["metadata"]["name"]}}, CLAIM)
    platform.restore("by-job", {"backupJobRef": {"name": JOB}, "latest": True}, {"newClaim": {"name": "lookup", "size": "64Mi"}})
    platform.restore(
        "by-archive", {"storageRef": {"name": "minio"}, "archive": archive}, {"newClaim": {"name": "older", "size": "64Mi"}}, worker=NAMED
    )
    return {name: platform.completed("RestoreJob", name) for name in ("by-backup", "by-job", "by-archive")}


def test_the_annotation_starts_a_run_and_is_echoed(platform: Platform, story: Story) -> None:
    assert story.requested["status"]["lastHandledRunRequest"] == REQUEST
    assert story.first["status"]["origin"] == "Manual"
    assert story.first["spec"] == {"jobRef": {"name": JOB}, "acceptNewest": False, "cancel": False}


def test_a_value_that_was_handled_starts_nothing_again(platform: Platform, story: Story) -> None:
    """Both runs are there and no third: the annotation still has its value."""
    assert platform.get("BackupJob", JOB)["metadata"]["annotations"]["backup.iot-system.io/run-requested-at"] == REQUEST
    made = {story.first["metadata"]["name"], story.second["metadata"]["name"]}
    assert {job["metadata"]["name"] for job in platform.list("Job", "backup.iot-system.io/operation=backup")} <= made


def test_size_and_checksum_are_those_of_the_object_in_the_store(platform: Platform, story: Story) -> None:
    status = story.second["status"]
    (key,) = [k for k in platform.keys("chains/") if f"-{status['archive']}." in k and ".tar." in k]
    stored = platform.bucket.Object(platform.root + key).get()["Body"].read()
    assert status["sizeBytes"] == len(stored)
    assert status["checksum"] == "sha256:" + hashlib.sha256(stored).hexdigest()
    assert status["size"] == f"{len(stored) / 2**20:.1f} MiB"


def test_the_status_counts_what_was_read(story: Story) -> None:
    assert story.first["status"]["files"] == trees.ODD_FILES
    assert story.second["status"]["files"] == trees.ODD_FILES + 1
    assert story.second["status"]["sourceBytes"] > 3 << 20
    assert story.second["status"]["warnings"] == 0


def test_nothing_but_whole_backups_is_left_in_the_store(platform: Platform, story: Story) -> None:
    """Also the one whose object was deleted."""
    keys = platform.keys()
    assert platform.keys("announce/") == []
    manifests = [k for k in keys if k.endswith(".manifest.json")]
    assert len(manifests) == 2
    assert {k.partition(".")[0] for k in keys if k.startswith("chains/")} == {k.partition(".")[0] for k in manifests}


def test_the_backup_job_tells_of_its_last_run(platform: Platform, story: Story) -> None:
    ended = story.second["status"]["completionTime"]
    told = lambda: platform.get("BackupJob", JOB)["status"].get("lastBackup", {}).get("completionTime") == ended  # noqa: E731
    wait_for(told, what="the BackupJob tells of the second run")  # it does so after the run's own status
    status = platform.get("BackupJob", JOB)["status"]
    copied = ("type", "phase", "startTime", "completionTime", "sizeBytes", "size", "sourceBytes", "files", "checksum")
    assert status["lastBackup"] == {"name": story.second["metadata"]["name"], **{k: story.second["status"][k] for k in copied}}
    assert status["lastSuccessTime"] == story.second["status"]["completionTime"]
    assert status["consecutiveFailures"] == 0
    assert status["schedule"] == "30 2 * * * Europe/Berlin"
    assert condition({"status": status}, "Healthy")["status"] == "True"


def test_the_next_run_is_told_in_utc(platform: Platform, story: Story) -> None:
    """Half past two in Berlin is half past one or half past zero here."""
    assert story.requested["status"]["nextRunTime"][11:] in {"01:30:00Z", "00:30:00Z"}


def test_kubectl_waits_for_backups_and_restores(platform: Platform, story: Story, restored: dict[str, Json], kubectl: Kubectl) -> None:
    name = story.second["metadata"]["name"]
    waited = kubectl("wait", "--for=condition=Succeeded", f"ibk/{name}", "irj/by-backup", "-n", platform.namespace, "--timeout=5s")
    assert waited.count("condition met") == 2


def test_a_restore_into_the_claim_gives_the_tree_back(platform: Platform, story: Story, restored: dict[str, Json]) -> None:
    """Content, modes, owners, times to the nanosecond, links, and every kind of name."""
    assert volumes.fingerprint(platform, CLAIM, **READER) == story.after
    status = restored["by-backup"]["status"]
    assert status["filesRestored"] == story.second["status"]["files"]
    assert status["bytesRestored"] == story.second["status"]["sourceBytes"]
    assert status["target"] == CLAIM


def test_the_newest_backup_comes_back_into_a_new_claim(platform: Platform, story: Story, restored: dict[str, Json]) -> None:
    resolved = restored["by-job"]["status"]["resolved"]
    assert resolved["backup"] == story.second["metadata"]["name"]
    assert resolved["checksum"] == story.second["status"]["checksum"]
    assert volumes.fingerprint(platform, "lookup", **READER) == story.after


def test_into_a_new_claim_the_restore_writes_as_the_backups_owner(platform: Platform, restored: dict[str, Json]) -> None:
    template = platform.get("Job", restored["by-job"]["status"]["jobName"])["spec"]["template"]["spec"]
    security = template["securityContext"]
    assert (security["runAsUser"], security["fsGroup"], security["runAsNonRoot"]) == (1000, 1000, True)
    assert template["containers"][0]["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_an_archive_comes_back_without_its_backup_object(platform: Platform, story: Story, restored: dict[str, Json]) -> None:
    resolved = restored["by-archive"]["status"]["resolved"]
    assert (resolved["storage"], resolved["archive"]) == ("minio", story.first["status"]["archive"])
    assert resolved["checksum"] == story.first["status"]["checksum"]
    assert volumes.fingerprint(platform, "older", **READER) == story.before


def test_a_claim_made_for_a_restore_outlives_the_restore_job(platform: Platform, restored: dict[str, Json]) -> None:
    platform.delete("RestoreJob", "by-job")
    assert "ownerReferences" not in platform.get("PersistentVolumeClaim", "lookup")["metadata"]


def test_no_secret_shows_in_objects_events_or_logs(platform: Platform, restored: dict[str, Json], kubectl: Kubectl) -> None:
    from tests.cluster.cluster import MINIO_PASSWORD
    from tests.e2e.platform import PASSPHRASE

    texts = [kubectl("get", "ibs,ibj,ibk,irj,jobs,cronjobs,pods,events", "-o", "yaml", "-n", platform.namespace)]
    workers = platform.list("Pod", "backup.iot-system.io/operation")
    assert workers
    texts += [platform.objects.text_if_there(f"/api/v1/namespaces/{platform.namespace}/pods/{p['metadata']['name']}/log") for p in workers]
    hidden = [PASSPHRASE, MINIO_PASSWORD, "AGE-SECRET-KEY-"]
    hidden += [base64.b64encode(word.encode()).decode() for word in hidden[:2]]
    assert [word for word in hidden if any(word in text for text in texts)] == []
