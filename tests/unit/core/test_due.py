"""What a scheduler starts, and when it looks again: slots over both changes of the clocks, missed runs, clocks that are set."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from iot_backup.core.due import Mark, Timed, due, marked, next_slot

NOW = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
DAILY = "0 2 * * *"
UTC_ZONE = ZoneInfo("UTC")


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def slots(zone: str, schedule: str, after: str, count: int) -> list[str]:
    moment, found = at(after), []
    for _ in range(count):
        slot = next_slot(schedule, ZoneInfo(zone), moment)
        assert slot is not None
        found.append(f"{slot:%m-%d %H:%M}")
        moment = slot
    return found


@pytest.mark.parametrize(
    ("zone", "schedule", "after", "expected"),
    [
        ("Europe/Berlin", "30 2 * * *", "2026-03-28T12:00", ["03-29 01:00", "03-30 00:30"]),
        ("Europe/Berlin", "0,30 2 * * *", "2026-03-28T12:00", ["03-29 01:00", "03-30 00:00"]),
        ("Europe/Berlin", "0 * * * *", "2026-03-28T23:30", ["03-29 00:00", "03-29 01:00", "03-29 02:00"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", ["10-25 00:30", "10-26 01:30"]),
        ("Europe/Berlin", "30 * * * *", "2026-10-24T23:45", ["10-25 00:30", "10-25 01:30", "10-25 02:30"]),
        ("Europe/Berlin", "*/20 * * * *", "2026-10-25T00:30", ["10-25 00:40", "10-25 01:00", "10-25 01:20", "10-25 01:40"]),
        ("America/New_York", "15 2 * * *", "2026-03-07T12:00", ["03-08 07:00", "03-09 06:15"]),
        ("America/New_York", "30 1 * * *", "2026-10-31T12:00", ["11-01 05:30", "11-02 06:30"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-03T12:00", ["10-03 15:30", "10-04 15:15"]),
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-04T12:00", ["04-04 14:45", "04-05 15:15"]),
        ("Australia/Lord_Howe", "*/15 * * * *", "2026-04-04T14:30", ["04-04 14:45", "04-04 15:00", "04-04 15:15", "04-04 15:30"]),
        ("UTC", "0 2 29 2 *", "2026-06-01T00:00", ["02-29 02:00"]),
    ],
)
def test_slots_over_the_changes_of_the_clocks(zone: str, schedule: str, after: str, expected: list[str]) -> None:
    assert slots(zone, schedule, after, len(expected)) == expected


@pytest.mark.parametrize("minute", [0, 1, 29, 30, 31, 59])
def test_inside_a_doubled_hour_no_slot_comes_back(minute: int) -> None:
    inside = at("2026-10-25T01:00") + timedelta(minutes=minute)
    assert next_slot("30 2 * * *", ZoneInfo("Europe/Berlin"), inside) == at("2026-10-26T01:30")


@pytest.mark.parametrize("zone", ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "UTC"])
@pytest.mark.parametrize("schedule", ["30 2 * * *", "45 1 * * *", "0 3 * * *", "0 0 * * *"])
def test_a_daily_job_runs_once_on_every_day_of_years(zone: str, schedule: str) -> None:
    moment, days = at("2026-01-01T00:00"), []
    while moment < at("2029-01-01T00:00"):
        slot = next_slot(schedule, ZoneInfo(zone), moment)
        assert slot is not None
        assert slot > moment
        days.append(slot.astimezone(ZoneInfo(zone)).date())
        moment = slot
    assert [later - earlier for earlier, later in pairwise(days)] == [timedelta(days=1)] * (len(days) - 1)


def job(id_: str, schedule: str = DAILY, alone: str | None = None) -> Timed:
    return Timed(id_, schedule, alone or id_)


def started(
    jobs: list[Timed], marks: dict[str, Mark], now: datetime = NOW, *, taken: tuple[str, ...] = (), free: int = 9
) -> tuple[str, ...]:
    return due(jobs, marks, taken, free, UTC_ZONE, now).starts


def test_a_new_job_waits_for_its_next_slot_which_it_then_may_not_miss() -> None:
    marks = marked([job("a")], {}, UTC_ZONE, NOW)
    decision = due([job("a")], marks, (), 1, UTC_ZONE, NOW)
    assert (decision.starts, decision.wake) == ((), at("2026-06-02T02:00"))
    assert started([job("a")], marks, at("2026-06-09T17:00")) == ("a",)


def test_many_missed_slots_are_one_run() -> None:
    mark = Mark(DAILY, NOW - timedelta(days=400))
    assert started([job("a")], {"a": mark}) == ("a",)
    assert started([job("a")], {"a": mark.begun(NOW)}) == ()
    assert started([job("a")], {"a": mark.begun(NOW).ended()}) == ()


def test_a_slot_that_comes_during_the_run_is_run_after_it() -> None:
    mark = Mark("* * * * *", NOW - timedelta(minutes=1)).begun(NOW).ended()
    assert started([job("a", "* * * * *")], {"a": mark}, NOW + timedelta(minutes=5)) == ("a",)


def test_a_run_that_did_not_end_is_made_up_for_once() -> None:
    died = Mark(DAILY, at("2026-05-31T02:00")).begun(at("2026-06-01T02:00"))
    first = died.found()
    assert started([job("a")], {"a": first}) == ("a",)
    second = first.begun(NOW).found()
    assert started([job("a")], {"a": second}) == ()
    assert started([job("a")], {"a": first.found()}) == ("a",), "a scheduler that died before it began has made up for nothing"


@pytest.mark.parametrize(
    ("free", "taken", "expected"),
    [
        (9, (), ("late", "full", "other")),
        (1, (), ("late",)),
        (0, (), ()),
        (9, ("chain",), ("late", "other")),
        (9, ("late", "other"), ("full",)),
    ],
)
def test_what_starts_is_bounded_and_never_two_of_one_chain(free: int, taken: tuple[str, ...], expected: tuple[str, ...]) -> None:
    jobs = [job("full", alone="chain"), job("incremental", alone="chain"), job("other"), job("late", "0 1 * * *")]
    marks = {each.id: Mark(each.schedule, NOW - timedelta(days=1)) for each in jobs}
    assert started(jobs, marks, taken=taken, free=free) == expected


def test_another_schedule_begins_anew_and_jobs_that_are_gone_are_forgotten() -> None:
    known = {"a": Mark(DAILY, NOW - timedelta(days=9)), "gone": Mark(DAILY, NOW)}
    assert marked([job("a", "0 3 * * *")], known, UTC_ZONE, NOW) == {"a": Mark("0 3 * * *", NOW, zone="UTC")}


def test_another_zone_begins_anew() -> None:
    known = marked([job("a")], {"a": Mark(DAILY, at("2026-06-01T01:00"))}, UTC_ZONE, at("2026-06-01T01:00"))
    moved = marked([job("a")], known, ZoneInfo("Asia/Tokyo"), at("2026-06-01T18:00"))
    assert moved["a"].counted == at("2026-06-01T18:00")


def test_a_clock_that_was_behind_for_a_while_runs_nothing_again() -> None:
    done = {"a": Mark(DAILY, at("2026-06-01T02:00:10"))}
    behind = marked([job("a")], done, UTC_ZONE, at("1970-01-01T00:01"))
    assert due([job("a")], behind, (), 1, UTC_ZONE, at("1970-01-02T03:00")).starts == ("a",), "it may be right"
    ran = {"a": behind["a"].begun(at("1970-01-02T02:00")).ended()}
    right = marked([job("a")], ran, UTC_ZONE, at("2026-06-01T12:00"))
    assert due([job("a")], right, (), 1, UTC_ZONE, at("2026-06-01T12:00")).starts == ()
    assert due([job("a")], right, (), 1, UTC_ZONE, at("2026-06-02T02:00")).starts == ("a",)


@pytest.mark.parametrize(
    ("schedule", "ahead", "counted_anew"),
    [
        (DAILY, timedelta(hours=1), False),
        (DAILY, timedelta(days=3650), True),
        ("* * * * *", timedelta(seconds=10), False),
        ("* * * * *", timedelta(hours=1), True),
        ("0 0 1 1 *", timedelta(days=2), True),
        (DAILY, -timedelta(days=9), False),
    ],
)
def test_a_clock_set_back_neither_doubles_runs_nor_loses_them(schedule: str, ahead: timedelta, counted_anew: bool) -> None:
    known = {"a": Mark(schedule, at("2026-06-01T02:00:10") + ahead)}
    now = at("2026-06-01T02:00:10")
    mark = marked([job("a", schedule)], known, UTC_ZONE, now)["a"]
    assert (mark.counted, mark.ahead) == ((now, known["a"].counted) if counted_anew else (known["a"].counted, None))
