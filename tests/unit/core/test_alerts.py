"""Who is told what, day by day."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from iot_backup.core.alerts import (
    FAILURE,
    MISSED,
    RECOVERY,
    RETENTION,
    SUSPICIOUS,
    VERIFICATION,
    Message,
    Run,
    Told,
    of_retention,
    of_runs,
    of_slots,
    of_verification,
    wanted,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


def run(status: str = "completed", at: datetime = NOON, error: str = "", **changes: object) -> Run:
    return replace(Run("db", status, at, error, "a" * 16 if status in ("completed", "partial") else ""), **changes)  # type: ignore[arg-type]


GOOD = run()
FULL = "StorageFull: no room"


def lived(*days: Run) -> list[list[str]]:
    """One run after the other, each looked at when it has ended: the kinds that are told each time."""
    told, seen, found = Told(), [], []
    for each in days:
        seen.append(each)
        messages, told = of_runs({"db": seen}, told, each.end + timedelta(seconds=1))
        again, told = of_runs({"db": seen}, told, each.end + timedelta(seconds=2))
        assert again == [], "looking twice tells nothing twice"
        found.append([message.kind for message in messages])
    return found


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        ([run()], [[]]),
        ([run(), run("failed", NOON + DAY, FULL)], [[], [FAILURE]]),
        ([run("failed", NOON, FULL), run("failed", NOON + HOUR, FULL)], [[FAILURE], []]),
        ([run("failed", NOON, FULL), run("failed", NOON + DAY - HOUR, FULL)], [[FAILURE], []]),
        ([run("failed", NOON, FULL), run("failed", NOON + DAY + HOUR, FULL)], [[FAILURE], [FAILURE]]),
        ([run("failed", NOON, FULL), run("failed", NOON + HOUR, "WrongKey: no")], [[FAILURE], [FAILURE]]),
        ([run("failed", NOON, FULL), run(at=NOON + HOUR), run(at=NOON + DAY)], [[FAILURE], [RECOVERY], []]),
        ([run("partial"), run("partial", NOON + HOUR), run(at=NOON + DAY)], [[FAILURE], [], [RECOVERY]]),
        ([run("failed", NOON, "Busy: another one"), run("cancelled", NOON + HOUR)], [[], []]),
        ([run("failed", NOON, FULL), run("failed", NOON + HOUR, "Busy: another one"), run(at=NOON + DAY)], [[FAILURE], [], [RECOVERY]]),
    ],
)  # fmt: skip
def test_of_runs(days: list[Run], expected: list[list[str]]) -> None:
    assert lived(*days) == expected


def test_a_failure_says_what_failed_since_when_what_is_left_and_what_to_do() -> None:
    (message,), _ = of_runs({"db": [GOOD, run("failed", NOON + DAY, FULL)]}, Told(), NOON + DAY)
    assert message.subject == "backup of db failed"
    assert message.body.startswith(FULL)
    assert GOOD.id in message.body
    assert "backup-manager execute db" in message.body


def test_a_suspicious_run_is_told_once() -> None:
    odd = run(warnings=("Suspicious: half of the files are gone",))
    (message,), told = of_runs({"db": [odd]}, Told(), NOON)
    assert (message.kind, "half of the files" in message.body) == (SUSPICIOUS, True)
    assert of_runs({"db": [odd]}, told, NOON + DAY)[0] == []


def test_a_verification_is_told_like_a_run() -> None:
    problems = ["CorruptData: an archive is damaged"]
    (bad,), told = of_verification(False, problems, NOON, Told(), NOON)
    assert (bad.kind, problems[0] in bad.body) == (VERIFICATION, True)
    assert of_verification(False, problems, NOON + HOUR, told, NOON + HOUR)[0] == []
    (again,), _ = of_verification(False, problems, NOON + DAY, told, NOON + DAY)
    assert again.kind == VERIFICATION
    (good,), told = of_verification(True, [], NOON + DAY, told, NOON + DAY)
    assert good.kind == RECOVERY
    assert of_verification(True, [], NOON + DAY, told, NOON + DAY) == ([], told)


def test_retention_that_needs_somebody_is_told_like_a_run_and_a_freeze_was_told_by_its_run() -> None:
    frozen = "storage local: chain plc: frozen because of 0123: the source has 1 files, and had 40"
    skewed = "storage local: ClockSkew: the last retention of job plc was yesterday, and it is {} now"
    assert of_retention("plc", [frozen], NOON, Told(), NOON) == ([], Told())
    (bad,), told = of_retention("plc", [frozen, skewed.format(1)], NOON, Told(), NOON)
    assert (bad.kind, bad.subject, skewed.format(1) in bad.body) == (RETENTION, "retention of plc needs somebody", True)
    assert of_retention("plc", [skewed.format(2)], NOON, told, NOON + HOUR) == ([], told)
    (again,), _ = of_retention("plc", [skewed.format(3)], NOON, told, NOON + DAY)
    assert again.kind == RETENTION
    (good,), told = of_retention("plc", [], NOON, told, NOON + DAY)
    assert (good.kind, told.trouble) == (RECOVERY, {})
    assert of_retention("plc", [], NOON, told, NOON + DAY) == ([], told)


def test_a_slot_without_a_run_is_told_once_after_its_grace() -> None:
    slots, before = {"db": NOON}, {"db": [run(at=NOON - DAY)]}
    assert of_slots(slots, before, Told(), NOON + HOUR, 2 * HOUR)[0] == []
    (message,), told = of_slots(slots, before, Told(), NOON + 2 * HOUR, 2 * HOUR)
    assert message.kind == MISSED
    assert of_slots(slots, before, told, NOON + 3 * HOUR, 2 * HOUR)[0] == []
    assert of_slots(slots, {"db": [run(at=NOON + HOUR)]}, Told(), NOON + DAY, 2 * HOUR)[0] == []
    assert of_slots(slots, {}, Told(), NOON + DAY, 2 * HOUR)[0] == [], "a job that never ran is new"


def test_a_job_that_never_ran_is_missed_at_its_second_slot() -> None:
    _, told = of_slots({"db": NOON - DAY}, {}, Told(), NOON - HOUR, 2 * HOUR)
    (message,), told = of_slots({"db": NOON}, {}, told, NOON + 2 * HOUR, 2 * HOUR)
    assert message.kind == MISSED
    assert of_slots({"db": NOON}, {}, told, NOON + 3 * HOUR, 2 * HOUR)[0] == []


@pytest.mark.parametrize("stopped", [run("cancelled", NOON + HOUR, "Cancelled: asked"), run("failed", NOON + HOUR, "Busy: another one")])
def test_runs_that_were_stopped_are_no_runs_of_a_slot(stopped: Run) -> None:
    (message,), _ = of_slots({"db": NOON}, {"db": [run(at=NOON - DAY), stopped]}, Told(), NOON + 2 * HOUR, 2 * HOUR)
    assert (message.kind, "stopped" in message.body) == (MISSED, True)


def test_a_clock_that_was_ahead_silences_nothing() -> None:
    far = NOON + 3650 * DAY
    runs = [GOOD, run("failed", far, FULL)]
    _, told = of_runs({"db": runs}, Told(), far)
    runs.append(run("failed", NOON + DAY, FULL))
    (message,), told = of_runs({"db": runs}, told, NOON + DAY)
    assert message.kind == FAILURE
    assert of_runs({"db": runs}, told, NOON + DAY + HOUR)[0] == []
    (missed,), _ = of_slots({"db": NOON + 2 * DAY}, {"db": runs}, told, NOON + 2 * DAY + 2 * HOUR, 2 * HOUR)
    assert missed.kind == MISSED


def test_only_what_is_wanted_is_told() -> None:
    messages = [Message(kind, "", "", NOON) for kind in (FAILURE, RECOVERY)]
    assert wanted(messages, (RECOVERY,)) == messages[1:]
