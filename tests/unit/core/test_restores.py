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


def _as_of(time: str) -> Json:
    return {"backupJobRef": {"name": "daily"}, "asOf": time}


@pytest.mark.parametrize(
    ("spec", "backups", "chosen"),
    [
        pytest.param({"backupRef": {"name": "b1"}}, [_good(1), _good(2)], "b1", id="by name"),
        pytest.param({"backupRef": {"name": "b1"}}, [_good(1, "Failed")], "b1", id="a partial one, by name"),
        pytest.param(LATEST, [_good(2), _good(3), _good(1)], "b3", id="the newest"),
        pytest.param(LATEST, [_good(2), _good(3, "Failed"), _good(4, "Running", archive=None)], "b2", id="the newest completed"),
        pytest.param(LATEST, [_good(2), _good(3, job="other")], "b2", id="of that job"),
        pytest.param(_as_of("2026-05-02T12:00:00Z"), [_good(3), _good(2), _good(1)], "b2", id="the newest before a time"),
        pytest.param(_as_of("2026-05-02T02:00:00Z"), [_good(1), _good(2)], "b2", id="at that very time"),
        pytest.param(_as_of("2026-05-02T03:59:59+02:00"), [_good(1), _good(2)], "b1", id="a second before, in another zone"),
        pytest.param(
            _as_of("2026-05-03T12:00:00Z"), [_good(1), _good(2, "Failed"), _good(3, "Running", archive=None)], "b1", id="good ones"
        ),
        pytest.param(_as_of("2026-05-03T12:00:00Z"), [_good(1), _good(2, job="other")], "b1", id="of that job, at a time"),
        pytest.param(_as_of("2026-05-03T12:00:00Z"), [_good(1), _good(2, snapshotTime=None)], "b1", id="whose time is known"),
        pytest.param(_as_of("2030-01-01T00:00:00Z"), [_good(1), _good(2)], "b2", id="the newest of all, before a time to come"),
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


@pytest.mark.parametrize(
    ("backups", "job", "reason", "says"),
    [
        ([_good(3), _good(2)], True, "NoBackup", "the oldest is b2, of 2026-05-02T02:00:00Z"),
        ([_good(3), _good(1, "Failed")], True, "NoBackup", "the oldest is b3, of 2026-05-03T02:00:00Z"),
        ([_good(1, snapshotTime=None)], True, "NoBackup", "none tells its time"),
        ([], True, "NoBackup", "nothing can be restored from it yet"),
        ([], False, "BackupJobMissing", ""),
    ],
)
def test_a_time_before_all_backups_falls_back_to_none_of_them(backups: list[Backup], *, job: bool, reason: str, says: str) -> None:
    found = restores.resolve(restore_job(**_as_of("2026-05-02T01:59:59Z")), _all(*backups), backup_job() if job else None)
    assert isinstance(found, Trouble)
    assert found.reason == reason
    assert says in found.message


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        (LATEST, True),
        (_as_of("2026-05-02T01:59:59Z"), True),
        ({**LATEST, "acceptNewest": True}, False),
        ({"backupRef": {"name": "b1"}}, False),
        ({"storageRef": {"name": "s3"}, "archive": ARCHIVE.format(1)}, False),
    ],
)
def test_what_is_remembered_counts_where_the_newest_is_asked_for(spec: Json, *, expected: bool) -> None:
    assert restores.needs_floor(restore_job(**spec)) is expected


def test_a_plan_may_look_at_a_claim_in_use_but_not_at_none() -> None:
    plan = restore_job(mode="Plan")
    assert restores.check_target(plan, Surroundings(None, {}, {"data": claim()}, {}, [user_pod()]), ours=False) is None
    missing = restores.check_target(plan, Surroundings(None, {}, {}, {}, []), ours=False)
    assert missing is not None
    assert missing.reason == "TargetMissing"


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
