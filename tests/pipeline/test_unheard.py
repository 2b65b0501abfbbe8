"""Standard error takes nothing: its reader is gone, or the disk below the log is full. Backups are made and told all the same."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.pipeline.manager import Manager, wait_until
from tests.pipeline.worker_process import PATIENCE


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    source = tmp_path / "source"
    source.mkdir()
    (source / "readings").write_text("21.5\n")
    jobs = [
        {"id": "a", "type": "full", "source": str(source), "schedule": "0 2 * * *"},
        {"id": "gone", "type": "full", "source": str(tmp_path / "gone")},
    ]
    return Manager(tmp_path, f"{{local: {{path: {tmp_path / 'store'}}}}}", jobs)


@pytest.fixture(params=["a pipe without a reader", "a full disk"])
def deaf(request: pytest.FixtureRequest) -> Iterator[int]:
    """A descriptor."""
    if request.param == "a full disk":
        descriptor = os.open("/dev/full", os.O_WRONLY)
    else:
        reader, descriptor = os.pipe()
        os.close(reader)
    yield descriptor
    os.close(descriptor)


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, object]]:
    """Exit code and answer."""
    out, _ = process.communicate(timeout=PATIENCE)
    return process.returncode, json.loads(out)


def test_a_run_is_made_and_told_and_ends_with_its_own_code(manager: Manager, deaf: int) -> None:
    code, record = ended(manager.start("execute", "a", "--output", "json", stderr=deaf))
    assert (code, record["status"]) == (0, "completed")
    assert [each["id"] for each in manager.run("list", "--output", "json").json] == [record["id"]]


def test_a_run_that_fails_is_told_and_ends_with_its_own_code(manager: Manager, deaf: int) -> None:
    code, record = ended(manager.start("execute", "gone", "--output", "json", stderr=deaf))
    assert (code, record["status"], str(record["error"]).split(":")[0]) == (66, "failed", "SourceUnavailable")
    code, answer = ended(manager.start("execute", "nobody", "--output", "json", stderr=deaf))
    assert (code, str(answer["error"]).split(":")[0]) == (64, "InvalidSpec")


def test_a_restore_writes_what_it_says(manager: Manager, deaf: int, tmp_path: Path) -> None:
    manager.record("a")
    code, answer = ended(manager.start("restore", "a", "--target", str(tmp_path / "back"), "--output", "json", stderr=deaf))
    assert (code, answer["status"], (tmp_path / "back" / "readings").read_text()) == (0, "completed", "21.5\n")


def remembered(state: Path) -> dict[str, object]:
    return dict(json.loads((state / "scheduler.json").read_text())["jobs"]["a"])


def test_a_scheduler_keeps_one_record_of_a_run(manager: Manager, deaf: int, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    mark = {"schedule": "0 2 * * *", "counted": (datetime.now(UTC) - timedelta(days=3)).isoformat(), "started": None, "again": False}
    (state / "scheduler.json").write_text(json.dumps({"version": 1, "jobs": {"a": mark}}))
    process = manager.start("run", "--listen", "", stderr=deaf)
    try:
        wait_until("its end was taken", lambda: (state / "records/a.jsonl").exists() and remembered(state)["started"] is None, process)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    kept = [json.loads(line) for line in (state / "records/a.jsonl").read_text().splitlines()]
    assert [record["status"] for record in kept] == ["completed"]
