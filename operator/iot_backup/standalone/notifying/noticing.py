"""Looks at what ran, and spools what is to be told. Never raises, never waits for a server: a backup's end is no place for either."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

from iot_backup.core import alerts, due
from iot_backup.core.alerts import Message, Run, Told
from iot_backup.standalone.config import Backup, Notifications
from iot_backup.standalone.journal import Journal
from iot_backup.standalone.notifying import channels, direct
from iot_backup.standalone.notifying.spool import Spool, plain
from iot_backup.standalone.records import Record
from iot_backup.standalone.scheduling.remembering import Memory

GRACE = timedelta(hours=2)
"""After a slot, until a run of it should have ended."""
PATIENCE = timedelta(days=1)
"""The same while runs are under way: they may take long, and others wait for their end. One that takes longer hangs."""
LOOK = 300.0
"""Seconds between two looks of a service."""
_log = logging.getLogger(__name__)


def noticed(config: Backup, config_file: Path, state: Path, zone: tzinfo | None = None) -> None:
    """After a run, whoever started it. `zone`: of the schedules, where a scheduler goes by them: then missed slots are noticed, too."""
    if config.notifications is not None:
        now = datetime.now(UTC)
        _spooled(config.notifications, config_file, state, lambda told: _of_journal(config, state, told, zone, now))


def again_and_again(look: Callable[[], None], seconds: float = LOOK) -> None:
    """Look for what nobody's end tells of: slots that passed without a run, messages that were not taken. In a thread that ends with the process."""

    def work() -> None:
        while True:
            time.sleep(seconds)
            look()

    threading.Thread(target=work, name="noticing", daemon=True).start()


def verified(config: Backup, config_file: Path, state: Path, outcome: Mapping[str, Any]) -> None:
    """After a scheduled verification; `outcome` is what `scheduling.verifications` keeps of it."""
    if config.notifications is not None:
        now, end = datetime.now(UTC), datetime.fromisoformat(outcome["end_time"])
        ok, problems = bool(outcome["ok"]), list(outcome["problems"])
        _spooled(config.notifications, config_file, state, lambda told: alerts.of_verification(ok, problems, end, told, now))


def retained(config: Backup, config_file: Path, state: Path, job: str, problems: Sequence[str]) -> None:
    """After the retention of a job's backups."""
    if config.notifications is not None:
        now = datetime.now(UTC)
        _spooled(config.notifications, config_file, state, lambda told: alerts.of_retention(job, problems, now, told, now))


def _of_journal(config: Backup, state: Path, told: Told, zone: tzinfo | None, now: datetime) -> tuple[list[Message], Told]:
    journal = Journal(state)
    runs = {job: [run for record in journal.of(job) if (run := _run(record))] for job in journal.jobs()}
    messages, told = alerts.of_runs(runs, told, now)
    if zone is None:
        return messages, told
    grace = _grace(state, now)
    missed, told = alerts.of_slots(_slots(config, zone, now - grace), runs, told, now, grace)
    return messages + missed, told


def _grace(state: Path, now: datetime) -> timedelta:
    marks, _ = Memory(state, "scheduler").read()
    return PATIENCE if any(mark.started and abs(now - mark.started) < PATIENCE for mark in marks.values()) else GRACE


def _slots(config: Backup, zone: tzinfo, until: datetime) -> dict[str, datetime]:
    scheduled = {job.id: job.schedule for job in config.jobs if job.enabled and job.schedule}
    return {job: slot for job, schedule in scheduled.items() if (slot := due.last_slot(schedule, zone, until))}


def _spooled(notifications: Notifications, config_file: Path, state: Path, decide: Callable[[Told], tuple[list[Message], Told]]) -> None:
    spool, names = Spool(state), channels.names(notifications)
    if not names:
        return
    try:
        with ExitStack() as held:
            with suppress(OSError):  # without a lock somebody may be told twice: better than never
                held.enter_context(spool.alone("notice"))
            before = spool.told()
            messages, told = decide(before)
            wanted = alerts.wanted(messages, notifications.on)
            if told != before or messages:
                try:
                    spool.keep(wanted, names, told)
                except OSError as error:
                    _log.warning("%s cannot be written, and messages go without it: %s", spool.folder, error.strerror)
                    _told_directly(config_file, state, spool.folder, wanted)
        if spool.waiting():
            _start(config_file, state)
    except Exception as error:  # noqa: BLE001 - a backup was made, and its end must not look like a failure
        _log.warning("nobody could be told: %s: %s", type(error).__name__, error)


def _told_directly(config_file: Path, state: Path, folder: Path, messages: Sequence[Message]) -> None:
    now = datetime.now(UTC)
    if untold := direct.untold(folder, messages, now):
        _start(config_file, state, untold)
        direct.mark(folder, untold, now)


def _start(config_file: Path, state: Path, messages: Sequence[Message] = ()) -> None:
    """A process of its own, which outlives this one and holds nothing of it. `messages`: that it delivers instead of the spool's."""
    command: Sequence[str] = ["notify", "deliver", "--config", str(config_file), "--state-dir", str(state)]
    process = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "iot_backup", *command, *(["--stdin"] if messages else [])],
        stdin=subprocess.PIPE if messages else subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    # A service would collect zombies. Where no thread can be started, Python reaps it when it starts the next process.
    with suppress(RuntimeError):
        threading.Thread(target=process.wait, name="reaping", daemon=True).start()
    if process.stdin:
        with process.stdin as pipe:
            pipe.write(json.dumps([plain(message) for message in messages]).encode())


def _run(record: Record) -> Run | None:
    if record.end_time is None:
        return None
    return Run(record.job, record.status, record.end_time, record.error or "", record.id or "", record.warnings)
