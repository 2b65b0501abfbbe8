"""The times of CronJobs. What is expected was printed by robfig/cron v3.0.1 itself, which Kubernetes starts them by."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from iot_backup.core import cronjob_times


@pytest.mark.parametrize(
    ("text", "zone", "now", "expected"),
    [
        ("30 2 * * *", None, "2026-10-24T12:00:00", ["2026-10-25T02:30", "2026-10-26T02:30"]),
        ("30 2 * * *", "Asia/Kolkata", "2026-10-24T12:00:00", ["2026-10-24T21:00", "2026-10-25T21:00"]),
        ("  0   12  * *  * ", None, "2026-10-24T12:00:00", ["2026-10-25T12:00", "2026-10-26T12:00"]),
        ("0 12 * * *", None, "2026-10-24T11:59:59", ["2026-10-24T12:00", "2026-10-25T12:00"]),
        ("@hourly", None, "2026-10-24T12:00:00", ["2026-10-24T13:00", "2026-10-24T14:00"]),
        ("@daily", "Europe/Berlin", "2026-10-24T12:00:00", ["2026-10-24T22:00", "2026-10-25T23:00"]),
        ("*/5 * * * MON-FRI", None, "2026-10-24T12:00:00", ["2026-10-26T00:00", "2026-10-26T00:05"]),
        ("0 0 ? jul 0", None, "2026-10-24T12:00:00", ["2027-07-04T00:00", "2027-07-11T00:00"]),
        ("59 23 31 12 *", None, "2026-12-31T23:59:00", ["2027-12-31T23:59", "2028-12-31T23:59"]),
        ("0 0 29 2 *", None, "2026-10-24T12:00:00", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        # No leap year within five years of 2096: 2100 is none.
        ("0 0 29 2 *", None, "2096-10-24T12:00:00", []),
    ],
)
def test_the_next_runs(text: str, zone: str | None, now: str, expected: list[str]) -> None:
    assert _next_two(text, zone, now) == expected


@pytest.mark.parametrize(
    ("text", "zone", "now", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00", ["2026-10-25T00:30", "2026-10-25T01:30"]),
        ("30 2 * * *", "Europe/Berlin", "2026-10-25T01:30:00", ["2026-10-26T01:30", "2026-10-27T01:30"]),
        ("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00", ["2026-10-25T00:00", "2026-10-25T01:00"]),
        ("*/30 2 * * *", "Australia/Lord_Howe", "2027-04-03T12:00:00", ["2027-04-03T16:00", "2027-04-04T15:30"]),
    ],
)
def test_a_doubled_time_runs_twice(text: str, zone: str, now: str, expected: list[str]) -> None:
    assert _next_two(text, zone, now) == expected


@pytest.mark.parametrize(
    ("text", "zone", "now", "expected"),
    [
        ("30 2 * * *", "Europe/Berlin", "2027-03-27T12:00:00", ["2027-03-29T00:30", "2027-03-30T00:30"]),
        ("0 1-3 * * *", "Europe/Berlin", "2027-03-27T23:30:00", ["2027-03-28T00:00", "2027-03-28T01:00"]),
        ("0 0 * * *", "America/Santiago", "2026-09-05T12:00:00", ["2026-09-07T03:00", "2026-09-08T03:00"]),
        ("2 0 * * */3", "Australia/Lord_Howe", "2027-04-02T21:47:00", ["2027-04-03T13:02", "2027-04-09T13:32"]),
        ("30 1 * * 0", "Asia/Beirut", "2026-03-28T12:00:00", ["2026-04-04T22:30", "2026-04-11T22:30"]),
    ],
)
def test_a_skipped_time_does_not_run_and_a_change_can_cost_a_day(text: str, zone: str, now: str, expected: list[str]) -> None:
    assert _next_two(text, zone, now) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0 3 1 * 1", ["2026-10-26T03:00", "2026-11-01T03:00"]),
        ("0 3 */3 * 1", ["2026-10-25T03:00", "2026-10-26T03:00"]),
        ("0 3 */1 * 1", ["2026-10-26T03:00", "2026-11-02T03:00"]),
        ("0 3 * * 1/3", ["2026-10-26T03:00", "2026-10-29T03:00"]),
    ],
)
def test_days_and_weekdays_as_kubernetes_reads_them(text: str, expected: list[str]) -> None:
    assert _next_two(text, None, "2026-10-24T12:00:00") == expected


def _next_two(text: str, zone: str | None, now: str) -> list[str]:
    found = []
    moment: datetime | None = datetime.fromisoformat(now).replace(tzinfo=UTC)
    while len(found) < 2 and (moment := cronjob_times.next_run(text, zone, moment)):
        found.append(f"{moment:%Y-%m-%dT%H:%M}")
    return found
