"""A worker process from its order to its report and exit code."""

from __future__ import annotations

import logging
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from iot_backup import vocabulary
from iot_backup.core import report as reports
from iot_backup.core import spec
from iot_backup.errors import Cancelled, Internal, InvalidSpec, IotBackupError
from iot_backup.storage.secret_values import MountedSecrets
from iot_backup.worker.cancelling import Cancel, on_signals

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Pod:
    """Where this process runs: its Job, from the pod's own labels, and what is mounted where."""

    job: str
    job_uid: str
    report: Path
    secrets: Path
    source: Path
    target: Path

    @classmethod
    def of(cls, environ: Mapping[str, str], report: Path, secrets: Path, source: Path, target: Path) -> Pod:
        """The operator compares name and uid with the Job it looks at; outside a pod both are empty."""
        return cls(environ.get(vocabulary.ENV_JOB_NAME, ""), environ.get(vocabulary.ENV_JOB_UID, ""), report, secrets, source, target)


def run(operation: str, spec_file: Path, spec_sha256: str, pod: Pod) -> int:
    """Carry out one order; returns the process's exit code. The report is written in every case but a kill."""
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    # The pipeline's threads hand buffers over every few milliseconds; Python's default of 5 ms would let them wait for the GIL.
    sys.setswitchinterval(0.001)
    os.umask(0o007)  # what a volume store holds is for its group, and for nobody else
    cancel = Cancel()
    on_signals(cancel, lambda: write(pod.report, failed(operation, pod, _stopped())))
    try:
        answer = _carry_out(operation, spec_file, spec_sha256, pod, cancel)
    except IotBackupError as error:
        answer = failed(operation, pod, error)
    except Exception as error:  # noqa: BLE001 - a defect of ours must reach the report, too
        _log.exception("defect")
        answer = failed(
            operation, pod, Internal(f"{type(error).__name__}: {error}. This is a defect: please report it with the pod's log.")
        )
    write(pod.report, answer)
    _log.info("peak memory %d MB", _peak_memory())
    return answer.failure.exit_code if answer.failure else 0


def _carry_out(operation: str, spec_file: Path, spec_sha256: str, pod: Pod, cancel: Cancel) -> reports.Report:
    order = spec.decode(_read(spec_file), spec_sha256)
    secrets = MountedSecrets(pod.secrets)
    if order.kind != operation:
        raise InvalidSpec(f"the spec orders a {order.kind}, the container was started for a {operation}; let the operator make a new Job")
    if isinstance(order, spec.BackupOrder):
        from iot_backup.worker.backup import backup

        result, warnings = backup(order, secrets, pod.source, cancel)
        return reports.Report(kind="backup", job=pod.job, job_uid=pod.job_uid, backup=result, warnings=warnings)
    if isinstance(order, spec.RestoreOrder):
        from iot_backup.worker.restore import restore

        restored, warnings = restore(order, secrets, pod.target, cancel)
        answer = {"plan" if isinstance(restored, reports.PlanResult) else "restore": restored}
        return reports.Report(kind="restore", job=pod.job, job_uid=pod.job_uid, warnings=warnings, **answer)
    from iot_backup.worker.probe import probe

    found, warnings = probe(order, secrets)
    return reports.Report(kind="probe", job=pod.job, job_uid=pod.job_uid, probe=found, warnings=warnings)


def _peak_memory() -> int:
    """Megabytes this process had in memory at most. Not getrusage's: that begins with what its parent had."""
    found = re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())
    return int(found[1]) * 1024 // 10**6 if found else 0


def _read(spec_file: Path) -> str:
    try:
        return spec_file.read_text()
    except OSError as error:
        raise InvalidSpec(f"the worker's spec {spec_file} cannot be read: {error.strerror}") from error


def failed(operation: str, pod: Pod, error: IotBackupError) -> reports.Report:
    """The report of a run that ended with an error; the message goes to the log, too."""
    _log.error("%s: %s", error.reason, error.message)
    failure = reports.Failure(
        reason=error.reason, message=reports.clip(error.message, 1500), exit_code=error.exit_code, retryable=error.retryable
    )
    kind = operation if operation in ("backup", "restore") else "probe"
    return reports.Report.model_validate({"kind": kind, "job": pod.job, "job_uid": pod.job_uid, "failure": failure})


def _stopped() -> IotBackupError:
    return Cancelled("the run was stopped while it waited for the store; nothing was published. Start it again when you want it.")


def write(report_file: Path, answer: reports.Report) -> None:
    """The report as one write: the kubelet reads the file once, after the container's end."""
    text = reports.encode(answer)
    _log.info("report: %s", text)
    descriptor = os.open(report_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.write(descriptor, text.encode())
    finally:
        os.close(descriptor)
