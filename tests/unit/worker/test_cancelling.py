"""A request to stop is heard at any moment, and the process ends in time."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from iot_backup.errors import Cancelled
from iot_backup.worker.cancelling import Cancel

OPERATOR = Path(__file__).resolve().parents[3] / "operator"
BLOCKED = """
import ctypes, sys
from pathlib import Path
from iot_backup.worker import cancelling
cancelling.GRACE_SECONDS = 0.1
cancel = cancelling.Cancel()
def give_up():
    Path(sys.argv[1]).write_text(str(cancel.requested.is_set()))
    if sys.argv[2] == "no report":
        raise OSError("no room for a report")
cancelling.on_signals(cancel, give_up)
if sys.argv[2] == "commit":
    cancel.commit_begins()
    cancelling.threading.Timer(0.5, cancelling.os._exit, (7,)).start()
print("ready", flush=True)
# The second lock waits for ever, in one call: no handler of Python's gets its turn in this thread.
mutex = ctypes.create_string_buffer(256)
for _ in range(2):
    ctypes.CDLL(None).pthread_mutex_lock(mutex)
"""


def stopped(report: Path, how: str, number: signal.Signals) -> int:
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(BLOCKED), str(report), how],
        env={**os.environ, "PYTHONPATH": str(OPERATOR)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        assert process.stdout is not None
        try:
            assert process.stdout.readline() == b"ready\n"
            process.send_signal(number)
            return process.wait(30)
        finally:
            process.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_stop_ends_a_process_whose_main_thread_waits_for_a_store_and_leaves_a_report(tmp_path: Path, number: signal.Signals) -> None:
    assert stopped(tmp_path / "report", "wait", number) == Cancelled.exit_code
    assert (tmp_path / "report").read_text() == "True"


def test_the_process_ends_also_where_no_report_can_be_written(tmp_path: Path) -> None:
    assert stopped(tmp_path / "report", "no report", signal.SIGTERM) == Cancelled.exit_code


def test_a_stop_during_the_commit_changes_nothing(tmp_path: Path) -> None:
    assert stopped(tmp_path / "report", "commit", signal.SIGTERM) == 7
    assert not (tmp_path / "report").exists()


def test_after_a_request_no_commit_begins() -> None:
    cancel = Cancel()
    assert cancel.request()
    with pytest.raises(Cancelled):
        cancel.commit_begins()


def test_after_the_commit_began_a_request_is_too_late() -> None:
    cancel = Cancel()
    cancel.commit_begins()
    assert not cancel.request()
    cancel.check()
