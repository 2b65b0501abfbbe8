"""What Backups, RestoreJobs and BackupJobs say: phases, conditions by the kstatus rules, numbers, failures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from iot_backup.core import backupjob_status, run_status
from iot_backup.core.pods import Trouble
from iot_backup.core.report import BackupResult, PlanResult, Report, RestoreResult, Warn
from iot_backup.core.run_status import Stored
from iot_backup.core.runs import Verdict

from .facts import backup, backup_job

if TYPE_CHECKING:
    from iot_backup.api.backup import Backup

Json = dict[str, Any]
AT = datetime(2026, 5, 1, 10, 0, tzinfo=UTC)


def _result(**changes: Any) -> BackupResult:
    facts: Json = {
        "archive": "0123456789abcdef",
        "chain": "daily",
        "type": "Full",
        "seq": 1,
        "start_time": AT,
        "completion_time": AT,
        "snapshot_time": AT,
        "size_bytes": 1 << 30,
        "source_bytes": 3 << 30,
        "files": 1,
        "entries": 2,
        "checksum": "sha256:" + "c" * 64,
        "manifest_sha256": "d" * 64,
        "owner_uid": 999,
        "owner_gid": 998,
    }
    return BackupResult(**{**facts, **changes})


def _verdict(phase: Any = "Completed", reason: str = "Completed", *, warnings: tuple[Warn, ...] = (), **more: Any) -> Verdict:
    report = Report(kind="backup", job="j", job_uid="u", warnings=warnings)
    return Verdict(phase, reason, "told", **{"report": report, "attempts": 1, "started": "t0", "ended": "t1", **more})


def _conditions(status: Json) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


def test_waiting() -> None:
    status = run_status.waiting({}, 1, Trouble("SourceMissing", "no claim"), "now")
    assert status["phase"] == "Pending"
    assert _conditions(status) == {
        "Succeeded": ("Unknown", "SourceMissing"),
        "Ready": ("Unknown", "SourceMissing"),
        "Reconciling": ("True", "SourceMissing"),
    }


@pytest.mark.parametrize(("reason", "phase", "failure"), [("RootNotAllowed", "Failed", "RootNotAllowed"), ("Cancelled", "Cancelled", None)])
def test_refused(reason: str, phase: str, failure: str | None) -> None:
    status = run_status.refused({}, 1, Trouble(reason, "no"), "now")
    assert (status["phase"], status["completionTime"], status.get("failure", {}).get("class")) == (phase, "now", failure)
    assert _conditions(status) == {"Succeeded": ("False", reason), "Ready": ("False", reason), "Stalled": ("True", reason)}


def test_running_tells_the_last_attempts_failure_and_forgets_it_when_all_is_well() -> None:
    failing = run_status.running({}, 1, _verdict("Running", "StorageUnavailable", exit_code=69), "j", "now")
    assert failing["failure"] == {"class": "StorageUnavailable", "message": "told", "exitCode": 69}
    assert (failing["jobName"], failing["attempts"], failing["startTime"]) == ("j", 1, "t0")
    assert run_status.running(failing, 1, _verdict("Running", "Running"), "j", "now")["failure"] is None


def test_failed_and_cancelled() -> None:
    failed = run_status.failed({}, 1, _verdict("Failed", "OOMKilled", exit_code=137), "j", "now")
    assert (failed["phase"], failed["failure"]["exitCode"], failed["completionTime"]) == ("Failed", 137, "t1")
    assert _conditions(failed)["Stalled"] == ("True", "OOMKilled")
    cancelled = run_status.failed({}, 1, _verdict("Cancelled", "Cancelled", exit_code=143), "j", "now")
    assert (cancelled["phase"], cancelled["failure"]) == ("Cancelled", None)


def test_a_run_that_fails_without_an_error_of_a_pod_says_why_all_the_same() -> None:
    """A stranger's pod in our Job may end with 0."""
    status = run_status.failed({}, 3, _verdict("Failed", "ForeignJob", exit_code=0), "run", "now")
    assert status["failure"] == {"class": "ForeignJob", "message": "told"}


def test_an_exit_code_no_process_has_is_left_out() -> None:
    assert "exitCode" not in run_status.failed({}, 1, _verdict("Failed", "X", exit_code=-1), "j", "now")["failure"]


