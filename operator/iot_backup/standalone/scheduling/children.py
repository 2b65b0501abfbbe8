"""A run as a process of its own: its memory and its faults are not the scheduler's, and it does not outlive it."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from iot_backup.standalone.scheduling.signals import SIGNALS, held_back

_PR_SET_PDEATHSIG = 1
_OURS = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "VERIFICATION_SCHEDULE")
"""Variables that speak to the scheduler: a run is no service, and must not become a scheduler of its own."""
_LIBC = ctypes.CDLL(None)


@dataclass(frozen=True)
class Ended:
    """A run that is over."""

    job: str
    code: int
    """Negative: the signal that ended it."""
    out: str


class Child:
    """One `backup-manager` command under way. Its standard error is the scheduler's."""

    def __init__(self, job: str, arguments: Sequence[str], ended: Callable[[Ended], None]) -> None:
        """Call it in the main thread: the child ends with the thread that started it. OSError."""
        parent = os.getpid()
        with held_back() as allowed:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-m", "iot_backup", *arguments],
                env={name: value for name, value in os.environ.items() if name not in _OURS},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                preexec_fn=lambda: _leashed(parent, allowed),  # noqa: PLW1509 - calls the C library alone, which is loaded
            )
        try:
            threading.Thread(target=lambda: ended(self._awaited(job)), name=f"run of {job}", daemon=True).start()
        except RuntimeError as error:  # no thread to be had: nobody would hear of its end
            self.kill()
            self._process.communicate()
            raise OSError(errno.EAGAIN, str(error)) from error

    def _awaited(self, job: str) -> Ended:
        out, _ = self._process.communicate()
        return Ended(job, self._process.returncode, out.decode(errors="replace"))

    def stop(self) -> None:
        """Ask it to end; it does so within two seconds, with its archive whole or not there."""
        self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self._process.kill()


def _leashed(parent: int, allowed: set[int]) -> None:
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL)
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    signal.pthread_sigmask(signal.SIG_SETMASK, allowed)
    if os.getppid() != parent:
        os._exit(143)
