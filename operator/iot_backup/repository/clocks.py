"""The worker's clock beside the store's: a pure decision."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from iot_backup.core.report import Warn

TOLERATED = timedelta(minutes=5)
"""What two honest clocks may differ by; beyond it the store's time goes into names and deadlines."""
BROKEN = timedelta(hours=1)
"""Beyond it nothing that depends on time may act, retention above all."""


@dataclass(frozen=True)
class Clock:
    """Which time a run goes by."""

    skew: timedelta
    """Worker minus store."""
    warning: Warn | None

    def time(self, local: datetime) -> datetime:
        """The time to write down for a moment on the worker's clock, UTC: the store's where the two differ too much."""
        used = local - self.skew if self.warning else local
        return used.astimezone(UTC)


def compared(local: datetime, store: datetime) -> Clock:
    """Judge two readings taken together: reason ClockSkew beyond an hour, ClockDiffers beyond five minutes."""
    skew = local - store
    if abs(skew) <= TOLERATED:
        return Clock(skew, None)
    reason = "ClockSkew" if abs(skew) > BROKEN else "ClockDiffers"
    fate = " Nothing will be deleted by age until they agree." if reason == "ClockSkew" else ""
    direction = "ahead of" if skew > timedelta(0) else "behind"
    message = (
        f"the worker's clock is {_spoken(abs(skew))} {direction} the store's; the store's time is used. Set the node's clock by NTP.{fate}"
    )
    return Clock(skew, Warn(reason=reason, message=message))


def _spoken(span: timedelta) -> str:
    minutes = round(span.total_seconds() / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h"
