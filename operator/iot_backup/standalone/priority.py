"""Lets everybody else on the machine go first."""

from __future__ import annotations

import ctypes
import os
import platform
from contextlib import suppress
from typing import Final

NICE: Final = 10
LAST_OF_ITS_CLASS: Final = 7
_SHIFT: Final = 13
BEST_EFFORT, IDLE = 2, 3
_PROCESS: Final = 1
CALLS: Final = {
    "x86_64": (251, 252),
    "aarch64": (30, 31),
    "riscv64": (30, 31),
    "ppc64le": (273, 274),
    "s390x": (282, 283),
    "armv7l": (314, 315),
    "i686": (289, 290),
}
"""Numbers of ioprio_set and ioprio_get, which the C library has no names for."""


def lower() -> None:
    """Nice 10, and the last of the disk's usual class, or as low as the caller is already. What the system refuses stays as it is.

    Linux means the calling thread, and those it starts from now on: to be called before there are others.
    """
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(NICE, os.getpriority(os.PRIO_PROCESS, 0)))
    if platform.machine() in CALLS and io_class()[0] != IDLE:
        number = CALLS[platform.machine()][0]
        ctypes.CDLL(None).syscall(number, _PROCESS, 0, BEST_EFFORT << _SHIFT | LAST_OF_ITS_CLASS)


def io_class() -> tuple[int, int]:
    """Class and place in it of the calling thread at the disks; (0, 0) if nothing was ever said, or nobody knows."""
    if platform.machine() not in CALLS:
        return 0, 0
    found = ctypes.CDLL(None).syscall(CALLS[platform.machine()][1], _PROCESS, 0)
    return (found >> _SHIFT, found & ((1 << _SHIFT) - 1)) if found > 0 else (0, 0)
