"""Ports of loopback."""

from __future__ import annotations

import secrets
import socket
from contextlib import suppress

_RANGE = range(16384, 30000)
"""Below those that the kernel gives to whoever asks for any, or connects: one of these is still free when its server comes up."""


def free_port() -> int:
    """One that nobody listens on."""
    while True:
        with suppress(OSError), socket.socket() as probe:
            probe.bind(("127.0.0.1", secrets.choice(_RANGE)))
            return int(probe.getsockname()[1])
