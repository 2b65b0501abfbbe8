"""Runs that leave line, processor and disks to others."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import platform
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_backup.standalone import priority
from tests.pipeline.manager import Manager, interrupt, wait_until
from tests.pipeline.roundtrip import facts
from tests.pipeline.stored import size_of

if TYPE_CHECKING:
    from tests.pipeline.sites import Site

JOB = "historian"
MEGABYTE = 1_000_000


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Eight megabytes that nothing makes smaller."""
    root = tmp_path / "source"
    root.mkdir()
    for number in range(4):
        (root / f"{number}").write_bytes(os.urandom(2 * MEGABYTE))
    return root


@pytest.fixture
def manager(tmp_path: Path, source: Path) -> Manager:
    jobs = [{"id": JOB, "source": str(source), "encryption": False}]
    return Manager(tmp_path, json.dumps({"local": {"path": str(tmp_path / "store")}}), jobs, environ={})


def uploading(manager: Manager) -> list[Path]:
    return [path for path in (manager.base / "store").rglob(".*.partial") if size_of(path)]


def test_a_run_takes_no_more_of_the_line_than_its_order_allows(site: Site, source: Path) -> None:
    made = site.backup(source, bandwidth_limit=2 * MEGABYTE).backup
    assert (made.completion_time - made.start_time).total_seconds() > 3.5
    target = site.folder("target")
    site.restore(made.archive, target, bandwidth_limit=8 * MEGABYTE).restore  # noqa: B018 - fails with the log
    assert facts(target) == facts(source)


def test_a_run_that_waits_for_its_turn_stops_within_two_seconds(site: Site, source: Path) -> None:
    before = site.place.keys()
    worker = site.start(site.backup_order(bandwidth_limit=10_000), source=source)
    worker.until(lambda: "reading claim" in worker.log, "the upload")
    worker.send(signal.SIGTERM)
    began = time.monotonic()
    run = site.ended(worker)
    assert time.monotonic() - began < 2
    assert (run.code, run.failure.reason) == (143, "Cancelled")
    assert site.place.keys() == before


def test_the_command_waits_as_told_and_stops_within_two_seconds(manager: Manager, source: Path, tmp_path: Path) -> None:
    manager.record(JOB)
    stored = {path for path in (tmp_path / "store").rglob("*") if path.is_file()}
    process = manager.start("execute", JOB, "--bandwidth-limit", "300k", "--output", "json")
    wait_until("upload", lambda: uploading(manager), process)
    answer, seconds = interrupt(process, signal.SIGTERM)
    assert (answer.code, answer.json["status"]) == (143, "cancelled"), answer
    assert seconds < 2
    assert {path for path in (tmp_path / "store").rglob("*") if path.is_file()} == stored


def test_a_restore_waits_as_told_and_stops_within_two_seconds(manager: Manager, tmp_path: Path) -> None:
    manager.record(JOB)
    process = manager.start("restore", JOB, "--target", str(tmp_path / "back"), "--bandwidth-limit", "20k")
    wait_until("target", (tmp_path / "back").exists, process)
    with pytest.raises(subprocess.TimeoutExpired):  # eight megabytes are not here in three seconds
        process.wait(3)
    answer, seconds = interrupt(process, signal.SIGINT)
    assert answer.code == 130, answer
    assert seconds < 2
    assert not (tmp_path / "back").exists()  # it was made for this


@pytest.mark.parametrize("rate", ["20m", "fast"])
def test_a_rate_that_cannot_be_meant_is_refused(manager: Manager, rate: str) -> None:
    answer = manager.run("execute", JOB, "--bandwidth-limit", rate)
    assert answer.code == 2
    assert "at least 1k, such as 20M or 10Mi" in " ".join(answer.err.split())


def standings(process: subprocess.Popen[str]) -> set[tuple[int, int]]:
    """Nice and standing at the disks of each thread, but those that end while they are asked."""
    found = set()
    for thread in os.listdir(f"/proc/{process.pid}/task"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            standing = ctypes.CDLL(None).syscall(priority.CALLS[platform.machine()][1], 1, int(thread))
            nice = int(Path(f"/proc/{process.pid}/task/{thread}/stat").read_text().rpartition(")")[2].split()[16])
            found.add((nice, standing))
    return found


@pytest.mark.skipif(platform.machine() not in priority.CALLS, reason="no name for the call")
def test_every_thread_of_a_run_of_low_priority_has_it(manager: Manager) -> None:
    process = manager.start("execute", JOB, "--low-priority", "--bandwidth-limit", "300k")
    wait_until("upload", lambda: uploading(manager), process)
    found = standings(process)
    interrupt(process, signal.SIGTERM)
    assert found == {(max(10, os.nice(0)), priority.BEST_EFFORT << 13 | 7)}


@pytest.mark.parametrize(("before", "after"), [("0", "10 2 7"), ("15", "15 2 7")])
def test_a_run_is_never_given_more_than_its_caller_has(before: str, after: str) -> None:
    code = (
        "import os, sys; os.setpriority(os.PRIO_PROCESS, 0, max(os.nice(0), int(sys.argv[1])))\n"
        "from iot_backup.standalone import priority; priority.lower(); priority.lower()\n"
        "print(os.nice(0), *priority.io_class())"
    )
    if os.nice(0) > 0:
        pytest.skip("these tests have a low priority themselves")
    done = subprocess.run([sys.executable, "-c", code, before], capture_output=True, text=True, check=True)
    assert done.stdout.split() == after.split()
