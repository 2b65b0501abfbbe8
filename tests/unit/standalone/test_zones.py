"""Which time zone schedules are read in."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from iot_backup.errors import InvalidSpec
from iot_backup.standalone.scheduling.zones import chosen

SUMMER = datetime(2026, 7, 1, 12)  # noqa: DTZ001 - each zone says what it means by it


@pytest.mark.parametrize(
    ("name", "environ", "hours"),
    [
        ("Asia/Shanghai", {"TZ": "Europe/Berlin"}, 8),
        (None, {"TZ": "Europe/Berlin"}, 2),
        (None, {"TZ": ":Europe/Berlin"}, 2),
        (None, {"TZ": ""}, 0),
        (None, {}, 0),
    ],
)
def test_the_config_counts_before_tz(tmp_path: Path, name: str | None, environ: dict[str, str], hours: int) -> None:
    zone = chosen(name, environ, tmp_path / "no-localtime")
    assert zone.utcoffset(SUMMER) == timedelta(hours=hours)


def test_else_this_machines(tmp_path: Path) -> None:
    from importlib.resources import files

    local = tmp_path / "localtime"
    local.write_bytes(files("tzdata").joinpath("zoneinfo/America/New_York").read_bytes())
    assert chosen(None, {}, local).utcoffset(SUMMER) == ZoneInfo("America/New_York").utcoffset(SUMMER)
    local.write_text("nonsense")
    with pytest.raises(InvalidSpec, match=r"set backup\.time_zone"):
        chosen(None, {}, local)


def test_a_tz_that_is_no_name_is_refused() -> None:
    with pytest.raises(InvalidSpec, match=r"TZ is 'CET-1CEST'.*backup\.time_zone"):
        chosen(None, {"TZ": "CET-1CEST"})
