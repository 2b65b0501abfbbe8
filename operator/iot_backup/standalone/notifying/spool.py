"""Messages that wait to be delivered, and what was told: files in the state folder.

<state folder>/notices/told.json            what was told of
<state folder>/notices/<time>-<hex>.json    a message, and the channels that have not got it yet
<state folder>/notices/problems.log         why deliveries failed, the last of them
<state folder>/notices/*.lock               held while somebody notices, or delivers
"""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from iot_backup.core.alerts import Message, Told, Trouble

_LOG_LINES = 200


@dataclass(frozen=True)
class Waiting:
    """One message in the spool."""

    file: Path
    message: Message
    channels: tuple[str, ...]
    """Those that are still to get it."""


class Spool:
    """Below one state folder. OSError where that cannot be used."""

    def __init__(self, state: Path) -> None:
        self.folder = state / "notices"

    @contextmanager
    def alone(self, name: str) -> Iterator[None]:
        """Hold `notice` or `deliver`; others wait."""
        with self._lock(name) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
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
            return Told(trouble, dict(value["suspicious"]), {job: _moment(slot) for job, slot in value["missed"].items()})
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return Told()

    def keep(self, messages: Sequence[Message], channels: Sequence[str], told: Told) -> None:
        """Messages first: after a crash in between they are told again."""
        if channels:
            for message in messages:
                name = f"{message.time:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}.json"
                self._put(name, _plain(message, channels))
        trouble = {job: {"reason": t.reason, "since": t.since.isoformat(), "told": t.told.isoformat()} for job, t in told.trouble.items()}
        missed = {job: slot.isoformat() for job, slot in told.missed.items()}
        self._put("told.json", {"trouble": trouble, "suspicious": dict(told.suspicious), "missed": missed})

    def waiting(self) -> list[Waiting]:
        """Oldest first. A file that is none of ours is left alone."""
        found = []
        for file in sorted(self.folder.glob("2*.json")):
            with suppress(OSError, ValueError, KeyError, TypeError):
                value = json.loads(file.read_bytes())
                fields = value["message"]
                message = Message(fields["kind"], fields["subject"], fields["body"], _moment(fields["time"]))
                found.append(Waiting(file, message, tuple(value["channels"])))
        return found

    def left(self, waiting: Waiting, channels: Sequence[str]) -> None:
        """These channels have not got it yet; none: it is done."""
        if channels:
            self._put(waiting.file.name, _plain(waiting.message, channels))
        else:
            waiting.file.unlink(missing_ok=True)

    def log(self, line: str, now: datetime) -> None:
        """For people who wonder why nobody was told."""
        file = self.folder / "problems.log"
        with suppress(OSError):
            before = file.read_text().splitlines()[-_LOG_LINES + 1 :] if file.exists() else []
            file.write_text("\n".join([*before, f"{now:%Y-%m-%dT%H:%M:%SZ} {line}"]) + "\n")

    def _put(self, name: str, value: Mapping[str, Any]) -> None:
        new = self.folder / f".{name}.new"
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(value, file, ensure_ascii=False, indent=1)
            file.flush()
            os.fsync(descriptor)
        new.rename(self.folder / name)


def _plain(message: Message, channels: Sequence[str]) -> dict[str, Any]:
    return {"message": asdict(message) | {"time": message.time.isoformat()}, "channels": list(channels)}


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)
