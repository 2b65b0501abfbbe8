"""When a run may be stopped, and when it no longer may."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable

from iot_backup.errors import Cancelled

GRACE_SECONDS = 15.0
"""How long a stage may take to notice a request before the process ends without it: half of the pod's 30 s, so that the report still gets out."""

SIGNALS = (signal.SIGTERM, signal.SIGINT)

_log = logging.getLogger(__name__)


class Cancel:
    """One run's way to be stopped: any thread may look, the point of no return is passed once.

    From `commit_begins` on a request changes nothing any more: whether the manifest reached the store is only known after
    looking, and a run that stopped in between could call a stored backup cancelled (store.md section 3.2).
    """

    def __init__(self) -> None:
        self.requested = threading.Event()
        self.signal = signal.SIGTERM
        """Which one asked last."""
        self._lock = threading.Lock()
        self._committing = False

    def request(self) -> bool:
        """Ask the run to stop; False if it is too late."""
        with self._lock:
            if not self._committing:
                self.requested.set()
            return not self._committing

    def check(self) -> None:
        """Raise Cancelled if the run was asked to stop."""
        if self.requested.is_set():
            raise Cancelled("the run was stopped before it was complete; nothing was published. Start it again when you want it.")

    def pause(self, seconds: float) -> None:
        """Wait so long; Cancelled as soon as the run is asked to stop."""
        self.requested.wait(seconds)
        self.check()

    def commit_begins(self) -> None:
        """The point of no return. Raises Cancelled if a request came first."""
        with self._lock:
            if not self.requested.is_set():
                self._committing = True
        self.check()

    def commit_ended(self) -> None:
        """What was committed is known to be stored: what comes after it may be stopped again."""
        with self._lock:
            self._committing = False


def on_signals(cancel: Cancel, give_up: Callable[[], None]) -> None:
    """SIGTERM and SIGINT request a stop; if the run has not ended GRACE_SECONDS later, `give_up` is called and the process ends with 143.

    A stage that waits for a store that does not answer cannot look at `cancel`; the pod must end with a report all the same. Call it
    before any other thread is started: a thread of its own takes the signals, since Python's handlers would wait for the main
    thread, which may be inside an upload.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)

    def listen() -> None:
        while True:
            cancel.signal = number = signal.Signals(signal.sigwait(SIGNALS))
            if not cancel.request():
                _log.warning("asked to stop (signal %d) while the commit is under way: finishing it first", number)
                continue
            _log.warning("asked to stop (signal %d)", number)
            timer = threading.Timer(GRACE_SECONDS, _end, args=(give_up,))
            timer.daemon = True
            timer.start()

    threading.Thread(target=listen, name="signals", daemon=True).start()


def _end(give_up: Callable[[], None]) -> None:
    try:
        give_up()
    finally:
        os._exit(Cancelled.exit_code)
