"""The loop: wakes, lets `core.due` decide, starts children, and remembers. One thread; others wait for children and serve HTTP.

It sleeps at most half a minute by a clock that nobody sets, and compares the wall clock then: a suspended machine or a set clock is noticed.
"""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, tzinfo
from typing import Any, Protocol

from iot_backup.core import due
from iot_backup.core.due import Mark, Timed
from iot_backup.errors import Busy, Cancelled, IotBackupError
from iot_backup.standalone.scheduling.children import Child, Ended
from iot_backup.standalone.scheduling.remembering import Memory
from iot_backup.standalone.scheduling.systemd import Notifier

_log = logging.getLogger(__name__)

LONGEST_SLEEP = 30.0
"""Seconds."""
STALE = 120.0
"""Seconds without a turn of the loop, after which it counts as hanging."""
_PATIENCE = 20.0
"""Seconds that stopped children have before they are killed."""
_STOPS = (Cancelled.exit_code, -signal.SIGTERM, 128 + signal.SIGINT)
_TAKEN = 30.0
"""Seconds until a job is tried again whose lock another process holds."""


class Work(Protocol):
    """What there is to run. All but `ended` is called by the loop's thread, and must not wait."""

    @property
    def jobs(self) -> Sequence[Timed]: ...
    @property
    def zone(self) -> tzinfo: ...
    @property
    def parallel(self) -> int: ...
    def reload(self) -> None:
        """Read the config anew; InvalidSpec leaves everything as it was."""

    def is_free(self, job: str) -> bool:
        """Whether no other process is at it."""

    def command(self, job: str) -> Sequence[str]:
        """What `backup-manager` is called with."""

    def ended(self, run: Ended, started: datetime, *, stopped: bool) -> Any:
        """What is kept of the run, JSON, or None. In a thread where slowness and errors harm nobody."""


