"""`verify --schedule`: everything that is stored, looked at again and again. Nothing in a storage is changed."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any

from iot_backup.core.due import Timed
from iot_backup.standalone import configfile
from iot_backup.standalone.records import time
from iot_backup.standalone.scheduling import zones
from iot_backup.standalone.scheduling.children import Ended
from iot_backup.standalone.scheduling.remembering import Memory

JOB = "verification"
_COPY = "verifier.yml"
_log = logging.getLogger(__name__)


class Verifications:
    """One job: `verify` of all that the config names. `after_run` gets what is kept of each."""

    def __init__(
        self,
        file: Path,
        environ: Mapping[str, str],
        memory: Memory,
        schedule: str,
        options: Sequence[str],
        after_run: Sequence[Callable[[Mapping[str, Any]], None]] = (),
    ) -> None:
        """`options`: those of `verify`, with --config and --state-dir. InvalidSpec."""
        self._file, self._environ, self._memory, self._options, self._after_run = file, environ, memory, tuple(options), after_run
        self.jobs = (Timed(JOB, schedule, JOB),)
        self.parallel = 1
        self.reload()

    def reload(self) -> None:
        """Runs read the file themselves; InvalidSpec tells that they will not be able to. AccessDenied."""
        self.config = configfile.loaded(self._file, self._environ)
        self.file = self._memory.put(_COPY, self._file.read_bytes())
        """The config that holds, as it was written: it names who is told if the file was spoilt since."""
        self.zone: tzinfo = zones.chosen(self.config.time_zone, self._environ)

    def is_free(self, job: str) -> bool:  # noqa: ARG002 - a reader waits for nobody
        return True

    def command(self, job: str) -> Sequence[str]:  # noqa: ARG002 - there is one
        return ["verify", "--output", "json", *self._options]

    def ended(self, run: Ended, started: datetime, *, stopped: bool) -> dict[str, Any] | None:
        if stopped:
            return None
        result = outcome(run, started, datetime.now(UTC))
        for hook in self._after_run:
            try:
                hook(result)
            except Exception:  # noqa: BLE001 - whatever it is, the result must be kept
                _log.exception("what comes after a verification failed; the verifier goes on")
        return result


def outcome(run: Ended, started: datetime, end: datetime) -> dict[str, Any]:
    """What is kept of a verification: start_time, end_time, ok, code, backups, files, bytes, failed (ids), problems."""
    try:
        answer = json.loads(run.out)
        backups, problems = answer["backups"], list(answer["problems"])
    except (ValueError, TypeError, KeyError):
        backups, problems = [], [_error(run)]
    failed = [each for each in backups if not each["ok"]]
    return {
        "start_time": time(started),
        "end_time": time(end),
        "ok": run.code == 0,
        "code": run.code,
        "backups": len(backups),
        "files": sum(each["files"] for each in backups),
        "bytes": sum(each["bytes"] for each in backups),
        "failed": [each["id"] for each in failed],
        "problems": problems + [f"{each['id']}: {problem}" for each in failed for problem in each["problems"]],
    }


def _error(run: Ended) -> str:
    try:
        return str(json.loads(run.out)["error"])
    except (ValueError, TypeError, KeyError):
        return f"the verification ended with code {run.code} and without an answer: what it printed is in the log"
