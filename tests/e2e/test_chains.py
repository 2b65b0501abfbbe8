"""Backups that build on each other: a Full and what came after it, each restored as the tree it was taken of."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field

import pytest

from tests.e2e import trees, volumes
from tests.e2e.objects import Json
from tests.e2e.platform import Platform, condition
from tests.e2e.waiting import wait_for

CLAIM, JOB, WORKLOAD, READER = "plant", "plant", "plant-0", "reader"
USER = {"uid": 1000, "fs_group": 1000}

GROWN = """
import os, pathlib
root = pathlib.Path("/data")
(root / "config" / "broker.conf").write_text("listener 8883\\n")
(root / "new").write_text("!")
(root / "zero").unlink()
(root / "tool").chmod(0o755)
"""
"""Content, a new path, a path that is gone, attributes alone."""

TURNED = """
import os, pathlib
root = pathlib.Path("/data")
(root / "config").rename(root / "settings")
(root / "dangling").unlink()
(root / "dangling").mkdir()
(root / "dangling" / "inside").write_text("a folder where a link was")
(root / "second").unlink()
(root / "new").unlink()
with open(root / "noise.bin", "r+b") as noise:
    noise.seek(1 << 20)
    noise.write(b"changed in place")
"""
"""A folder with another name, a folder where a link was, one name of two gone, some bytes of a large file."""

CHAIN = ("one", "two", "three", "differential", "capped")
"""The Backups of the chain, in the order they are taken."""
SETTINGS = "settings"
"""A BackupJob of type Configuration for a part of the claim, its Backup and its chain."""


@dataclass
class Story:
    """What each Backup was taken of, and what it said."""

    trees: dict[str, list[str]] = field(default_factory=dict)
    backups: dict[str, Json] = field(default_factory=dict)

    def status(self, name: str) -> Json:
        found: Json = self.backups[name]["status"]
        return found


@pytest.fixture(scope="module")
def story(platform: Platform) -> Story:
    """Two changes, five backups and one of a part. The workload stays; what is read of it is read within it."""
    platform.apply(volumes.claim(CLAIM))
    volumes.start_workload(platform, WORKLOAD, CLAIM, trees.ODD, **USER)
    part = {"volume": {"claimName": CLAIM, "include": ["/settings/", "/tool"]}}
    platform.apply(platform.backup_job(JOB, CLAIM, type="Incremental"))
    platform.apply(platform.backup_job(SETTINGS, CLAIM, type="Configuration", source=part))
    platform.wait_condition("BackupJob", JOB, "Ready")
    platform.wait_condition("BackupJob", SETTINGS, "Ready")
    told = Story()
    _take(platform, told, "one")
    volumes.within(platform, WORKLOAD, GROWN)
    _take(platform, told, "two")
    volumes.within(platform, WORKLOAD, TURNED)
    _take(platform, told, "three")
    _take(platform, told, "differential", type="Differential")
    _take(platform, told, SETTINGS, job=SETTINGS)
    platform.patch("BackupJob", JOB, {"spec": {"maxChainLength": 1}})
    platform.wait_condition("BackupJob", JOB, "Ready")
    _take(platform, told, "capped")
    return told


def _take(platform: Platform, told: Story, name: str, job: str = JOB, **spec: str) -> None:
    told.trees[name] = volumes.within(platform, WORKLOAD, volumes.FINGERPRINT, volumes.MOUNT).splitlines()
    told.backups[name] = platform.completed("Backup", platform.backup(job, name, **spec))


@pytest.fixture(scope="module")
def restored(platform: Platform, story: Story) -> dict[str, list[str]]:
    """By name of the Backup the tree that came back, each in a claim of its own; one pod reads them all."""
    names = (*CHAIN, SETTINGS)
    for name in names:
        platform.restore(f"back-{name}", {"backupRef": {"name": name}}, {"newClaim": {"name": f"from-{name}", "size": "64Mi"}})
    for name in names:
        platform.completed("RestoreJob", f"back-{name}")
    volumes.start_workload(platform, READER, [f"from-{name}" for name in names], uid=1000, fs_group=None)
    return {name: volumes.within(platform, READER, volumes.FINGERPRINT, f"{volumes.MOUNT}/from-{name}").splitlines() for name in names}


@pytest.mark.parametrize(
    ("name", "type_", "parent"),
    [
        ("one", "Full", None),
        ("two", "Incremental", "one"),
        ("three", "Incremental", "two"),
        ("differential", "Differential", "one"),
        (SETTINGS, "Configuration", None),
        ("capped", "Full", None),
    ],
)
def test_a_backup_says_what_it_became_and_what_it_builds_on(story: Story, name: str, type_: str, parent: str | None) -> None:
    status = story.status(name)
    assert status["type"] == type_
    assert status.get("parent") == (story.status(parent)["archive"] if parent else None)


def test_a_full_that_was_to_be_expected_warns_nobody(story: Story) -> None:
    """Each chain begins with one, and begins anew where maxChainLength says."""
    assert (story.status("one")["warnings"], story.status("capped")["warnings"]) == (0, 0)


def test_a_backup_of_what_changed_is_small(story: Story) -> None:
    """The three megabytes of noise are not stored again; all of the tree counts."""
    assert story.status("two")["sizeBytes"] < story.status("one")["sizeBytes"] // 10
    assert story.status("two")["files"] == trees.ODD_FILES


def test_the_history_is_numbered_and_its_newest_is_remembered(platform: Platform, story: Story) -> None:
    numbers = [story.status(name)["seq"] for name in CHAIN]
    assert numbers == sorted(set(numbers))

    def noted() -> Json | None:
        newest: Json = platform.get("BackupJob", JOB)["status"].get("newest") or {}
        return newest if newest.get("seq") == numbers[-1] else None

    newest = wait_for(noted, what="the BackupJob remembers its newest backup")
    last = story.status(CHAIN[-1])
    assert newest == {
        "repositoryId": platform.get("BackupStorage", "minio")["status"]["repositoryId"],
        "chain": JOB,
        "seq": last["seq"],
        "manifestSha256": last["manifestSha256"],
        "completionTime": last["completionTime"],
    }


def test_the_manifest_in_the_store_is_the_one_that_was_told(platform: Platform, story: Story) -> None:
    for name in CHAIN:
        status = story.status(name)
        (key,) = [k for k in platform.keys(f"chains/{JOB}/") if k.endswith(f"-{status['archive']}.manifest.json")]
        stored = platform.bucket.Object(platform.root + key).get()["Body"].read()
        assert hashlib.sha256(stored).hexdigest() == status["manifestSha256"], name


@pytest.mark.parametrize("name", CHAIN)
def test_each_of_them_brings_back_its_own_tree(story: Story, restored: dict[str, list[str]], name: str) -> None:
    """Also what was deleted, renamed or became something else on the way."""
    assert restored[name] == story.trees[name]


def test_a_part_brings_back_that_part(story: Story, restored: dict[str, list[str]]) -> None:
    """But for the root, which is the claim's."""
    named = ("b'settings'", "b'settings/", "b'tool'")
    wanted = [line for line in story.trees[SETTINGS] if line.startswith(named)]
    assert len(wanted) == 5
    assert [line for line in restored[SETTINGS] if not line.startswith("b'.'")] == wanted


def test_a_store_that_lost_its_newest_backup_is_noticed(platform: Platform, story: Story, restored: dict[str, list[str]]) -> None:
    """Neither a backup nor a restore of the newest goes on as if nothing had been, unless somebody says so."""
    gone = story.status(CHAIN[-1])["archive"]
    for key in platform.keys(f"chains/{JOB}/"):
        if f"-{gone}." in key:
            platform.bucket.Object(platform.root + key).delete()
    platform.delete("Backup", CHAIN[-1])
    platform.restore("newest", {"backupJobRef": {"name": JOB}, "latest": True}, {"newClaim": {"name": "newest", "size": "64Mi"}})
    platform.backup(JOB, "unknowing")
    for kind, name in (("RestoreJob", "newest"), ("Backup", "unknowing")):
        body = platform.wait_ended(kind, name)
        assert (body["status"]["phase"], body["status"]["failure"]["class"]) == ("Failed", "RolledBack"), condition(body, "Succeeded")
    accepted = platform.completed("Backup", platform.backup(JOB, "accepted", acceptNewest=True))
    assert accepted["status"]["warningMessages"][0].startswith("RolledBack: ")
