"""Moments, as people write them."""

from __future__ import annotations

from datetime import UTC, datetime

from iot_backup.errors import InvalidSpec


def parsed(text: str) -> datetime:
    """UTC, from ISO 8601; without a zone it is this machine's local time. A day alone is its beginning. InvalidSpec."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidSpec(f"{text!r} is no time: write 2026-01-31T12:00, 2026-01-31T12:00Z or 2026-01-31T12:00+02:00") from error
