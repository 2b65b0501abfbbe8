"""Messages that wait to be delivered, and what was told: files in the state folder.

<state folder>/notices/told.json            what was told of
<state folder>/notices/<time>-<hex>.json    a message, and the channels that have not got it yet
<state folder>/notices/problems.log         why deliveries failed, the last of them
<state folder>/notices/*.lock               held while somebody notices, or delivers
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from iot_backup.core.alerts import AGAIN, Message, Told, Trouble
from iot_backup.standalone import durable

_LOG_LINES = 200
_ABANDONED = 3600.0
"""Seconds after which nobody works on a `.new` file any more: a crash left it."""
_BELIEVED = timedelta(days=30)
"""An age beyond it is a clock's that was wrong: a message is given up long before."""


@dataclass(frozen=True)
class Waiting:
    """One message in the spool."""

    file: Path
    message: Message
    channels: tuple[str, ...]
    """Those that are still to get it."""
    made: datetime
    """When it came here, which may be long after what it tells of."""

    def since(self, now: datetime) -> datetime:
        """From when on its age counts: from now, where it was made while the clock was wrong, as on a machine that boots in 1970."""
        return self.made if timedelta() <= now - self.made <= _BELIEVED else now


class Spool:
    """Below one state folder. OSError where that cannot be used."""

    def __init__(self, state: Path) -> None:
        self.folder = state / "notices"

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Hold `notice` or `deliver`; others wait."""
        with self._lock(name) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            self._sweep()
            yield

    @contextmanager
    def alone_or_not(self, name: str) -> Iterator[bool]:
        """The same, without waiting: whether it is held."""
        with self._lock(name) as descriptor:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            self._sweep()
            yield True

    @contextmanager
    def _lock(self, name: str) -> Iterator[int]:
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self.folder / f"{name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    def told(self) -> Told:
        """Nothing where there is no file, or none that can be read: better told twice than never."""
        try:
            value = json.loads((self.folder / "told.json").read_bytes())
            trouble = {job: Trouble(t["reason"], _moment(t["since"]), _moment(t["told"])) for job, t in value["trouble"].items()}
            missed, known = ({job: _moment(time) for job, time in value.get(name, {}).items()} for name in ("missed", "known"))
            return Told(trouble, dict(value["suspicious"]), missed, known)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Told()

    def keep(self, messages: Sequence[Message], channels: Sequence[str], told: Told) -> None:
        """All or nothing. OSError: nothing, as on a full disk. Messages come first: after a crash in between they are told again."""
        made = datetime.now(UTC)
        files: dict[str, dict[str, Any]] = {}
        for message in messages if channels else ():
            files[f"{message.time:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}.json"] = _plain(message, channels, made)
        trouble = {job: {"reason": t.reason, "since": t.since.isoformat(), "told": t.told.isoformat()} for job, t in told.trouble.items()}
        missed, known = ({job: time.isoformat() for job, time in times.items()} for times in (told.missed, told.known))
        kept = {"trouble": trouble, "suspicious": dict(told.suspicious), "missed": missed, "known": known}
        self._put(files | {"told.json": kept})

    def waiting(self) -> list[Waiting]:
        """Oldest first. A file that is none of ours is left alone."""
        found = []
        for file in sorted(self.folder.glob("[0-9]*.json")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                value = json.loads(file.read_bytes())
                message = of_plain(value["message"])
                made = _moment(value["made"]) if "made" in value else message.time  # earlier versions kept no other
                found.append(Waiting(file, message, tuple(value["channels"]), made))
        return found

    def left(self, waiting: Waiting, channels: Sequence[str], now: datetime) -> None:
        """These channels have not got it yet; none: it is done. OSError: the file still says what it said."""
        if not channels:
            waiting.file.unlink(missing_ok=True)
            return
        since = waiting.since(now)
        if (tuple(channels), since) == (waiting.channels, waiting.made):
            return
        value = _plain(waiting.message, channels, since)
        try:
            self._put({waiting.file.name: value})
        except OSError:
            # A full disk. Who has it must not get it again at each look: what is left is shorter, and fits where the file is.
            _overwrite(waiting.file, _text(value))

    def log(self, line: str, now: datetime) -> None:
        """For people who wonder why nobody was told."""
        file = self.folder / "problems.log"
        with suppress(OSError):
            before = file.read_text().splitlines()[-_LOG_LINES + 1 :] if file.exists() else []
            durable.replace(file, "\n".join([*before, f"{now:%Y-%m-%dT%H:%M:%SZ} {line}"]).encode() + b"\n")

    def _put(self, values: Mapping[str, Mapping[str, Any]]) -> None:
        """By name what a file holds. There is room for all of them before the first of them is seen."""
        made: list[tuple[Path, Path]] = []
        try:
            for name, value in values.items():
                file = self.folder / name
                made.append((durable.prepared(file, _text(value)), file))
            for new, file in made:
                new.rename(file)
        except BaseException:
            for new, _ in made:
                new.unlink(missing_ok=True)
            raise

    def _sweep(self) -> None:
        """Without what crashes left, and marks of `direct` that say nothing any more."""
        for pattern, seconds in ((".*.new", _ABANDONED), (".*.direct", AGAIN.total_seconds())):
            for file in self.folder.glob(pattern):
                with suppress(OSError):
                    if time.time() - file.stat().st_mtime > seconds:
                        file.unlink()


def plain(message: Message) -> dict[str, Any]:
    """As JSON has it."""
    return asdict(message) | {"time": message.time.isoformat()}


def of_plain(fields: Mapping[str, Any]) -> Message:
    """KeyError, TypeError, ValueError for what is none."""
    return Message(fields["kind"], fields["subject"], fields["body"], _moment(fields["time"]))


def _plain(message: Message, channels: Sequence[str], made: datetime) -> dict[str, Any]:
    return {"message": plain(message), "channels": list(channels), "made": made.isoformat()}


def _text(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode()


def _overwrite(file: Path, content: bytes) -> None:
    """In one write, within the blocks that it has: its old length, filled up by spaces. OSError, also where it is too short."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        if len(content) > size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(file))
        os.pwrite(descriptor, content.ljust(size), 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
