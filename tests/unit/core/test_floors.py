"""What is remembered of a chain, and when a store did not show it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from iot_backup.core import floors, spec
from iot_backup.core.floors import Chain
from iot_backup.core.report import BackupResult

from .facts import backup, backup_job

if TYPE_CHECKING:
    from iot_backup.api.backup import Backup
    from iot_backup.api.backupjob import BackupJob

Json = dict[str, Any]
DAILY = Chain("r1", "daily")
DAY = "2026-05-0{}T02:00:00Z"


def _sha(letter: str) -> str:
    return letter * 64


def _kept(seq: int, sha: str = "a", *, day: int = 1, phase: str = "Completed", **more: Any) -> Backup:
    facts: Json = {"seq": seq, "manifestSha256": _sha(sha), "repositoryId": "r1", "chain": "daily", "completionTime": DAY.format(day)}
    return backup(f"b{seq}{sha}", phase, **{**facts, "archive": f"{seq:016d}", **more})


def _job(seq: int, sha: str = "a", *, day: int = 1, name: str = "daily", **more: Any) -> BackupJob:
    noted: Json = {"seq": seq, "manifestSha256": _sha(sha), "repositoryId": "r1", "chain": "daily", "completionTime": DAY.format(day)}
    return backup_job(name, status={"newest": {**noted, **more}})


@pytest.mark.parametrize(
    ("backups", "jobs", "expected"),
    [
        pytest.param([], [], None, id="nothing"),
        pytest.param([backup("b", "Completed"), backup("c", "Running")], [backup_job()], None, id="nothing that tells"),
        pytest.param([_kept(1), _kept(3, "c"), _kept(2)], [], (3, "c"), id="the highest Backup"),
        pytest.param([_kept(3, "c", phase="Failed"), _kept(2)], [], (3, "c"), id="a partial one lies there too"),
        pytest.param([_kept(1)], [_job(4, "d"), _job(2, "1", name="other")], (4, "d"), id="a job, where Backups are gone"),
        pytest.param([_kept(5, "e")], [_job(4, "d")], (5, "e"), id="a Backup beyond its job"),
        pytest.param([_kept(4, "1", day=1), _kept(4, "2", day=2)], [], (4, "2"), id="of two of one number the later"),
        pytest.param([_kept(4, "1", day=1)], [_job(4, "2", day=2)], (4, "2"), id="also if the job has it"),
        pytest.param([_kept(9, repositoryId="r2"), _kept(2)], [_job(8, repositoryId="r2")], (2, "a"), id="not another repository"),
        pytest.param([_kept(9, chain="weekly"), _kept(2)], [_job(8, chain="weekly")], (2, "a"), id="not another chain"),
        pytest.param([_kept(9, repositoryId=None), _kept(2)], [], (2, "a"), id="not what does not count"),
    ],
)
def test_the_floor_is_the_highest_anybody_remembers(backups: list[Backup], jobs: list[BackupJob], expected: tuple[int, str] | None) -> None:
    found = floors.floor(DAILY, backups, jobs)
    assert found == (spec.Floor(seq=expected[0], manifest_sha256=_sha(expected[1])) if expected else None)


def _noted(seq: int, sha: str, day: int, **more: Any) -> Json:
    facts: Json = {"repositoryId": "r1", "chain": "daily", "seq": seq, "manifestSha256": _sha(sha), "completionTime": DAY.format(day)}
    return {**facts, **more}


@pytest.mark.parametrize(
    ("job", "backups", "expected"),
    [
        pytest.param(backup_job(), [], None, id="never ran"),
        pytest.param(backup_job(), [_kept(1), _kept(2, "b", day=2)], _noted(2, "b", 2), id="its newest"),
        pytest.param(_job(7, "7", day=3), [_kept(1)], _noted(7, "7", 3), id="deleting Backups does not lower it"),
        pytest.param(_job(7, "7", day=3), [_kept(2, "b", day=4)], _noted(7, "7", 3), id="nor does a store that was rolled back"),
        pytest.param(_job(7, "7", day=3), [_kept(7, "8", day=4)], _noted(7, "8", 4), id="of two of one number the later"),
        pytest.param(_job(7, day=3), [_kept(1, "b", day=4, chain="new")], _noted(1, "b", 4, chain="new"), id="another chain begins anew"),
        pytest.param(
            _job(7, day=3), [_kept(1, "b", day=4, repositoryId="r2")], _noted(1, "b", 4, repositoryId="r2"), id="another repository too"
        ),
    ],
)
def test_what_a_backup_job_notes(job: BackupJob, backups: list[Backup], expected: Json | None) -> None:
    assert floors.newest(job, backups) == expected


def _result(seq: int, sha: str = "f", *, start: datetime) -> BackupResult:
    facts: Json = {"size_bytes": 1, "source_bytes": 1, "files": 1, "entries": 1, "checksum": "sha256:" + "c" * 64}
    times = {"start_time": start, "completion_time": start, "snapshot_time": start}
    return BackupResult(archive="f" * 16, chain="daily", type="Full", seq=seq, manifest_sha256=_sha(sha), **times, **facts)


FIRST = datetime(2026, 5, 1, 2, tzinfo=UTC)
"""When what `_kept` and `_job` tell of by default was completed."""
LATER, AT_ONCE = FIRST + timedelta(hours=1), FIRST + timedelta(milliseconds=900)


@pytest.mark.parametrize(
    ("seq", "start", "backups", "jobs", "hidden"),
    [
        pytest.param(1, LATER, [], [], False, id="the first of all"),
        pytest.param(4, LATER, [_kept(3)], [_job(3)], False, id="the next"),
        pytest.param(3, LATER, [_kept(3)], [], True, id="a number that was taken"),
        pytest.param(2, LATER, [_kept(3)], [], True, id="a lower number"),
        pytest.param(3, LATER, [], [_job(3)], True, id="one that only the job remembers"),
        pytest.param(3, AT_ONCE, [_kept(3)], [_job(3)], False, id="two at once may take one number"),
        pytest.param(3, LATER, [_kept(3, "f")], [_job(3, "f")], False, id="the run itself, told again"),
        pytest.param(3, LATER, [_kept(9, repositoryId="r2"), _kept(9, chain="x")], [], False, id="another history"),
        pytest.param(3, LATER, [_kept(3, completionTime=None)], [], False, id="an end that is not known"),
    ],
)
def test_a_run_that_was_not_shown_what_was_there_tells(
    seq: int, start: datetime, backups: list[Backup], jobs: list[BackupJob], *, hidden: bool
) -> None:
    told = floors.hidden_from(_result(seq, start=start), "r1", backups, jobs)
    assert (told is not None) is hidden
    assert told is None or "find out who changes or rolls back the store" in told
