"""Retention after a job's runs: a process of its own, beside which backups go on. Killed anywhere, the next one takes it up."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from iot_backup.standalone import retention, sites
from iot_backup.standalone.notifying import noticing
from iot_backup.standalone.records import COMPLETED, Record
from iot_backup.standalone.scheduling.backups import Backups

_BUSY = 75
_log = logging.getLogger(__name__)


def retired(work: Backups, state: Path, environ: dict[str, str], options: Sequence[str], record: Record) -> None:
    """Remove what the job's rules let go, if its run was a whole one and somewhere a rule is. Whatever goes wrong is logged, and told to whom the
    config names."""
    job = next((each for each in work.config.jobs if each.id == record.job), None)
    if job is None or record.status != COMPLETED:
        return
    places = [sites.of_job(work.config, job, environ), *sites.copies_of(work.config, job, environ)]
    if not any(retention.policy(work.config, job, place) for place in places):
        return
    command = ["retention", job.id, "--output", "json", "--config", str(work.file), "--state-dir", str(state), *options]
    done = subprocess.run(  # noqa: S603 - our own program
        [sys.executable, "-m", "iot_backup", *command], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode == _BUSY:
        _log.info("retention of %s waits for its next run: %s", job.id, done.stderr.strip())
        return
    if done.returncode:
        _log.warning("retention of %s ended with code %d: %s", job.id, done.returncode, done.stderr.strip())
    elif done.stderr.strip():
        _log.info("retention of %s: %s", job.id, done.stderr.strip())
    noticing.retained(work.config, work.file, state, job.id, _problems(done))


def _problems(done: subprocess.CompletedProcess[str]) -> list[str]:
    """What a person should know of it, whatever way it ended."""
    try:
        return [str(problem) for problem in json.loads(done.stdout)["problems"]]
    except (ValueError, KeyError, TypeError):  # it failed before it had an answer
        return [done.stderr.strip() or f"it ended with code {done.returncode}"] if done.returncode else []
