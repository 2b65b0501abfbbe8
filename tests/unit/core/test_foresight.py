"""The calendar of the days to come."""

from __future__ import annotations

from datetime import UTC, datetime

from iot_backup.core.foresight import Planned, calendar
from iot_backup.core.retention import Around, Policy

START = datetime(2026, 3, 1, tzinfo=UTC)  # a Sunday


def test_weekly_fulls_and_daily_increments_go_chain_by_chain() -> None:
    planned = [
        Planned("full", "c", "full", "0 2 * * 0", UTC, 30),
        Planned("daily", "c", "incremental", "0 2 * * 1-6", UTC, 30),
    ]
    around = Around("a" * 16, {"full": Policy(days=7), "daily": Policy(days=7)}, {}, {}, {})
    days = list(calendar([], around, planned, START, UTC, 24))
    assert [point.id for point in days[0].made] == ["full@2026-03-01T02:00Z"]
    assert [point.parent for point in days[1].made] == ["full@2026-03-01T02:00Z"]
    assert all(len(day.made) == 1 for day in days)
    gone = [(number, sorted(verdict.point.time.day for verdict in day.removed)) for number, day in enumerate(days) if day.removed]
    assert gone == [(15, [1, 2, 3, 4, 5, 6, 7]), (22, [8, 9, 10, 11, 12, 13, 14])]
    assert len(days[-1].kept) == 10


def test_a_chain_that_is_full_begins_anew_and_differentials_build_on_the_full() -> None:
    around = Around("a" * 16, {}, {}, {}, {})
    short = list(calendar([], around, [Planned("i", "c", "incremental", "0 2 * * *", UTC, 3)], START, UTC, 4))
    assert [day.made[0].parent is None for day in short] == [True, False, False, True]
    differential = list(calendar([], around, [Planned("d", "c", "differential", "0 2 * * *", UTC, 30)], START, UTC, 3))
    assert [day.made[0].parent for day in differential] == [None, *["d@2026-03-01T02:00Z"] * 2]
