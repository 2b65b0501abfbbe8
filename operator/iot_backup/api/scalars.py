"""The kinds of values that several fields share, each with the bounds its schema in crds/ has."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, AwareDatetime, BeforeValidator, Field, WithJsonSchema

from iot_backup.units import parse_duration, parse_quantity, parse_rate

_CHAIN = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?")
_SCHEDULE_NAME = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?")
_CRON = re.compile(r"@(hourly|daily|midnight|weekly|monthly|yearly|annually)|[0-9A-Za-z*,/?-]+( +[0-9A-Za-z*,/?-]+){4}")
_LONGEST = timedelta(hours=8760)


def _relative(path: str) -> str:
    if ".." in path.split("/"):
        raise ValueError("no part of the path may be '..': write the path from the claim's root, for example data/backups")
    return path


def _prefix(prefix: str) -> str:
    if {".", ".."} & set(prefix.split("/")):
        raise ValueError("no part of the prefix may be '.' or '..': write the folder itself, for example plant-1/backups")
    return prefix


def _chain(name: str) -> str:
    if ".." in name or not _CHAIN.fullmatch(name):
        raise ValueError(
            "a chain's name consists of a-z, 0-9, '.' and '-', begins and ends with a letter or digit and has no '..', for example database"
        )
    return name


def _schedule_name(name: str) -> str:
    if not _SCHEDULE_NAME.fullmatch(name):
        raise ValueError("a schedule's name consists of a-z, 0-9 and '-' and begins and ends with a letter or digit, for example nightly")
    return name


def _cron(text: str) -> str:
    if "TZ=" in text:
        raise ValueError("no TZ= in a schedule: name the zone in timeZone, for example timeZone: Europe/Berlin")
    if not _CRON.fullmatch(text):
        raise ValueError(
            "a schedule has five fields: minute hour day-of-month month day-of-week, for example '30 2 * * *', or is a word such as @daily"
        )
    return text


def _time_zone(name: str) -> str:
    if name.lower() == "local":
        raise ValueError("'Local' is no time zone: give its IANA name, for example Europe/Berlin")
    return name


def _duration(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    duration = parse_duration(value)
    if not timedelta() < duration <= _LONGEST:
        raise ValueError(f"{value!r} is out of bounds: give hours, minutes and seconds between 1s and 8760h, for example 10m")
    return duration


def _size(text: str) -> str:
    try:
        positive = parse_quantity(text) > 0
    except ValueError:
        positive = False
    if not positive:
        raise ValueError("give a size such as 10Gi")
    return text


def _rate(text: str) -> str:
    parse_rate(text)
    return text


ObjectName = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
"""Name of a Kubernetes object that is not ours: a claim, a Secret, a class."""
OwnName = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$")]
"""Name of one of our objects: short enough for an object key and a Job."""
SecretKey = Annotated[str, Field(min_length=1, max_length=253, pattern=r"^[A-Za-z0-9._-]+$")]
"""Key in a Secret."""
ChainName = Annotated[str, Field(min_length=1, max_length=63), AfterValidator(_chain)]
ScheduleName = Annotated[str, Field(min_length=1, max_length=63), AfterValidator(_schedule_name)]
CronText = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\n]*$"), AfterValidator(_cron)]
"""Five cron fields, or one of the words Kubernetes knows, such as @daily."""
TimeZone = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"), AfterValidator(_time_zone)]
"""IANA name; whether this system knows it is core/schedule's question."""
ClaimPath = Annotated[str, Field(max_length=1024, pattern=r"^([^/\x00-\x1f][^\x00-\x1f]*)?$"), AfterValidator(_relative)]
"""Relative path inside a claim; "" is its root."""
Prefix = Annotated[str, Field(max_length=512, pattern=r"^([A-Za-z0-9_.=-]+(/[A-Za-z0-9_.=-]+)*)?$"), AfterValidator(_prefix)]
"""Folder inside a bucket, without a slash at either end; "" is its root."""
Duration = Annotated[timedelta, BeforeValidator(_duration), WithJsonSchema({"type": "string", "minLength": 2, "maxLength": 16})]
"""Text such as "1h30m" in the object, a timedelta of 1 s to 8760 h here."""
ClaimSize = Annotated[str, Field(max_length=32), AfterValidator(_size)]
"""A quantity, kept as written."""
Rate = Annotated[str, Field(max_length=32), AfterValidator(_rate)]
"""Bytes per second, as a quantity, kept as written."""
ResourceQuantity = (
    Annotated[int, Field(ge=0)]
    | Annotated[str, Field(max_length=32, pattern=r"^[0-9]+(\.[0-9]+)?([eE][+-]?[0-9]+|[numkMGTPE]|[KMGTPE]i)?$")]
)
"""A quantity, kept as written."""
ArchiveId = Annotated[str, Field(max_length=16, pattern=r"^[0-9a-f]{16}$")]
Sha256 = Annotated[str, Field(max_length=64, pattern=r"^[0-9a-f]{64}$")]
Checksum = Annotated[str, Field(max_length=71, pattern=r"^sha256:[0-9a-f]{64}$")]
Reason = Annotated[str, Field(min_length=1, max_length=63, pattern=r"^[A-Za-z][A-Za-z0-9]*$")]
Message = Annotated[str, Field(max_length=4096)]
Count = Annotated[int, Field(ge=0)]
"""Of things or of bytes."""
NumericId = Annotated[int, Field(ge=0, le=2147483647)]
"""Of a user or a group."""
Time = AwareDatetime
"""UTC."""
Phase = Literal["Pending", "Running", "Completed", "Failed", "Cancelled"]
BackupType = Literal["Full", "Incremental", "Differential", "Configuration"]
Globs = Annotated[
    tuple[Annotated[str, Field(min_length=1, max_length=1024, pattern=r"^[^\x00\n\r]+$")], ...], Field(min_length=1, max_length=64)
]
"""Lines of gitignore syntax, seen from the backed-up folder."""
Seq = Annotated[int, Field(ge=1)]
"""Place in a chain's history."""
