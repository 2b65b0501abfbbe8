"""Kubernetes quantities, Go durations and sizes for people. Pure."""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import Decimal
from typing import Final

_BINARY: Final = ("Ki", "Mi", "Gi", "Ti", "Pi", "Ei")
_SUFFIXES: Final = {
    "": Decimal(1),
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "k": Decimal("1e3"),
    "M": Decimal("1e6"),
    "G": Decimal("1e9"),
    "T": Decimal("1e12"),
    "P": Decimal("1e15"),
    "E": Decimal("1e18"),
    **{suffix: Decimal(1024) ** power for power, suffix in enumerate(_BINARY, 1)},
}
SLOWEST: Final = 1000
"""Bytes per second."""
_QUANTITY: Final = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,18})?)(?:[eE]([+-]?[0-9]{1,2})|([numkMGTPE]|[KMGTPE]i)?)", re.ASCII)
_DURATION: Final = re.compile(r"(?:(\d{1,6})h)?(?:(\d{1,6})m)?(?:(\d{1,6})s)?", re.ASCII)


def parse_quantity(text: str | int) -> Decimal:
    """A Kubernetes quantity in its base unit (bytes, cores): "10Gi", "500m", "1e3", 2. Raises ValueError if it is none."""
    match = _QUANTITY.fullmatch(str(text))
    if match is None:
        raise ValueError(f"{text!r} is not a Kubernetes quantity: write a number with an optional unit, for example 10Gi or 500m")
    number, exponent, suffix = match.groups()
    return Decimal(number).scaleb(int(exponent)) if exponent else Decimal(number) * _SUFFIXES[suffix or ""]


def parse_rate(text: str) -> int:
    """Bytes per second as a quantity: "20M", "10Mi". Raises ValueError if it is none, or less than SLOWEST: "20m" would be a byte a minute."""
    try:
        rate = int(parse_quantity(text))
    except ValueError:
        rate = 0
    if rate < SLOWEST:
        raise ValueError("give bytes per second, at least 1k, such as 20M or 10Mi")
    return rate


def parse_duration(text: str) -> timedelta:
    """Hours, minutes and seconds in Go's notation: "24h", "1h30m", "90s". Raises ValueError if it is none."""
    match = _DURATION.fullmatch(text)
    if match is None or not text:
        raise ValueError(f"{text!r} is not a duration: write hours, minutes and seconds, for example 1h30m")
    hours, minutes, seconds = (int(part or 0) for part in match.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds)


def format_size(size: int) -> str:
    """Bytes for people, in binary units: "512 B", "1.0 GiB"."""
    if size < 0:
        raise ValueError(f"a size cannot be negative: {size}")
    if size < 1024:
        return f"{size} B"
    value = float(size)
    for unit in _BINARY:
        value /= 1024
        # 1023.95 would be printed as 1024.0
        if value < 1023.95 or unit == _BINARY[-1]:
            break
    return f"{value:.1f} {unit}B"
