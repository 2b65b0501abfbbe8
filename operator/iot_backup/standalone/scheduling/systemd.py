"""Tells systemd how the service is: sd_notify(3), without its library. Nothing happens where NOTIFY_SOCKET is not set."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

_log = logging.getLogger(__name__)


class Notifier:
    """The way to the service manager, if there is one."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        ours = environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        microseconds = environ.get("WATCHDOG_USEC", "") if ours else ""
        self.interval = int(microseconds) / 2_000_000 if microseconds.isdecimal() and int(microseconds) else None
        """Seconds between two signs of life; None if nobody waits for them."""

    def ready(self, status: str) -> None:
        self._tell(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        self._tell("STOPPING=1\nSTATUS=Waiting for the runs to end")

    def alive(self, status: str) -> None:
        self._tell(f"WATCHDOG=1\nSTATUS={status}")

    def _tell(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
                channel.settimeout(1)
                channel.sendto(message.encode(), self._address)
        except OSError as error:
            _log.warning("systemd cannot be told %r: %s", message.partition("\n")[0], error)
