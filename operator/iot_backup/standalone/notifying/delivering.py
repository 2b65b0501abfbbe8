"""Brings spooled messages to their channels. What a channel does not take waits: a minute in this process, and then for the next run's."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
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
    """Deliver until nothing waits any more, or nothing more is tried; how many messages are left. Where another process delivers, it is left to that one.
    OSError where the state folder cannot be used."""
    spool, left = Spool(state), list(waits)
    got: set[tuple[str, str]] = set()
    while True:
        with spool.alone_or_not("deliver") as ours:
            if not ours:  # that one reads the spool again, see below
                return len(spool.waiting())
            seen = _once(_Round(config, spool, datetime.now(UTC)), spool, got)
        # Only now that the lock is free: whoever spooled a message while we held it has found it taken, and left the message to us.
        waiting = spool.waiting()
        if not seen.issuperset(each.file.name for each in waiting):
            continue
        if not waiting or not left:
            return len(waiting)
        pause(left.pop(0))


def passed_on(
    config: Backup, state: Path, messages: Sequence[Message], waits: tuple[float, ...] = WAITS, pause: Callable[[float], None] = time.sleep
) -> int:
    """Deliver these, which the spool had no room for; how many are lost, since some channel did not take them."""
    pending = [(name, message) for message in messages for name in channels.names(config.notifications)]
    for wait in (*waits, None):
        round_ = _Round(config, Spool(state), datetime.now(UTC))
        pending = [(name, message) for name, message in pending if not round_.take(name, message)]
        if wait is None or not pending:
            break
        pause(wait)
    return len({message for _, message in pending})


def tested(config: Backup, now: datetime) -> dict[str, str]:
    """A message to each channel; by name what became of it: `sent`, that and who did not get it, or why not."""
    if config.notifications is None:
        return {}
    message = Message("test", "a test", "This is a test message of backup-manager: whoever reads it will be told of failures, too.", now)
    return {name: str(_sent(send, message)) for name, send in channels.of(config.notifications, config.site).items()}


class _Round:
    """Tries of one process, one after the other; a channel that failed is left alone until the next round."""

    def __init__(self, config: Backup, spool: Spool, now: datetime) -> None:
        self.sends = channels.of(config.notifications, config.site) if config.notifications else {}
        self.now = now
        self._spool = spool
        self._dead: set[str] = set()

    def take(self, name: str, message: Message) -> bool:
        """Whether the channel took it."""
        if name in self._dead:
            return False
        outcome = _sent(self.sends[name], message)
        if outcome.remark:
            self._spool.log(f"{name}: {outcome}", self.now)
        if not outcome.taken:
            self._dead.add(name)
        return outcome.taken


def _once(round_: _Round, spool: Spool, got: set[tuple[str, str]]) -> set[str]:
    """Each message, oldest first, to each of its channels; the files that were seen. `got`: file and channel, what this process sent; where the spool
    cannot be written, only it knows."""
    seen = set()
    for waiting in spool.waiting():
        file = waiting.file.name
        seen.add(file)
        left = []
        for name in waiting.channels:
            if (file, name) in got:
                continue
            if name not in round_.sends or round_.now - waiting.since(round_.now) > GIVEN_UP:
                spool.log(f"given up: {name}: {waiting.message.subject}", round_.now)
            elif round_.take(name, waiting.message):
                got.add((file, name))
            else:
                left.append(name)
        try:
            spool.left(waiting, left, round_.now)
        except OSError as error:  # the messages behind it are to go, too
            spool.log(f"{file} stays as it is, and may be sent again: {error.strerror}", round_.now)
    return seen


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
