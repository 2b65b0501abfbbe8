"""Standard error takes nothing: its reader is gone, or the disk below the log is full. Backups are made and told all the same."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tests.pipeline.manager import Manager, wait_until
from tests.pipeline.stored import spoil
from tests.pipeline.test_scheduling import DAILY
from tests.pipeline.worker_process import PATIENCE, ROOT


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    source = tmp_path / "source"
    source.mkdir()
    (source / "readings").write_text("21.5\n")
    jobs = [
        {"id": "a", "type": "full", "source": str(source), "schedule": DAILY},
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


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("execute", "a"), 0),
        (("execute", "gone"), 66),
        (("execute", "nobody", "--output", "json"), 64),
        (("verify",), 65),
        (("doctor",), 64),
    ],
    ids=str,
)
def test_an_answer_that_nobody_takes_changes_no_exit_code(
    manager: Manager, deaf: int, tmp_path: Path, arguments: tuple[str, ...], code: int
) -> None:
    manager.record("a")
    if arguments == ("verify",):
        (archive,) = (tmp_path / "store").rglob("*.age")
        spoil(archive)
    assert manager.start(*arguments, stdout=deaf, stderr=subprocess.DEVNULL).wait(timeout=PATIENCE) == code


def test_a_failure_is_spooled_for_people_also_where_nobody_takes_the_answer(manager: Manager, deaf: int, tmp_path: Path) -> None:
    manager.notifications = "{slack: {webhook_url: 'http://127.0.0.1:9/'}}"
    assert manager.start("execute", "gone", stdout=deaf, stderr=subprocess.DEVNULL).wait(timeout=PATIENCE) == 66
    assert list((tmp_path / "state" / "notices").glob("2*.json"))


def test_without_any_standard_streams_runs_end_with_their_own_codes(manager: Manager) -> None:
    manager.record("a")
    for arguments, code in ((("execute", "a"), 0), (("list",), 0), (("restore", "a", "--target", str(manager.base)), 64)):
        command = shlex.join([sys.executable, "-m", "iot_backup", *arguments, "--config", str(manager.base / "backup.yml")])
        environ = {**os.environ, **manager.environ, "STATE_DIR": str(manager.base / manager.state), "PYTHONPATH": str(ROOT / "operator")}
        assert subprocess.run(["sh", "-c", f"{command} <&- >&- 2>&-"], env=environ, check=False).returncode == code, arguments


def test_names_that_the_terminals_encoding_lacks_are_shown_in_escapes(manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "source" / "\u043f\u0443\u0442\u044c").write_text("x")
    manager.record("a")
    shown = manager.run("show", "a", PYTHONIOENCODING="latin-1")
    assert (shown.code, "\\u043f" in shown.out) == (0, True)


def remembered(state: Path) -> dict[str, object]:
    return dict(json.loads((state / "scheduler.json").read_text())["jobs"]["a"])


def test_a_scheduler_keeps_one_record_of_a_run(manager: Manager, deaf: int, tmp_path: Path) -> None:
    state = tmp_path / "state"
    state.mkdir()
    mark = {"schedule": DAILY, "counted": (datetime.now(UTC) - timedelta(days=3)).isoformat(), "started": None, "again": False}
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
