"""Which backup is restored, and whether its target may be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from iot_backup.core import restores
from iot_backup.core.admission import Surroundings
from iot_backup.core.pods import Trouble

from .facts import UID, backup, backup_job, claim, restore_job, user_pod

if TYPE_CHECKING:
    from iot_backup.api.backup import Backup

Json = dict[str, Any]
ARCHIVE = "{:016d}"
SNAPSHOT = "2026-05-0{}T02:00:00Z"
NEW = {"newClaim": {"name": "fresh", "size": "1Gi", "storageClassName": "fast"}}


def _good(day: int, phase: str = "Completed", **more: Any) -> Backup:
    facts = {"archive": ARCHIVE.format(day), "chain": "daily", "storageRef": {"name": "s3"}, "snapshotTime": SNAPSHOT.format(day)}
    return backup(f"b{day}", phase, **{**facts, **more})


def _all(*backups: Backup) -> dict[str, Backup]:
    return {b.name: b for b in backups}


LATEST = {"backupJobRef": {"name": "daily"}, "latest": True}


@pytest.mark.parametrize(
    ("spec", "backups", "chosen"),
    [
        pytest.param({"backupRef": {"name": "b1"}}, [_good(1), _good(2)], "b1", id="by name"),
        pytest.param({"backupRef": {"name": "b1"}}, [_good(1, "Failed")], "b1", id="a partial one, by name"),
        pytest.param(LATEST, [_good(2), _good(3), _good(1)], "b3", id="the newest"),
        pytest.param(LATEST, [_good(2), _good(3, "Failed"), _good(4, "Running", archive=None)], "b2", id="the newest completed"),
        pytest.param(LATEST, [_good(2), _good(3, job="other")], "b2", id="of that job"),
    ],
)
def test_the_choice(spec: Json, backups: list[Backup], chosen: str) -> None:
    found = restores.resolve(restore_job(**spec), _all(*backups), None)
    day = int(chosen[1:])
    assert found == {
        "storage": "s3",
        "archive": ARCHIVE.format(day),
        "chain": "daily",
        "backup": chosen,
        "snapshotTime": SNAPSHOT.format(day),
    }


@pytest.mark.parametrize(
    ("spec", "backups", "job", "reason"),
    [
        ({"backupRef": {"name": "b1"}}, [], False, "BackupMissing"),
        ({"backupRef": {"name": "b1"}}, [backup("b1", "Running")], False, "BackupNotCompleted"),
        ({"backupRef": {"name": "b1"}}, [backup("b1")], False, "BackupNotCompleted"),
        ({"backupRef": {"name": "b1"}}, [backup("b1", "Failed")], False, "BackupFailed"),
        (LATEST, [], True, "NoBackup"),
        (LATEST, [], False, "BackupJobMissing"),
        (LATEST, [backup("b1", "Failed")], False, "NoBackup"),
    ],
)
def test_nothing_to_choose(spec: Json, backups: list[Backup], *, job: bool, reason: str) -> None:
    found = restores.resolve(restore_job(**spec), _all(*backups), backup_job() if job else None)
    assert isinstance(found, Trouble)
    assert found.reason == reason


def test_an_archive_by_its_id_needs_no_object_but_uses_one_that_knows_it() -> None:
    restore = restore_job(storageRef={"name": "s3"}, archive=ARCHIVE.format(1))
    assert restores.resolve(restore, {}, None) == {"storage": "s3", "archive": ARCHIVE.format(1)}
    found = restores.resolve(restore, _all(_good(1)), None)
    assert isinstance(found, dict)
    assert (found["backup"], found["chain"]) == ("b1", "daily")


@pytest.mark.parametrize(
    ("target", "claims", "pods", "ours", "reason"),
    [
        ({"claimName": "data"}, [claim()], [], False, None),
        ({"claimName": "data"}, [], [], False, "TargetMissing"),
        ({"claimName": "data"}, [claim()], [user_pod()], False, "TargetInUse"),
        ({"claimName": "data"}, [claim()], [user_pod(phase="Succeeded")], False, None),
        ({"claimName": "data", "allowInUse": True}, [claim()], [user_pod()], False, None),
        (NEW, [], [], False, None),
        (NEW, [claim("fresh")], [], False, "TargetExists"),
        (NEW, [claim("fresh")], [], True, None),
    ],
)
def test_the_target(target: Json, claims: list[Json], pods: list[Json], *, ours: bool, reason: str | None) -> None:
    around = Surroundings(None, {}, {c["metadata"]["name"]: c for c in claims}, {}, pods)
    found = restores.check_target(restore_job(target=target), around, ours=ours)
    assert (found.reason if found else None) == reason


def test_a_new_claim_names_its_restore_and_belongs_to_nobody() -> None:
    restore = restore_job(target=NEW)
    assert restore.spec.target.new_claim is not None
    made = restores.new_claim(restore, restore.spec.target.new_claim, "by")
    assert made["spec"] == {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": "fast"}
    assert made["metadata"]["annotations"] == {"by": UID}
    assert "ownerReferences" not in made["metadata"]
