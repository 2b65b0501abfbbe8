"""Two clocks compared."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from iot_backup.repository import clocks

STORE = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("skew", "reason", "match"),
    [
        (timedelta(0), None, ""),
        (timedelta(minutes=5), None, ""),
        (timedelta(minutes=-5), None, ""),
        (timedelta(minutes=5, seconds=1), "ClockDiffers", "5 min ahead of"),
        (timedelta(minutes=-30), "ClockDiffers", "30 min behind"),
        (timedelta(hours=1), "ClockDiffers", "60 min ahead of"),
        (timedelta(hours=1, seconds=1), "ClockSkew", "Nothing will be deleted"),
        (timedelta(days=-365), "ClockSkew", "8760 h behind"),
    ],
)
def test_judges_the_difference(skew: timedelta, reason: str | None, match: str) -> None:
    clock = clocks.compared(STORE + skew, STORE)
    assert clock.skew == skew
    assert (clock.warning and clock.warning.reason) == reason
    assert match in (clock.warning.message if clock.warning else "")
    assert clock.time(STORE + skew) == (STORE + skew if reason is None else STORE)


def test_times_come_out_in_utc() -> None:
    local = STORE.astimezone(timezone(timedelta(hours=2)))
    assert clocks.compared(local, STORE).time(local).tzinfo is UTC