def test_backed_up() -> None:
    warnings = (Warn(reason="ChangedWhileRead", message="a grew", count=3), Warn(reason="Other", message="b"))
    status = run_status.backed_up(
        {"failure": {"class": "X"}}, 2, _verdict(warnings=warnings), Stored(_result(), "r1"), backup_job(), job_name="j", now="now"
    )
    conditions = status.pop("conditions")
    assert [(c["type"], c["status"], c["reason"], c["message"]) for c in conditions] == [
        ("Succeeded", "True", "Completed", "1.0 GiB from 1 file of 3.0 GiB, archive 0123456789abcdef"),
        ("Ready", "True", "Completed", "1.0 GiB from 1 file of 3.0 GiB, archive 0123456789abcdef"),
    ]
    assert status == {
        "observedGeneration": 2,
        "phase": "Completed",
        "jobName": "j",
        "attempts": 1,
        "type": "Full",
        "startTime": "2026-05-01T10:00:00Z",
        "completionTime": "2026-05-01T10:00:00Z",
        "snapshotTime": "2026-05-01T10:00:00Z",
        "sizeBytes": 1 << 30,
        "size": "1.0 GiB",
        "sourceBytes": 3 << 30,
        "files": 1,
        "checksum": "sha256:" + "c" * 64,
        "archive": "0123456789abcdef",
        "chain": "daily",
        "parent": None,
        "seq": 1,
        "manifestSha256": "d" * 64,
        "repositoryId": "r1",
        "sourceOwner": {"uid": 999, "gid": 998},
        "warnings": 4,
        "warningMessages": ["ChangedWhileRead: a grew", "Other: b"],
        "failure": None,
    }


@pytest.mark.parametrize(
    ("result", "job", "phase", "succeeded"),
    [
        (_result(partial=True), backup_job(), "Failed", ("False", "PartialBackup")),
        (_result(partial=True), None, "Failed", ("False", "PartialBackup")),
        (_result(partial=True), backup_job(allowPartial=True), "Completed", ("True", "PartialBackup")),
        (_result(inconsistent_source=True), backup_job(), "Completed", ("True", "InconsistentSource")),
    ],
)
def test_what_was_stored_is_named_also_where_it_is_not_good(result: BackupResult, job: Any, phase: str, succeeded: tuple[str, str]) -> None:
    status = run_status.backed_up({}, 1, _verdict(), Stored(result, "r1"), job, job_name="j", now="now")
    assert (status["phase"], status["archive"], _conditions(status)["Succeeded"]) == (phase, "0123456789abcdef", succeeded)
    assert (status["failure"] is None) is (phase == "Completed")


@pytest.mark.parametrize("reason", ["FilesUnreadable", "FilesDamaged", "FilesIncomplete"])
def test_a_partial_backup_says_what_is_missing(reason: str) -> None:
    warnings = (Warn(reason="FilesSkipped", message="a socket"), Warn(reason=reason, message="1 of this: a/b"))
    status = run_status.backed_up(
        {}, 1, _verdict(warnings=warnings), Stored(_result(partial=True), "r1"), backup_job(), job_name="j", now="now"
    )
    message = next(c["message"] for c in status["conditions"] if c["type"] == "Succeeded")
    assert "; 1 of this: a/b; give the worker the right to read them" in message
    assert "socket" not in message


def test_an_incremental_says_what_it_builds_on() -> None:
    result = _result(type="Incremental", parent="f" * 16, seq=7)
    status = run_status.backed_up({}, 1, _verdict(), Stored(result, "r1"), backup_job(), job_name="j", now="now")
    assert (status["type"], status["parent"], status["seq"]) == ("Incremental", "f" * 16, 7)
    assert status["conditions"][0]["message"].endswith(f"archive 0123456789abcdef, Incremental on {'f' * 16}")


def test_what_does_not_count_yet_is_not_remembered_as_what_a_store_must_show() -> None:
    stored = Stored(_result(writer_admitted=False), "r1")
    assert run_status.backed_up({}, 1, _verdict(), stored, backup_job(), job_name="j", now="now")["repositoryId"] is None


def test_our_own_warnings_come_first_and_no_more_than_a_status_holds() -> None:
    reported = tuple(Warn(reason=f"W{chr(65 + i)}", message="w") for i in range(8))
    stored = Stored(_result(), "r1", (Warn(reason="RolledBack", message="hidden"),))
    status = run_status.backed_up({}, 1, _verdict(warnings=reported), stored, backup_job(), job_name="j", now="now")
    assert len(status["warningMessages"]) == run_status.WARNINGS
    assert status["warningMessages"][:2] == ["RolledBack: hidden", "WA: w"]


def test_restored_leaves_and_removes() -> None:
    facts: Json = {"archive": "0" * 16, "chain": "c", "type": "Selective", "snapshot_time": AT, "checksum": "sha256:" + "e" * 64}
    result = RestoreResult(files=1, bytes=2, kept=1, deleted=4, **facts)
    status = run_status.restored({}, 1, _verdict(), result, job_name="j", now="now")
    assert (status["kept"], status["deleted"]) == (1, 4)
    assert status["conditions"][0]["message"] == f"1 file, 2 B, 1 path kept, 4 paths deleted, from archive {'0' * 16}"


