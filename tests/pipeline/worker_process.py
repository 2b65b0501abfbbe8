"""The worker as its pod runs it: a process with its files, its exit code and its report."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from iot_backup import vocabulary
from iot_backup.core import report as reports
from iot_backup.core import spec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

ROOT = Path(__file__).resolve().parents[2]
JOB, JOB_UID = "daily-29386740", "0f7a53a0-6e0c-4a9e-9a4e-0d9f6f1a2b3c"
SOMEBODY = 65532
PATIENCE = 120.0
"""Seconds until a worker, or what a test waits for, counts as hanging."""

_AS_ROOT = "from iot_backup.cli import main; main(prog_name='backup-manager')"
# The interpreter of the tests may lie where only root reads, so everything is imported before the rights are given up.
_AS_SOMEBODY = f"""
import os, iot_backup.cli, iot_backup.worker.main, iot_backup.worker.backup, iot_backup.worker.restore, iot_backup.storage.volume, iot_backup.storage.s3
import _strptime, cryptography.hazmat.backends.openssl.backend
os.setgroups([]); os.setresgid({SOMEBODY}, {SOMEBODY}, {SOMEBODY}); os.setresuid({SOMEBODY}, {SOMEBODY}, {SOMEBODY})
{_AS_ROOT}
"""


# As in earnest, but a store that stays silent, full or broken is given up soon; one that is slow because the machine is busy is not.
_IMPATIENT = """
from iot_backup.storage.s3_client import Timing
from iot_backup.worker import cancelling
Timing.__init__.__defaults__ = (1, 8, 8, 20, 8, 2, 0.05, 0.2)
cancelling.GRACE_SECONDS = 8
"""


@dataclass(frozen=True)
class Ended:
    """A worker that is over."""

    code: int
    report: reports.Report | None
    """None: it was killed before it could write one."""
    log: str

    @property
    def failure(self) -> reports.Failure:
        assert self.report is not None, self.log
        assert self.report.failure is not None, self.report
        return self.report.failure

    @property
    def backup(self) -> reports.BackupResult:
        assert self.code == 0, self.log
        assert self.report is not None
        assert self.report.backup is not None
        return self.report.backup

    @property
    def archive(self) -> str:
        return self.backup.archive

    @property
    def restore(self) -> reports.RestoreResult:
        assert self.code == 0, self.log
        assert self.report is not None
        assert self.report.restore is not None
        return self.report.restore

    @property
    def probe(self) -> reports.ProbeResult:
        assert self.code == 0, self.log
        assert self.report is not None
        assert self.report.probe is not None
        return self.report.probe

    @property
    def warnings(self) -> dict[str, reports.Warn]:
        """By reason."""
        assert self.report is not None
        return {warning.reason: warning for warning in self.report.warnings}

    @property
    def peak_mb(self) -> int:
        return int(self._logged(r"peak memory (\d+) MB"))

    @property
    def seconds_to_source(self) -> float:
        """From the process's beginning to the first look at the source."""
        return float(self._logged(r"reading claim \S+, ([0-9.]+) s after"))

    def _logged(self, pattern: str) -> str:
        found = re.search(pattern, self.log)
        assert found, self.log
        return found[1]


class Worker:
    """A worker process under way; `ended()` is to be called for each."""

    def __init__(
        self, folder: Path, order: spec.BackupOrder | spec.RestoreOrder | spec.ProbeOrder, paths: dict[str, Path], **how: object
    ) -> None:
        """`folder`: for order, report and log. `paths`: source, target and secrets. `how`: `user` = "somebody", `impatient`, `prelude` (code to run first), `sha256`,
        `operation`."""
        folder.mkdir(parents=True)
        text = spec.encode(order)
        (folder / "spec.json").write_text(text)
        self._report, self._log = folder / "report", folder / "log"
        self._report.touch(0o666)
        self._report.chmod(0o666)
        code = (
            (_IMPATIENT if how.get("impatient") else "")
            + str(how.get("prelude", ""))
            + (_AS_SOMEBODY if how.get("user") == "somebody" else _AS_ROOT)
        )
        arguments = {"spec": folder / "spec.json", "spec-sha256": how.get("sha256") or spec.digest(text), "report": self._report, **paths}
        options = [part for name, value in arguments.items() for part in (f"--{name}", str(value))]
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-c", code, "worker", str(how.get("operation") or order.kind), *options],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=_environment(),
            )

    def send(self, number: signal.Signals) -> None:
        self.process.send_signal(number)

    def struck(self, moment: Callable[[], bool]) -> bool:
        """Kill it with -9 at that moment, if it has not ended before; whether it was caught before it could report."""
        deadline = time.monotonic() + PATIENCE
        while not moment() and self.process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        self.kill()
        return not self._report.exists() or not self._report.read_text()

    def until(self, done: Callable[[], bool], what: str) -> None:
        """Return when `done` is true; fail if the worker ends before."""
        deadline = time.monotonic() + PATIENCE
        over = False  # as it was before the look: what came right before the end is not missed
        while not done():
            assert not over, f"the worker ended before {what}:\n{self.log}"
            assert time.monotonic() < deadline, f"{what} did not come:\n{self.log}"
            over = self.process.poll() is not None
            time.sleep(0.002)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def kill(self) -> None:
        """End it, if it is not over: for a test that fails on the way."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def ended(self, secrets: Iterable[bytes]) -> Ended:
        """Wait for the end. What it said, in log or report, holds none of the secrets; the report's code is the process's."""
        try:
            code = self.process.wait(PATIENCE)
        finally:
            self.kill()
        text = self._report.read_text()
        for secret in secrets:
            assert secret.decode() not in self.log + text
        report = reports.decode(text)
        if report is not None:
            assert (report.job, report.job_uid) == (JOB, JOB_UID)
            assert len(text.encode()) <= reports.MAX_BYTES
            assert code == (report.failure.exit_code if report.failure else 0), self.log
            assert report.failure is None or not (report.backup or report.restore or report.probe)
            json.loads(text)
        return Ended(code, report, self.log)


def _environment() -> dict[str, str]:
    """A pod's, with what the Dockerfile sets. Compiled modules are kept as an image keeps them, but outside of the checkout."""
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(ROOT / "operator"),
        "PYTHONPYCACHEPREFIX": os.environ.get("PYTHONPYCACHEPREFIX", "/tmp/iot-backup-operator-pycache"),
        "PYTHONWARNINGS": "error",
        "MALLOC_ARENA_MAX": "1",
        vocabulary.ENV_JOB_NAME: JOB,
        vocabulary.ENV_JOB_UID: JOB_UID,
    }
