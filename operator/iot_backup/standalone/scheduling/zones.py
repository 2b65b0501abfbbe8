"""The time zone that schedules are read in."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from pathlib import Path
from zoneinfo import ZoneInfo

from iot_backup.core import schedule
from iot_backup.errors import InvalidSpec

_LOCAL = Path("/etc/localtime")


def chosen(name: str | None, environ: Mapping[str, str], local: Path = _LOCAL) -> tzinfo:
    """The config's, else TZ's, else this machine's, else UTC. InvalidSpec for one that is not known."""
    if name is not None:
        return schedule.zone(name)
    if of_environ := environ.get("TZ", "").removeprefix(":"):
        try:
            return schedule.zone(of_environ)
        except InvalidSpec as error:
            raise InvalidSpec(
                f"TZ is {of_environ!r}, which is no name of a time zone: set backup.time_zone, such as Europe/Berlin"
            ) from error
    try:
        with local.open("rb") as file:
            return ZoneInfo.from_file(file, key=str(local.resolve()).partition("zoneinfo/")[2] or "local")
    except FileNotFoundError:
        return schedule.zone(None)
    except (OSError, ValueError) as error:
        raise InvalidSpec(f"this machine's time zone cannot be read from {local}: set backup.time_zone, such as Europe/Berlin") from error
