"""Quantities, durations and sizes."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest

from iot_backup.units import format_size, parse_duration, parse_quantity, parse_rate

KI, GI = 1024, 1024**3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0", 0),
        (7, 7),
        ("10Gi", 10 * GI),
        ("1.5Ki", 1536),
        ("1Ei", 1024**6),
        ("1k", 1000),
        ("2M", 2_000_000),
        ("500m", Decimal("0.5")),
        ("100n", Decimal("1e-7")),
        ("5u", Decimal("5e-6")),
        ("1e3", 1000),
        ("1E3", 1000),
        ("1E", 10**18),
        ("12e-1", Decimal("1.2")),
        ("0.1", Decimal("0.1")),
    ],
)
def test_a_quantity_is_read_in_its_base_unit(text: str | int, value: int | Decimal) -> None:
    assert parse_quantity(text) == value


@pytest.mark.parametrize("text", ["", "Gi", "-1", "1 Gi", "1gi", "1KI", "1.", ".5", "1e", "1e3Gi", "1Gi\n", "٣", "1" * 30])
def test_what_is_no_quantity_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="for example 10Gi"):
        parse_quantity(text)


@pytest.mark.parametrize(("text", "rate"), [("20M", 20_000_000), ("10Mi", 10 * KI**2), ("1k", 1000), ("1.5Ki", 1536), ("1000.9", 1000)])
def test_a_rate_is_whole_bytes_per_second(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize("text", ["20m", "999", "0", "-1M", "fast", "", "20M/s", "20MB"])
def test_what_is_no_rate_or_next_to_none_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="at least 1k, such as 20M or 10Mi"):
        parse_rate(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("10m", 600), ("24h", 86400), ("1h30m", 5400), ("90s", 90), ("1h0m1s", 3601), ("0s", 0), ("100h", 360000)],
)
def test_a_duration_is_read(text: str, seconds: int) -> None:
    assert parse_duration(text) == timedelta(seconds=seconds)


@pytest.mark.parametrize("text", ["", "10", "m", "1d", "1.5h", "-1h", "1m1h", "1h 1m", "1h\n", "1H", "1000000h", "٣h"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="for example 1h30m"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (KI, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (KI * KI - 1, "1.0 MiB"),
        (GI, "1.0 GiB"),
        (10 * GI + GI // 2, "10.5 GiB"),
        (1024**5, "1.0 PiB"),
        (1024**7, "1024.0 EiB"),
    ],
)
def test_a_size_is_readable(size: int, text: str) -> None:
    assert format_size(size) == text


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        format_size(-1)
