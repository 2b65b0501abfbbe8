"""Cron schedules as Kubernetes reads them: five fields or a macro, in a named time zone."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

from iot_backup.errors import InvalidSpec

MACROS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FIELD = re.compile(r"[0-9A-Za-z*?/,-]+")
_BEYOND_KUBERNETES = re.compile(r"[LlWw#]")
_EXAMPLE = "Use five fields (minute hour day month weekday), such as '30 2 * * *', or @hourly, @daily, @weekly, @monthly, @yearly."


def five_fields(schedule: str) -> str:
    """The schedule as five fields. Raises InvalidSpec where Kubernetes would refuse it or read it differently."""
    text = schedule.strip()
    if text.startswith("@"):
        if text not in MACROS:
            raise InvalidSpec(f"schedule {schedule!r} is not a known macro. {_EXAMPLE}")
        return MACROS[text]
    if "TZ=" in text:
        raise InvalidSpec(f"schedule {schedule!r} names a time zone; put it in timeZone, such as timeZone: Europe/Berlin")
    fields = text.split()
    if len(fields) != 5:
        raise InvalidSpec(f"schedule {schedule!r} has {len(fields)} fields. {_EXAMPLE}")
    _check_fields(schedule, fields)
    return " ".join(fields)


def _check_fields(schedule: str, fields: list[str]) -> None:
    weekday = re.sub(r"[A-Za-z]{3}", "", fields[4])
    month = re.sub(r"[A-Za-z]{3}", "", fields[3])
    plain = [*fields[:3], month, weekday]
    if (
        not all(_FIELD.fullmatch(f) for f in fields)
        or any(_BEYOND_KUBERNETES.search(f) for f in plain)
        or re.search(r"(?<![/\d])7", weekday)
    ):
        raise InvalidSpec(
            f"schedule {schedule!r} uses something Kubernetes does not know (L, W, #, weekday 7: write 0 for Sunday). {_EXAMPLE}"
        )
    try:
        CronSim(" ".join(fields).replace("?", "*"), datetime(2026, 1, 1, tzinfo=UTC))
    except CronSimError as error:
        raise InvalidSpec(f"schedule {schedule!r} cannot be read: {error}. {_EXAMPLE}") from error


def zone(name: str | None) -> ZoneInfo:
    """The IANA zone, UTC if none is named. Raises InvalidSpec for an unknown name."""
    if name is None:
        return ZoneInfo("UTC")
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InvalidSpec(f"timeZone {name!r} is not known; use an IANA name such as Europe/Berlin or Etc/UTC") from error
