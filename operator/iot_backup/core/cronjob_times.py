"""When Kubernetes starts what a CronJob asks for: the times of robfig/cron v3, which its controller uses, with their oddities.

The clock on the wall decides: a time that is skipped in spring has no run, one that comes twice in autumn has two. Where midnight
itself is skipped (Beirut, Santiago) a day can be passed over. Days and weekdays are both asked for only where one of them is a plain
`*`. The steps are those of `SpecSchedule.Next`, so that they go wrong where it does. Schedules whose runs are our own: core/due.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from cronsim.cronsim import Field

from iot_backup.core import schedule

_YEARS = 5
"""How far it looks."""
_HOUR, _MINUTE = timedelta(hours=1), timedelta(minutes=1)
_LAST = {Field.MINUTE: 59, Field.HOUR: 23, Field.DAY: 31, Field.MONTH: 12, Field.DOW: 6}


@dataclass(frozen=True)
class _Fields:
    minutes: frozenset[int]
    hours: frozenset[int]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    both: bool
    """Day and weekday must match, not one of them."""

    def on(self, wall: datetime) -> bool:
        day, weekday = wall.day in self.days, wall.isoweekday() % 7 in self.weekdays
        return day and weekday if self.both else day or weekday


def next_run(text: str, time_zone: str | None, now: datetime) -> datetime | None:
    """The next start after `now`, in UTC; None if there is none in five years (30 February). InvalidSpec."""
    fields, there = _fields(text), schedule.zone(time_zone)
    found = now.astimezone(UTC).replace(second=0, microsecond=0) + _MINUTE
    last = found.year + _YEARS
    begun = done = False
    while not done:
        found, done = _forward(fields, there, found, begun)
        begun = True
        if found.astimezone(there).year > last:
            return None
    return found


def _fields(text: str) -> _Fields:
    minute, hour, day, month, weekday = schedule.five_fields(text).replace("?", "*").upper().split()
    return _Fields(
        _numbers(minute, Field.MINUTE),
        _numbers(hour, Field.HOUR),
        _numbers(day, Field.DAY),
        _numbers(month, Field.MONTH),
        _numbers(weekday, Field.DOW),
        _is_star(day) or _is_star(weekday),
    )


def _numbers(field: str, kind: Field) -> frozenset[int]:
    return frozenset(number for number in range(_LAST[kind] + 1) if number in kind.parse(field))


def _is_star(field: str) -> bool:
    return any(term.removesuffix("/1") == "*" for term in field.split(","))


def _forward(fields: _Fields, there: ZoneInfo, moment: datetime, begun: bool) -> tuple[datetime, bool]:
    """Go on until all fields match, and tell so; or, where one ran over, until those above it have to be looked at again."""
    wall = moment.astimezone(there)
    while wall.month not in fields.months:
        wall, begun = _next_month(there, wall), True
        if wall.month == 1:
            return wall.astimezone(UTC), False
    while not fields.on(wall):
        wall, begun = _next_day(there, wall if begun else _date(there, wall.year, wall.month, wall.day)), True
        if wall.day == 1:
            return wall.astimezone(UTC), False
    while wall.hour not in fields.hours:
        wall, begun = _later(wall if begun else _date(there, wall.year, wall.month, wall.day, wall.hour), _HOUR), True
        if wall.hour == 0:
            return wall.astimezone(UTC), False
    while wall.minute not in fields.minutes:
        wall = _later(wall, _MINUTE)
        if wall.minute == 0:
            return wall.astimezone(UTC), False
    return wall.astimezone(UTC), True


def _next_month(there: ZoneInfo, wall: datetime) -> datetime:
    return _date(there, wall.year + wall.month // 12, wall.month % 12 + 1, 1)


def _next_day(there: ZoneInfo, wall: datetime) -> datetime:
    """Its midnight; one that is skipped is sought an hour on, or back."""
    day = wall.date() + timedelta(days=1)
    following = _date(there, day.year, day.month, day.day, wall.hour, wall.minute)
    return _later(following, (24 - following.hour if following.hour > 12 else -following.hour) * _HOUR)


def _later(wall: datetime, time: timedelta) -> datetime:
    return (wall.astimezone(UTC) + time).astimezone(wall.tzinfo)


def _date(there: ZoneInfo, year: int, month: int, day: int, hour: int = 0, minute: int = 0) -> datetime:
    """The moment that Go's time.Date takes where clocks show a time twice, or never."""
    shown = datetime(year, month, day, hour, minute, tzinfo=UTC)
    about = shown - _offset(there, shown)
    return (shown - _offset(there, about)).astimezone(there)


def _offset(there: ZoneInfo, moment: datetime) -> timedelta:
    return moment.astimezone(there).utcoffset() or timedelta()
