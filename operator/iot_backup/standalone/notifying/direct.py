"""Messages that the spool has no room for go to people without it. What was told cannot be kept then, so each look finds the same again: an empty file
says when somebody was told, since a full disk takes that mostly. Where it takes none, this process remembers: then a service repeats itself once a day,
and `execute` at each run. Once there is room again it is told once more, by the spool: only that one tries until it is taken.

<state folder>/notices/.<hash of what it is about>.direct    its time is when that was told
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from iot_backup.core.alerts import AGAIN, Message

_here: dict[Path, float] = {}
"""What this process marked, as the files' times."""


def about(message: Message) -> str:
    """The same for messages about one job and one reason, whatever else they say."""
    reason = message.body.partition(":")[0]
    return f"{message.subject}: {reason}" if reason.isalnum() else message.subject


def untold(folder: Path, messages: Sequence[Message], now: datetime) -> list[Message]:
    """Those that nobody was told of like this for a day."""
    day = AGAIN.total_seconds()
    return [each for each in messages if not any(0 <= now.timestamp() - moment < day for moment in _marks(_file(folder, each)))]


def mark(folder: Path, messages: Sequence[Message], now: datetime) -> None:
    """Now they are told."""
    for message in messages:
        file, moment = _file(folder, message), now.timestamp()
        _here[file] = moment
        with suppress(OSError):
            file.touch(mode=0o600)
            os.utime(file, (moment, moment))


def _marks(file: Path) -> list[float]:
    """On the disk and in this process: what is on a disk that takes nothing any more may be old."""
    marks = [_here[file]] if file in _here else []
    with suppress(OSError):
        marks.append(file.stat().st_mtime)
    return marks


def _file(folder: Path, message: Message) -> Path:
    return folder / f".{hashlib.sha256(about(message).encode()).hexdigest()[:16]}.direct"
