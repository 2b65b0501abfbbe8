"""Which state, what of it, into what: a time, a part, a claim that holds other files, a plan, another cipher."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import pytest

from tests.e2e import volumes
from tests.e2e.objects import Json
from tests.e2e.platform import Platform, condition

CLAIM, JOB, WORKLOAD, READER, HOLDER = "site", "site", "site-0", "reader", "holder"
USER = {"uid": 1000, "fs_group": 1000}

FILL = """
import pathlib
root = pathlib.Path("/data")
for name, text in {"config/a.conf": "a", "config/b.conf": "b", "data/1": "1", "data/2": "2", "logs/x.log": "x"}.items():
    (root / name).parent.mkdir(exist_ok=True)
    (root / name).write_text(f"{text} from the backup\\n")
"""
CHANGE = "import pathlib; pathlib.Path('/data/data/2').write_text('changed'); pathlib.Path('/data/data/3').write_text('new')"
FILES = 6
"""Of the second backup."""

LOCAL = """
import os, pathlib, sys
for claim in sys.argv[1:]:
    root = pathlib.Path("/data") / claim
    (root / "config").mkdir()
    for name, year in (("config/a.conf", 2035), ("config/b.conf", 2000)):
        (root / name).write_text("local\\n")
        os.utime(root / name, ((year - 1970) * 31556952,) * 2)
    (root / "extra").write_text("of nobody's backup\\n")
"""
"""In each claim two files that the backup has, one far newer and one far older, and one that it has not."""
SHOW = """
import os, sys
for folder, folders, files in os.walk(sys.argv[1]):
    folders.sort()
    for name in sorted(files):
        path = os.path.join(folder, name)
        print(os.path.relpath(path, sys.argv[1]), open(path).readline().split()[-1])
