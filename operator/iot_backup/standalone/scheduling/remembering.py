"""What a scheduler remembers on disk, and the lock by which it is the only one. A process that died holds nothing."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from iot_backup.core.due import Mark
from iot_backup.errors import AccessDenied, Busy
from iot_backup.standalone import durable

_VERSION = 1
_log = logging.getLogger(__name__)


class Memory:
    """`<state folder>/<name>.json` and `<name>.lock`."""

    def __init__(self, state: Path, name: str) -> None:
        self._folder, self._name = state, name

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Be the only one with this state folder. Busy, AccessDenied."""
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            descriptor = os.open(self._folder / f"{self._name}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise self._refused(error) from error
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise Busy(
                    f"another {self._name} of this machine runs with the state folder {self._folder}. Stop it first, or give this one another --state-dir."
                ) from error
            yield
        finally:
            os.close(descriptor)

    def read(self) -> tuple[dict[str, Mark], dict[str, Any]]:
        """Marks of the jobs, and what else was kept. Nothing of a file that cannot be read: every job is new then. AccessDenied."""
        try:
            kept = json.loads((self._folder / f"{self._name}.json").read_bytes())
            return {job: _mark(fields) for job, fields in kept["jobs"].items()}, kept.get("kept", {})
        except FileNotFoundError:
            return {}, {}
        except OSError as error:
            raise self._refused(error) from error
        except (ValueError, TypeError, KeyError, AttributeError):
            _log.warning("%s cannot be read and is begun anew: each job waits for its next slot", self._folder / f"{self._name}.json")
            return {}, {}

    def write(self, marks: Mapping[str, Mark], kept: Mapping[str, Any]) -> None:
        """Durably: the old ones or the new ones, whenever the machine stops. AccessDenied."""
        plain = {"version": _VERSION, "jobs": {job: _plain(mark) for job, mark in marks.items()}, "kept": dict(kept)}
        self.put(f"{self._name}.json", json.dumps(plain, indent=1, ensure_ascii=False).encode() + b"\n")

    def put(self, name: str, content: bytes) -> Path:
        """Replace a file of the state folder, durably. AccessDenied."""
        file = self._folder / name
        try:
            durable.replace(file, content)
        except OSError as error:
            raise self._refused(error) from error
        return file

    def _refused(self, error: OSError) -> AccessDenied:
        return AccessDenied(
            f"the state folder {self._folder} cannot be used: {error.strerror}. It holds what has run: give user {os.geteuid()} a folder that "
            "outlives the process, by --state-dir or STATE_DIR."
        )


def _mark(fields: Mapping[str, Any]) -> Mark:
    counted = datetime.fromisoformat(fields["counted"])
    started, ahead = (_moment(fields.get(name)) for name in ("started", "ahead"))
    return Mark(fields["schedule"], counted, started, bool(fields["again"]), fields.get("zone", ""), ahead)


def _plain(mark: Mark) -> dict[str, Any]:
    return {name: value.isoformat() if isinstance(value, datetime) else value for name, value in asdict(mark).items()}


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
