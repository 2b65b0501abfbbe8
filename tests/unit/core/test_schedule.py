"""Schedules: what Kubernetes takes is taken, what it refuses or reads differently is refused with a sentence."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from iot_backup.core import schedule
from iot_backup.errors import InvalidSpec

NOW = datetime(2026, 10, 24, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("30 2 * * *", None, "2026-10-25T02:30:00"),
        ("30 2 * * *", "Asia/Kolkata", "2026-10-24T21:00:00"),
        ("@daily", "Europe/Berlin", "2026-10-24T22:00:00"),
        ("@hourly", None, "2026-10-24T13:00:00"),
        ("*/5 * * * MON-FRI", None, "2026-10-26T00:00:00"),
        ("0 0 ? JUL 0", None, "2027-07-04T00:00:00"),
        ("  0   12  * *  * ", None, "2026-10-25T12:00:00"),
    ],
)
def test_the_next_run(text: str, zone: str | None, expected: str) -> None:
    found = schedule.next_run(text, zone, NOW)
    assert found is not None
    assert found == datetime.fromisoformat(expected).replace(tzinfo=UTC)


def test_an_hour_that_comes_twice_in_autumn_runs_once() -> None:
    first = schedule.next_run("30 2 * * *", "Europe/Berlin", NOW)
    assert first is not None
    second = schedule.next_run("30 2 * * *", "Europe/Berlin", first)
    assert second is not None
    assert second.date() > first.date()


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("* * * * * *", "6 fields"),
        ("* * * *", "4 fields"),
        ("", "0 fields"),
        ("@every 5m", "macro"),
        ("TZ=UTC * * * * *", "timeZone"),
        ("0 0 L * *", "does not know"),
        ("0 0 * * 7", "Sunday"),
        ("0 0 * * 1-7", "Sunday"),
        ("0 0 * * 1#2", "does not know"),
        ("61 * * * *", "minute"),
        ("0 0 30 2 *", "day-of-month"),
        ("a b c d e", "cannot be read"),
    ],
)
def test_a_bad_schedule_is_refused_with_an_example(text: str, word: str) -> None:
    with pytest.raises(InvalidSpec) as caught:
        schedule.five_fields(text)
    assert word in caught.value.message


@pytest.mark.parametrize("name", ["Mars/Olympus", "", "../etc/passwd", "Europe", "Local"])
def test_an_unknown_zone_is_refused(name: str) -> None:
    with pytest.raises(InvalidSpec, match="Europe/Berlin"):
        schedule.zone(name)