def _plan(**changes: Any) -> PlanResult:
    facts: Json = {
        "archive": "0" * 16,
        "chain": "c",
        "snapshot_time": AT,
        "members": 2,
        "files": 3,
        "bytes": 2048,
        "add": 1,
        "change": 2,
        "same": 3,
        "keep": 4,
        "delete": 5,
        "read_bytes": 1024,
        "space_needed": 10,
        "space_free": 10,
        "seconds": 6,
    }
    return PlanResult(**{**facts, **changes})


def test_planned() -> None:
    status = run_status.planned({"resolved": {"backup": "b"}}, 1, _verdict(), _plan(), job_name="j", now="now")
    assert (status["phase"], status["failure"], status["completionTime"]) == ("Completed", None, "t1")
    assert status["plan"] == {
        "members": 2,
        "files": 3,
        "bytes": 2048,
        "size": "2.0 KiB",
        "add": 1,
        "change": 2,
        "same": 3,
        "keep": 4,
        "delete": 5,
        "readBytes": 1024,
        "spaceNeeded": 10,
        "spaceFree": 10,
        "missing": [],
        "seconds": 6,
    }
    assert status["resolved"] == {"backup": "b", "archive": "0" * 16, "chain": "c", "snapshotTime": "2026-05-01T10:00:00Z"}
    assert not {"filesRestored", "bytesRestored"} & status.keys()
    assert [(c["type"], c["status"], c["reason"]) for c in status["conditions"]] == [
        ("Succeeded", "True", "Planned"),
        ("Ready", "True", "Planned"),
    ]
    assert status["conditions"][0]["message"] == (
        "would restore 3 files, 2.0 KiB; paths: 1 new, 2 changed, 3 the same, 4 kept, 5 deleted; "
        "reads 1.0 KiB from 2 backups, about 6 s; needs 10 B of 10 B free"
    )


@pytest.mark.parametrize(
    ("plan", "reason", "says"),
    [
        (_plan(missing=("a" * 16,)), "ChainBroken", "of 2 backups that it needs " + "a" * 16),
        (_plan(space_needed=11), "TargetFull", "needs 11 B of 10 B free"),
        (_plan(space_needed=11, missing=("a" * 16,)), "ChainBroken", "choose an older backup"),
    ],
)
def test_a_plan_that_cannot_be_done_fails_as_the_restore_would(plan: PlanResult, reason: str, says: str) -> None:
    status = run_status.planned({}, 1, _verdict(), plan, job_name="j", now="now")
    assert (status["phase"], status["failure"]["class"]) == ("Failed", reason)
    assert says in status["failure"]["message"]
    assert status["plan"]["files"] == 3
    assert _conditions(status)["Stalled"] == ("True", reason)


def test_restored() -> None:
    result = RestoreResult(archive="0" * 16, chain="c", type="Full", snapshot_time=AT, files=2, bytes=2048, checksum="sha256:" + "e" * 64)
    status = run_status.restored({"resolved": {"backup": "b", "storage": "s"}}, 1, _verdict(), result, job_name="j", now="now")
    assert (status["phase"], status["filesRestored"], status["bytesRestored"], status["size"]) == ("Completed", 2, 2048, "2.0 KiB")
    assert status["resolved"] == {
        "backup": "b",
        "storage": "s",
        "archive": "0" * 16,
        "chain": "c",
        "snapshotTime": "2026-05-01T10:00:00Z",
        "checksum": "sha256:" + "e" * 64,
    }


@pytest.mark.parametrize(
    ("owners", "annotations", "expected"),
    [
        ([{"kind": "CronJob"}], {}, "Scheduled"),
        ([{"kind": "CronJob"}], {"cronjob.kubernetes.io/instantiate": "manual"}, "Manual"),
        ([{"kind": "Backup"}], {}, "Manual"),
        ([], {}, "Manual"),
    ],
)
def test_origin(owners: list[Json], annotations: Json, expected: str) -> None:
    assert run_status.origin({"metadata": {"ownerReferences": owners, "annotations": annotations}}) == expected


# -- BackupJob

DAY = "2026-05-0{}T02:00:00Z"


def _run(day: int, phase: str, **status: Any) -> Backup:
    failure = {"failure": {"class": "AccessDenied", "message": "no right"}} if phase == "Failed" else {}
    return backup(f"b{day}", phase, start=DAY.format(day), completionTime=DAY.format(day), **failure, **status)


