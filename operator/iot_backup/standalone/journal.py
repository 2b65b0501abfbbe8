"""What became of this machine's runs, for whoever asks later: the scheduler, metrics, notifications.

    <state folder>/records/<job>.jsonl     one record a line, as `execute --output json` prints it; the newest last
    <state folder>/records/lock            held while a line is added

A file that was cut begins with a line of totals: what the lines that went had added up to. The newest backup and the newest
complete one stay, however many tries have failed since: alerts go by how old they are.

The store knows which backups there are; only this tells which tries failed, and when.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from iot_backup.core import totals
from iot_backup.core.totals import Totals
from iot_backup.errors import AccessDenied
from iot_backup.standalone import durable, records
from iot_backup.standalone.records import COMPLETED, PARTIAL, Record

KEPT = 1000
"""Records of a job, at least; a year of a job that runs every eight hours."""
_TOTALS = b'{"totals"'


class Journal:
    """The records below one state folder. Nothing is made before something is to be kept."""

    def __init__(self, state: Path) -> None:
        self._folder = state / "records"

    def add(self, record: Record) -> None:
        """Durably, whatever other processes add. AccessDenied where the folder cannot be written."""
        line = json.dumps(record.plain(), ensure_ascii=False).encode() + b"\n"
        file = self._folder / f"{record.job}.jsonl"
        try:
            with self._alone():
                lines = _lines(file)
                if len(lines) >= 2 * KEPT:
                    going, staying = _cut(lines)
                    durable.replace(file, b"".join(each.rstrip(b"\n") + b"\n" for each in (_totals_line(_totals(going)), *staying, line)))
                else:
                    _append(file, line)
        except OSError as error:
            raise AccessDenied(
                f"the record of job {record.job} cannot be kept in {self._folder}: {error.strerror}. Give user {os.geteuid()} a state folder that "
                "it can write, by --state-dir or STATE_DIR."
            ) from error

    def of(self, job: str) -> list[Record]:
        """The job's records, oldest first; none of a job that never ran. A line that is none, as a crash may cut one, is left out."""
        return [record for line in _lines(self._folder / f"{job}.jsonl") if (record := _record(line))]

    def totals(self, job: str) -> Totals:
        """Of all its runs, also of those whose records went."""
        return _totals(_lines(self._folder / f"{job}.jsonl"))

    def jobs(self) -> list[str]:
        """Ids of the jobs that ran here, also of those that the config does not have any more."""
        return sorted(file.name.removesuffix(".jsonl") for file in self._folder.glob("*.jsonl"))

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


def _record(line: bytes) -> Record | None:
    try:
        return records.of_plain(json.loads(line))
    except (ValueError, TypeError, KeyError, RecursionError):
        return None  # whatever spoilt it, the other lines stand


def _cut(lines: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
    """Those that go and those that stay, each in their order: the newest, and the newest backups wherever they are."""
    ended = [(number, record.status) for number, line in enumerate(lines) if (record := _record(line)) and record.end_time]
    wanted = ((COMPLETED,), (COMPLETED, PARTIAL))
    stays = {max((number for number, status in ended if status in statuses), default=-1) for statuses in wanted}
    stays.update(range(len(lines) - KEPT + 1, len(lines)))  # the one that is added makes KEPT
    return [line for number, line in enumerate(lines) if number not in stays], [lines[number] for number in sorted(stays) if number >= 0]


def _totals(lines: Sequence[bytes]) -> Totals:
    """What the lines add up to; a first one may be an earlier sum."""
    before = Totals()
    if lines and lines[0].startswith(_TOTALS):
        with suppress(ValueError):
            before = totals.of_plain(json.loads(lines[0])["totals"])
    return before.plus((record.status, _took(record)) for line in lines if (record := _record(line)))


def _totals_line(sums: Totals) -> bytes:
    return json.dumps({"totals": sums.plain()}, separators=(",", ":")).encode() + b"\n"


def _took(record: Record) -> float | None:
    if record.id is None or record.start_time is None or record.end_time is None:
        return None
    return max(0.0, (record.end_time - record.start_time).total_seconds())


def _lines(file: Path) -> list[bytes]:
    try:
        return file.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []


def _append(file: Path, line: bytes) -> None:
    descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(descriptor).st_size
        cut = size > 0 and os.pread(descriptor, 1, size - 1) != b"\n"
        _write_all(descriptor, b"\n" + line if cut else line)
    finally:
        os.close(descriptor)


def _write_all(descriptor: int, content: bytes) -> None:
    while content:
        content = content[os.write(descriptor, content) :]
    os.fsync(descriptor)
