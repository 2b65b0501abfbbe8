"""`backup-manager` as a process of its own, with a config, a state folder and nothing else."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
import weakref
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.pipeline.worker_process import PATIENCE, ROOT

if TYPE_CHECKING:
    from collections.abc import Callable

PASSPHRASE = "correct horse battery staple"
_PROGRAM = "from iot_backup.cli import main; main(prog_name='backup-manager')"


@dataclass(frozen=True)
class Answer:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output."""
        return json.loads(self.out)


@dataclass
class Manager:
    """One machine: runs commands, and can be told to forget."""

    base: Path
    storage: str
    """The config's storages, YAML in flow style."""
    jobs: list[dict[str, Any]]
    environ: dict[str, str] = field(default_factory=lambda: {"BACKUP_ENCRYPTION_KEY": PASSPHRASE})
    state: str = "state"
    notifications: str = ""
    """YAML in flow style; none without."""

    def start(
        self,
        *arguments: str,
        typed: bytes | None = None,
        stdout: int = subprocess.PIPE,
        stderr: int = subprocess.PIPE,
        **environ: str | None,
    ) -> subprocess.Popen[str]:
        """`typed`: what a person says on a terminal; None: nobody is there. `stdout`, `stderr`: other descriptors for them."""
        config = self.base / "backup.yml"
        jobs = "".join(f"    - {json.dumps(job)}\n" for job in self.jobs)
        told = f"  notifications: {self.notifications}\n" if self.notifications else ""
        # Whole at any time: another process of this machine may be reading it.
        new = config.with_suffix(".new")
        new.write_text(f"backup:\n  storage: {self.storage}\n{told}  jobs:\n{jobs}")
        new.replace(config)
        name, *rest = arguments
        names = (name, *rest[:1]) if name in ("key", "config", "notify", "hold") else (name,)
        command = [*names, "--config", str(config), "--state-dir", str(self.base / self.state), *arguments[len(names) :]]
        wanted = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator"), **self.environ, **environ}
        keyboard, stdin = pty.openpty() if typed is not None else (None, subprocess.DEVNULL)
        process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM, *command],
            env={name: value for name, value in wanted.items() if value is not None},
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            text=True,
        )
        if keyboard is None or typed is None:
            return process
        os.close(stdin)
        os.write(keyboard, typed)  # the terminal keeps it until it is read
        weakref.finalize(process, os.close, keyboard)
        return process

    def run(self, *arguments: str, typed: bytes | None = None, **environ: str | None) -> Answer:
        return ended(self.start(*arguments, typed=typed, **environ))

    def record(self, job: str, *arguments: str, code: int = 0, **environ: str | None) -> dict[str, Any]:
        """Of one `execute`."""
        answer = self.run("execute", job, "--output", "json", *arguments, **environ)
        assert answer.code == code, answer
        return dict(answer.json)


def ended(process: subprocess.Popen[str]) -> Answer:
    out, err = process.communicate(timeout=PATIENCE)
    return Answer(process.returncode, out, err)


def wait_until(what: str, holds: Callable[[], object], process: subprocess.Popen[str] | None = None) -> None:
    deadline = time.monotonic() + PATIENCE
    over = False  # as it was before the look: what came right before the end is not missed
    while not holds():
        assert time.monotonic() < deadline, f"never: {what}"
        assert not over, (what, process and process.communicate())
        over = process is not None and process.poll() is not None
        time.sleep(0.01)


def interrupt(process: subprocess.Popen[str], number: signal.Signals) -> tuple[Answer, float]:
    """The answer after a signal, and the seconds it took."""
    began = time.monotonic()
    process.send_signal(number)
    return ended(process), time.monotonic() - began