def _job_status(runs: list[Backup], problem: Trouble | None = None, current: Json | None = None, **spec: Any) -> Json:
    return backupjob_status.status(backup_job(**spec), current or {}, problem, runs, datetime(2026, 5, 5, tzinfo=UTC))


@pytest.mark.parametrize(
    ("runs", "healthy", "failures", "success"),
    [
        ([], ("Unknown", "NoRuns"), 0, None),
        ([_run(1, "Running")], ("Unknown", "NoRuns"), 0, None),
        ([_run(1, "Completed")], ("True", "LastRunSucceeded"), 0, DAY.format(1)),
        ([_run(2, "Failed"), _run(1, "Completed")], ("False", "LastRunFailed"), 1, DAY.format(1)),
        ([_run(1, "Completed"), _run(2, "Failed"), _run(3, "Failed"), _run(4, "Running")], ("False", "LastRunFailed"), 2, DAY.format(1)),
        ([_run(1, "Failed"), _run(2, "Completed"), _run(3, "Cancelled")], ("True", "LastRunSucceeded"), 0, DAY.format(2)),
    ],
)
def test_health(runs: list[Backup], healthy: tuple[str, str], failures: int, success: str | None) -> None:
    status = _job_status(runs)
    assert (_conditions(status)["Healthy"], status["consecutiveFailures"], status["lastSuccessTime"]) == (healthy, failures, success)


def test_the_last_backup_is_the_newest_whatever_its_end() -> None:
    assert _job_status([_run(2, "Failed"), _run(1, "Completed", sizeBytes=5)])["lastBackup"] == {
        "name": "b2",
        "phase": "Failed",
        "startTime": DAY.format(2),
        "completionTime": DAY.format(2),
    }


def test_the_last_backup_tells_what_it_became() -> None:
    assert _job_status([_run(1, "Completed", type="Full")], type="Incremental")["lastBackup"]["type"] == "Full"


def test_what_a_store_must_show_outlives_the_backups_that_said_so() -> None:
    known = {"repositoryId": "r1", "chain": "daily", "seq": 3, "manifestSha256": "d" * 64}
    written = _job_status([_run(1, "Completed", **known), _run(2, "Failed")])["newest"]
    assert written == {**known, "completionTime": DAY.format(1)}
    assert _job_status([], status={"newest": written})["newest"] == written
    assert _job_status([])["newest"] is None


def test_a_success_outlives_its_object() -> None:
    assert _job_status([], current={"lastSuccessTime": "before"})["lastSuccessTime"] == "before"


@pytest.mark.parametrize(
    ("problem", "conditions"),
    [
        (None, {"Ready": ("True", "Ready")}),
        (Trouble("SourceMissing", "x"), {"Ready": ("False", "SourceMissing"), "Reconciling": ("True", "SourceMissing")}),
        (Trouble("InvalidSchedule", "x"), {"Ready": ("False", "InvalidSchedule"), "Stalled": ("True", "InvalidSchedule")}),
    ],
)
def test_ready_is_about_being_in_place(problem: Trouble | None, conditions: Json) -> None:
    found = _conditions(_job_status([_run(1, "Failed")], problem))
    assert {k: v for k, v in found.items() if k not in {"Healthy", "Suspended"}} == conditions


@pytest.mark.parametrize(
    ("spec", "readable", "upcoming"),
    [
        ({}, "on demand", None),
        ({"schedule": "30 2 * * *", "timeZone": "Etc/UTC"}, "30 2 * * * Etc/UTC", "2026-05-05T02:30:00Z"),
        ({"schedule": "@daily", "suspend": True}, "@daily", None),
        (
            {"schedules": [{"name": "night", "schedule": "0 1 * * *"}, {"name": "noon", "schedule": "0 12 * * *"}]},
            "night: 0 1 * * *, noon: 0 12 * * *",
            "2026-05-05T01:00:00Z",
        ),
        ({"schedule": "0 0 * * 7"}, "0 0 * * 7", None),
        ({"type": "Incremental", "schedule": "@daily"}, "@daily", "2026-05-06T00:00:00Z"),
        (
            {
                "type": "Incremental",
                "schedules": [{"name": "d", "schedule": "0 1 * * *"}, {"name": "w", "schedule": "0 3 * * SUN", "type": "Full"}],
            },
            "d: 0 1 * * *, w: 0 3 * * SUN (Full)",
            "2026-05-05T01:00:00Z",
        ),
    ],
)
def test_schedule_and_next_run(spec: Json, readable: str, upcoming: str | None) -> None:
    status = _job_status([], **spec)
    assert (status["schedule"], status["nextRunTime"]) == (readable, upcoming)
    assert _conditions(status)["Suspended"][0] == str(bool(spec.get("suspend")))