@dataclass
class Loop:
    """One scheduler, from its start to its end."""

    work: Work
    memory: Memory
    notifier: Notifier
    clock: Callable[[], datetime] = lambda: datetime.now(UTC)
    events: queue.SimpleQueue[Ended | int] = field(default_factory=queue.SimpleQueue)
    """Runs that ended, and numbers of signals."""
    marks: dict[str, Mark] = field(default_factory=dict)
    running: dict[str, tuple[Child, Timed, datetime]] = field(default_factory=dict)
    next_slots: dict[str, datetime] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)
    """What `Work.ended` kept of each job's last run."""
    _taken: dict[str, float] = field(default_factory=dict)
    _beat: float = field(default_factory=time.monotonic)
    _stopping: float | None = None
    _writing: threading.Lock = field(default_factory=threading.Lock)
    _after: queue.SimpleQueue[Callable[[], None] | None] = field(default_factory=queue.SimpleQueue)

    def run(self) -> None:
        """Until SIGTERM or SIGINT, which come as events. AccessDenied if nothing can be remembered at the beginning."""
        known, self.last = self.memory.read()
        self.marks = {job: mark.found() for job, mark in known.items()}
        self._mark()
        after = threading.Thread(target=self._work_after, name="after runs", daemon=True)
        after.start()
        self.notifier.ready(self._status())
        while self._stopping is None or self.running:
            timeout = self.turn()
            try:
                self._handle(self.events.get(timeout=timeout))
            except queue.Empty:
                continue
        self._after.put(None)
        after.join(timeout=_PATIENCE)

    @property
    def is_alive(self) -> bool:
        return time.monotonic() - self._beat < STALE

    def turn(self) -> float:
        """Start what is due; the seconds until the next turn."""
        self._beat = now = time.monotonic()
        self.notifier.alive(self._status())
        if self._stopping is not None:
            if now > self._stopping:
                self._kill()
            return 1.0
        wake = self._start_due()
        return max(0.0, min(LONGEST_SLEEP, self.notifier.interval or LONGEST_SLEEP, *wake))

    def _start_due(self) -> list[float]:
        """Seconds until something else may be due."""
        try:
            self._mark()
        except IotBackupError as error:
            _log.error("%s", error)
        wall, now = self.clock(), time.monotonic()
        self._taken = {alone: until for alone, until in self._taken.items() if until > now}
        taken = {timed.alone for _, timed, _ in self.running.values()} | set(self._taken)
        jobs = self.work.jobs
        decision = due.due(jobs, self.marks, taken, self.work.parallel - len(self.running), self.work.zone, wall)
        for job in decision.starts:
            self._start(next(timed for timed in jobs if timed.id == job), wall)
        self.next_slots = self._slots()
        wakes = [until - now for until in self._taken.values()]
        return wakes + ([(decision.wake - self.clock()).total_seconds()] if decision.wake else [])

    def _slots(self) -> dict[str, datetime]:
        slots = {job.id: due.next_slot(job.schedule, self.work.zone, self.marks[job.id].counted) for job in self.work.jobs}
        return {job: slot for job, slot in slots.items() if slot is not None}

    def _start(self, timed: Timed, now: datetime) -> None:
        try:
            if not self.work.is_free(timed.id):
                self._taken[timed.alone] = time.monotonic() + _TAKEN
                return
            self._set(timed.id, self.marks[timed.id].begun(now))
            self.running[timed.id] = Child(timed.id, self.work.command(timed.id), self.events.put), timed, now
        except (IotBackupError, OSError) as error:
            _log.error("job %s cannot be started, and is tried again: %s", timed.id, error)
            self.marks[timed.id] = self.marks[timed.id].put_off()
            self._taken[timed.alone] = time.monotonic() + _TAKEN
        else:
            _log.info("job %s started", timed.id)

    def _handle(self, event: Ended | int) -> None:
        if isinstance(event, Ended):
            self._ended(event)
        elif event == signal.SIGHUP:
            self._reload()
        elif self._stopping is not None:
            self._kill()
        else:
            _log.info("asked to stop (signal %d)", event)
            self._stopping = time.monotonic() + _PATIENCE
            self.notifier.stopping()
            for child, _, _ in self.running.values():
                child.stop()

    def _ended(self, run: Ended) -> None:
        _, timed, started = self.running.pop(run.job)
        stopped = self._stopping is not None and run.code in (*_STOPS, -signal.SIGKILL)
        _log.info("job %s ended with code %d", run.job, run.code)
        if run.code == Busy.exit_code:
            self._taken[timed.alone] = time.monotonic() + _TAKEN
        if run.job in self.marks and not stopped:  # a run that we stopped stays begun: the next scheduler makes up for it
            mark = self.marks[run.job]
            self._keep(run.job, mark.put_off() if run.code == Busy.exit_code else mark.ended())
        self._after.put(lambda: self._record(run, started, stopped))

    def _record(self, run: Ended, started: datetime, stopped: bool) -> None:
        kept = self.work.ended(run, started, stopped=stopped)
        if kept is not None:
            self.last = {**self.last, run.job: kept}
            self._write()

    def _work_after(self) -> None:
        while (task := self._after.get()) is not None:
            try:
                task()
            except Exception:  # noqa: BLE001 - whatever it is, the next run stands on its own
                _log.exception("what comes after a run failed; the backups go on")

    def _reload(self) -> None:
        self.notifier.reloading()
        try:
            self.work.reload()
        except IotBackupError as error:
            _log.error("the config is not taken, the one before stays:\n%s", error)
        except Exception:  # noqa: BLE001 - a config that nobody foresaw must not end the backups
            _log.exception("the config is not taken, the one before stays")
        else:
            _log.info("the config was read anew")
        self.notifier.ready(self._status())

    def _kill(self) -> None:
        for child, _, _ in self.running.values():
            child.kill()

    def _mark(self) -> None:
        marks = due.marked(self.work.jobs, self.marks, self.work.zone, self.clock())
        # What runs and is in the config no more keeps its mark until it ended.
        marks |= {job: self.marks[job] for job in self.running if job not in marks and job in self.marks}
        if marks != self.marks:
            self.marks = marks
            self._write()

    def _write(self) -> None:
        """The newest marks are written last, whichever thread it is that writes."""
        with self._writing:
            self.memory.write(self.marks, self.last)

    def _set(self, job: str, mark: Mark) -> None:
        self.marks = {**self.marks, job: mark}
        self._write()

    def _keep(self, job: str, mark: Mark) -> None:
        """A full disk does not stop the scheduler: what it cannot write down it knows until it ends."""
        try:
            self._set(job, mark)
        except IotBackupError as error:
            _log.error("%s", error)

    def _status(self) -> str:
        if self.running:
            return f"Running: {', '.join(self.running)}"
        following = min(self.next_slots.items(), key=lambda slot: slot[1], default=None)
        return (
            f"Next: {following[0]} at {following[1].astimezone(self.work.zone):%Y-%m-%d %H:%M %Z}" if following else "No job has a schedule"
        )
