"""Schedules: what Kubernetes takes is taken, what it refuses or reads differently is refused with a sentence."""

from __future__ import annotations

import pytest

from iot_backup.core import schedule
from iot_backup.errors import InvalidSpec


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
