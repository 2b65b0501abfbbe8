"""Runs one command as a whole process tree and says what it cost."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path


class Failed(Exception):
    """A command ended with an error: its last words."""


@dataclass(frozen=True)
class Cost:
    """Of one run."""

    wall: float
    """Seconds."""
    cpu: float
    """Seconds, user and system, of all its processes."""
    peak: int
    """MB of the largest of its processes. What starts it counts too: whoever measures stays small."""


def run(command: str, environment: dict[str, str], log: Path) -> Cost:
    """A shell command with `pipefail`; whatever ends the wait for it ends all its processes. Raises Failed."""
    begun = time.perf_counter()
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["bash", "-o", "pipefail", "-c", command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment},
            start_new_session=True,
        )
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        process.returncode = os.waitstatus_to_exitcode(status)
    wall = time.perf_counter() - begun
    if process.returncode:
        raise Failed(f"exit {process.returncode}: {log.read_text(errors='replace').strip()[-300:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 // 1_000_000)


def stored(folder: Path) -> float:
    """MB of a file, or of all files below a folder."""
    paths = [folder] if folder.is_file() else [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    return sum(path.stat().st_size for path in paths) / 1e6