"""
BROUGHT = {"data/1": "backup", "data/2": "changed", "data/3": "new", "logs/x.log": "backup"}
"""What SHOW prints of the files of the second backup that were in no claim."""
CONFLICTS = {
    "Overwrite": {"config/a.conf": "backup", "config/b.conf": "backup", "extra": "backup", **BROUGHT},
    "KeepNewer": {"config/a.conf": "local", "config/b.conf": "backup", "extra": "backup", **BROUGHT},
    "SkipExisting": {"config/a.conf": "local", "config/b.conf": "local", "extra": "backup", **BROUGHT},
    "Mirror": {"config/a.conf": "backup", "config/b.conf": "backup", **BROUGHT},
}
PLANNED = "planned"
HELD = (*(f"into-{mode.lower()}" for mode in CONFLICTS), PLANNED)
"""Claims that the holder mounts all the time."""


@dataclass(frozen=True)
class Story:
    """Two backups of a claim that changed in between."""

    before: list[str]
    after: list[str]
    first: Json
    second: Json

    @property
    def time(self) -> datetime:
        """Of the first."""
        return datetime.fromisoformat(self.first["status"]["snapshotTime"])


@pytest.fixture(scope="module")
def story(platform: Platform) -> Story:
    platform.apply(volumes.claim(CLAIM), *(volumes.claim(name) for name in HELD))
    volumes.start_workload(platform, WORKLOAD, CLAIM, FILL, **USER)
    arguments = f"import sys; sys.argv[1:] = {list(HELD)!r}\n"
    volumes.start_workload(platform, HOLDER, HELD, arguments + LOCAL, **USER)
    platform.apply(platform.backup_job(JOB, CLAIM))
    platform.wait_condition("BackupJob", JOB, "Ready")
    before = volumes.within(platform, WORKLOAD, volumes.FINGERPRINT, volumes.MOUNT).splitlines()
    first = platform.completed("Backup", platform.backup(JOB, "first"))
    volumes.within(platform, WORKLOAD, CHANGE)
    after = volumes.within(platform, WORKLOAD, volumes.FINGERPRINT, volumes.MOUNT).splitlines()
    second = platform.completed("Backup", platform.backup(JOB, "second"))
    assert first["status"]["snapshotTime"] < second["status"]["snapshotTime"]
    return Story(before, after, first, second)


@pytest.fixture(scope="module")
def sealed_otherwise(platform: Platform, story: Story) -> Json:
    """A Backup of the same claim in a storage of cipher AES256."""
    passphrase = {"secretRef": {"name": "backup-secrets", "key": "encryption-passphrase"}}
    platform.apply(platform.storage("aes", prefix=f"{platform.prefix}/aes", encryption={"algorithm": "AES256", **passphrase}))
    platform.wait_condition("BackupStorage", "aes", "Ready")
    platform.apply(platform.backup_job("aes", CLAIM, storage="aes"))
    platform.wait_condition("BackupJob", "aes", "Ready")
    return platform.completed("Backup", platform.backup("aes", "aes-1"))


@pytest.fixture(scope="module")
def restored(platform: Platform, story: Story, sealed_otherwise: Json) -> dict[str, Json]:
    """The RestoreJobs of this module, all at once: three into new claims, one for each way out of conflicts."""
    at = (story.time + timedelta(milliseconds=500)).isoformat()
    selective = {"type": "Selective", "include": ["/config/", "*.log"], "exclude": ["b.conf"]}
    platform.restore("as-of", {"backupJobRef": {"name": JOB}, "asOf": at}, _new("as-of"))
    platform.restore("selective", {"backupRef": {"name": "second"}}, _new("selective"), **selective)
    platform.restore("aes", {"backupRef": {"name": "aes-1"}}, _new("aes"))
    for mode in CONFLICTS:
        target = {"claimName": f"into-{mode.lower()}", "allowInUse": True}
        platform.restore(mode.lower(), {"backupJobRef": {"name": JOB}, "latest": True}, target, onConflict=mode)
    names = ("as-of", "selective", "aes", *(mode.lower() for mode in CONFLICTS))
    return {name: platform.completed("RestoreJob", name) for name in names}


def _new(name: str) -> Json:
    return {"newClaim": {"name": f"from-{name}", "size": "64Mi"}}


@pytest.fixture(scope="module")
def reader(platform: Platform, restored: dict[str, Json]) -> str:
    """A pod that mounts the new claims."""
    volumes.start_workload(platform, READER, ["from-as-of", "from-selective", "from-aes"], uid=1000, fs_group=None)
    return READER


def test_the_state_at_a_time_comes_back(platform: Platform, story: Story, restored: dict[str, Json], reader: str) -> None:
    assert restored["as-of"]["status"]["resolved"]["backup"] == "first"
    assert volumes.within(platform, reader, volumes.FINGERPRINT, "/data/from-as-of").splitlines() == story.before


def test_a_time_before_every_backup_falls_back_to_none(platform: Platform, story: Story) -> None:
    source = {"backupJobRef": {"name": JOB}, "asOf": (story.time - timedelta(seconds=1)).isoformat()}
    body = platform.wait_ended("RestoreJob", platform.restore("too-early", source, CLAIM, startDeadline="1s"))
    assert (body["status"]["phase"], body["status"]["failure"]["class"]) == ("Failed", "NoBackup")
    assert f"the oldest is first, of {story.first['status']['snapshotTime']}" in condition(body, "Succeeded")["message"]
    assert "resolved" not in body["status"]


def test_a_part_comes_back_and_nothing_beside_it(platform: Platform, restored: dict[str, Json], reader: str) -> None:
    listed = volumes.within(platform, reader, SHOW, "/data/from-selective").splitlines()
    assert listed == ["config/a.conf backup", "logs/x.log backup"]
    assert restored["selective"]["status"]["filesRestored"] == 2


def test_a_part_that_is_not_in_the_backup_is_an_error(platform: Platform, story: Story) -> None:
    name = platform.restore("nothing", {"backupRef": {"name": "second"}}, _new("nothing"), type="Selective", include=["/nosuch/"])
    body = platform.wait_ended("RestoreJob", name)
    assert (body["status"]["phase"], body["status"]["failure"]["class"]) == ("Failed", "NothingMatches")


@pytest.mark.parametrize("mode", CONFLICTS)
def test_what_was_there_already_is_kept_replaced_or_removed(platform: Platform, restored: dict[str, Json], mode: str) -> None:
    listed = volumes.within(platform, HOLDER, SHOW, f"/data/into-{mode.lower()}").splitlines()
    assert dict(line.split() for line in listed) == CONFLICTS[mode]


def test_what_was_kept_and_removed_is_counted(restored: dict[str, Json]) -> None:
    counted = {mode: restored[mode.lower()]["status"] for mode in CONFLICTS}
    assert {mode: status["deleted"] for mode, status in counted.items()} == {**dict.fromkeys(CONFLICTS, 0), "Mirror": 1}
    assert (counted["Overwrite"]["kept"], counted["Mirror"]["kept"]) == (0, 0)
    assert counted["SkipExisting"]["kept"] > counted["KeepNewer"]["kept"] >= 1


def test_a_plan_says_what_would_happen_and_writes_nothing(platform: Platform, story: Story) -> None:
    """The claim is in use, and the plan needs no leave for that."""
    before = volumes.within(platform, HOLDER, volumes.FINGERPRINT, f"/data/{PLANNED}")
    name = platform.restore("plan", {"backupRef": {"name": "second"}}, PLANNED, mode="Plan", onConflict="Mirror")
    body = platform.completed("RestoreJob", name)
    assert condition(body, "Succeeded")["reason"] == "Planned"
    plan = body["status"]["plan"]
    assert (plan["members"], plan["files"], plan["delete"], plan["keep"], plan["missing"]) == (1, FILES, 1, 0, [])
    # data, logs, and the four files in them; a.conf and b.conf.
    assert (plan["add"], plan["change"] >= 2) == (6, True)
    assert plan["spaceFree"] > plan["spaceNeeded"] > 0
    assert plan["readBytes"] > 0
    assert "filesRestored" not in body["status"]
    assert volumes.within(platform, HOLDER, volumes.FINGERPRINT, f"/data/{PLANNED}") == before
    (target,) = [
        v["persistentVolumeClaim"] for v in platform.get("Job", name)["spec"]["template"]["spec"]["volumes"] if v["name"] == "target"
    ]
    assert target == {"claimName": PLANNED, "readOnly": True}


def test_an_archive_of_another_cipher_comes_back_too(
    platform: Platform, story: Story, sealed_otherwise: Json, restored: dict[str, Json], reader: str
) -> None:
    below = f"{platform.prefix}/aes/"
    archives = [o.key for o in platform.bucket.objects.filter(Prefix=below) if o.key.endswith(".tar.zst.aes256")]
    assert [sealed_otherwise["status"]["archive"] in key for key in archives] == [True]
    assert platform.bucket.Object(archives[0]).get(Range="bytes=0-37")["Body"].read() == b"iot-backup-operator/aes-256-gcm/v1\n-> "
    assert volumes.within(platform, reader, volumes.FINGERPRINT, "/data/from-aes").splitlines() == story.after
