"""Brings spooled messages to their channels. What a channel does not take waits: a minute in this process, and then for the next run's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from iot_backup.core.alerts import Message
from iot_backup.standalone.config import Backup
from iot_backup.standalone.notifying import channels
from iot_backup.standalone.notifying.channels import Send, Undelivered
from iot_backup.standalone.notifying.spool import Spool

GIVEN_UP = timedelta(days=3)
"""A message so old helps nobody any more."""
WAITS = (5.0, 20.0, 40.0)
"""Seconds between this process's tries."""
LIMIT = 60.0
"""Seconds for one message and one channel: a server's patience counts anew with each byte that it drips."""


@dataclass(frozen=True)
class Outcome:
    """Of one message and one channel."""

    taken: bool
    """It is not sent again."""
    remark: str
    """Why not; or what is to be said although it was, mostly nothing."""

    def __str__(self) -> str:
        return ", ".join(part for part in ("sent" if self.taken else "", self.remark) if part)


def delivered(config: Backup, state: Path, waits: tuple[float, ...] = WAITS, pause: Callable[[float], None] = time.sleep) -> int:
    """Deliver until nothing waits any more, or nothing more is tried; how many messages are left."""
    spool = Spool(state)
    for wait in (*waits, None):
        with spool.alone("deliver"):
            _once(config, spool, datetime.now(UTC))
        if wait is None or not spool.waiting():
            break
        pause(wait)
    return len(spool.waiting())


def tested(config: Backup, now: datetime) -> dict[str, str]:
    """A message to each channel; by name what became of it: `sent`, that and who did not get it, or why not."""
    if config.notifications is None:
        return {}
    message = Message("test", "a test", "This is a test message of backup-manager: whoever reads it will be told of failures, too.", now)
    return {name: str(_sent(send, message)) for name, send in channels.of(config.notifications, config.site).items()}


def _once(config: Backup, spool: Spool, now: datetime) -> None:
    """Each message, oldest first, to each of its channels; a channel that failed is left alone for the rest of this round."""
    sends = channels.of(config.notifications, config.site) if config.notifications else {}
    dead: set[str] = set()
    for waiting in spool.waiting():
        left = []
        for name in waiting.channels:
            if name not in sends or now - waiting.message.time > GIVEN_UP:
                spool.log(f"given up: {name}: {waiting.message.subject}", now)
                continue
            if name not in dead:
                outcome = _sent(sends[name], waiting.message)
                if not outcome.taken:
                    dead.add(name)
                if outcome.remark:
                    spool.log(f"{name}: {outcome}", now)
            if name in dead:
                left.append(name)
        spool.left(waiting, left)


def _sent(send: Send, message: Message) -> Outcome:
    """In a thread, which is left behind where it takes too long: it does not keep this process from its end."""
    found: list[Outcome] = []
    thread = threading.Thread(target=lambda: found.append(_tried(send, message)), name="sending", daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        return Outcome(taken=False, remark=str(error))
    thread.join(LIMIT)
    return found[0] if found else Outcome(taken=False, remark=f"it did not answer within {LIMIT:g} seconds")


def _tried(send: Send, message: Message) -> Outcome:
    try:
        return Outcome(taken=True, remark=send(message))
    except Undelivered as error:
        return Outcome(taken=False, remark=str(error))
    except Exception as error:  # noqa: BLE001 - a plugin's defect must not keep the other channels from hearing
        return Outcome(taken=False, remark=type(error).__name__)
