"""`backup-manager run` and `verify --schedule` as processes: they catch up, keep out of each other's way, and end cleanly."""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from iot_backup.standalone.scheduling.loop import LONGEST_SLEEP
from tests.pipeline.manager import Manager, ended, interrupt, wait_until
from tests.pipeline.stored import spoil
from tests.pipeline.worker_process import PATIENCE
from tests.ports import free_port

JOB = "historian"
DAILY = f"0 {(datetime.now().astimezone().hour + 12) % 24} * * *"
"""Half a day away: while a test runs nothing is due but what was missed."""
LONG_AGO = datetime.now(UTC) - timedelta(days=9)


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    source = tmp_path / "source"
    source.mkdir()
    (source / "readings").write_text("21.5\n")
    job = {"id": JOB, "type": "full", "source": str(source), "schedule": DAILY}
    return Manager(tmp_path, f"{{local: {{path: {tmp_path / 'store'}}}}}", [job])


def remember(manager: Manager, counted: datetime, name: str = "scheduler", job: str = JOB, schedule: str = DAILY, **more: Any) -> None:
    state = manager.base / "state"
    state.mkdir(exist_ok=True)
    mark = {"schedule": schedule, "counted": counted.isoformat(), "started": None, "again": False, **more}
    (state / f"{name}.json").write_text(json.dumps({"version": 1, "jobs": {job: mark}}))


def remembered(manager: Manager, name: str = "scheduler", job: str = JOB) -> dict[str, Any]:
    return dict(json.loads((manager.base / "state" / f"{name}.json").read_text())["jobs"][job])


def journal(manager: Manager, job: str = JOB) -> list[dict[str, Any]]:
    file = manager.base / "state" / "records" / f"{job}.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


@contextmanager
def running(manager: Manager, *arguments: str, **environ: str) -> Iterator[subprocess.Popen[str]]:
    process = manager.start(*arguments, **environ)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
            process.communicate()


@contextmanager
def systemd(tmp_path: Path) -> Iterator[tuple[socket.socket, str]]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        address = str(tmp_path / "notify")
        channel.bind(address)
        channel.settimeout(PATIENCE)
        yield channel, address


def got(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=PATIENCE) as answer:
        return str(answer.read().decode())


def test_a_missed_run_is_caught_up_once_and_idle_it_is_small(manager: Manager) -> None:
    remember(manager, LONG_AGO)
    port = free_port()
    with running(manager, "run", "--listen", f"127.0.0.1:{port}") as process:
        wait_until("the run ended", lambda: journal(manager) and remembered(manager)["started"] is None, process)
        assert got(port, "/healthz") == "ok\n"
        metrics = got(port, "/metrics")
        following = float(re.findall(r'^iot_backup_schedule_next_timestamp_seconds{job="historian"} (\S+)$', metrics, re.MULTILINE)[0])
        assert 0 < following - datetime.now(UTC).timestamp() <= 25 * 3600
        with pytest.raises(urllib.error.HTTPError, match="404"):
            got(port, "/")
        status = Path(f"/proc/{process.pid}/status").read_text()
        assert int(re.findall(r"VmRSS:\s+(\d+) kB", status)[0]) <= 60 * 1024
        answer, _ = interrupt(process, signal.SIGTERM)
    assert answer.code == 0, answer
    assert [record["status"] for record in journal(manager)] == ["completed"]
    assert datetime.fromisoformat(remembered(manager)["counted"]) > LONG_AGO


def test_after_a_whole_run_retention_is_done(manager: Manager, tmp_path: Path) -> None:
    """The first one of a machine removes nothing, and remembers that it was there; the second one does its work."""
    manager.jobs[0] |= {"retention": {"keep_last": 1}}
    first = manager.record(JOB)["id"]
    for number in (1, 2):
        remember(manager, LONG_AGO)
        with running(manager, "run", "--listen", "") as process:
            wait_until("the run ended", lambda wanted=number: len(journal(manager)) == 1 + wanted, process)
            wait_until("retention was there", lambda: '"maintained": {"' in memory(tmp_path).replace("{\n    ", "{"), process)
            if number == 2:
                wait_until("the first backup is gone", lambda: not list((tmp_path / "store").rglob(f"*{first}*")), process)
    assert manager.run("verify", "--level", "2").code == 0


def memory(tmp_path: Path) -> str:
    (file,) = (tmp_path / "state").glob("*/memory.json")
    return file.read_text()


def test_a_disabled_job_is_not_started_and_a_new_one_waits(manager: Manager) -> None:
    remember(manager, LONG_AGO)
    manager.jobs[0]["enabled"] = False
    manager.jobs.append(manager.jobs[0] | {"id": "new", "enabled": True, "chain": "new"})
    with running(manager, "run", "--listen", "") as process:
        wait_until("the new one is known", lambda: "new" in (manager.base / "state/scheduler.json").read_text(), process)
        answer, _ = interrupt(process, signal.SIGTERM)
    assert (answer.code, journal(manager), journal(manager, "new")) == (0, [], [])


def test_a_second_one_with_the_same_state_is_refused(manager: Manager, tmp_path: Path) -> None:
    with systemd(tmp_path) as (channel, address), running(manager, "run", "--listen", "", NOTIFY_SOCKET=address):
        assert channel.recv(4096).startswith(b"READY=1\n")
        answer = manager.run("run", "--listen", "")
    assert (answer.code, "another scheduler" in answer.err) == (75, True)


def test_systemd_is_told_and_a_bad_config_does_not_replace_a_good_one(manager: Manager, tmp_path: Path) -> None:
    told: list[str] = []

    def until(word: str) -> str:
        while not told or not told[-1].startswith(word):
            told.append(channel.recv(4096).decode())
        return told[-1]

    with systemd(tmp_path) as (channel, address):
        watched = {"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "200000"}
        with running(manager, "run", "--listen", "", **watched) as process:
            until("READY=1")
            assert "Next: historian at" in until("WATCHDOG=1\nSTATUS=Next")
            file = tmp_path / "backup.yml"
            good = file.read_text()
            file.write_text(good.replace("historian", "renamed").replace("schedule", "shedule"))
            process.send_signal(signal.SIGHUP)
            until("RELOADING=1\nMONOTONIC_USEC=")
            until("READY=1")
            assert "Next: historian at" in until("WATCHDOG=1\nSTATUS=Next")
            file.write_text(good.replace("historian", "renamed"))
            process.send_signal(signal.SIGHUP)
            until("RELOADING=1")
            until("WATCHDOG=1\nSTATUS=Next: renamed")
            answer, _ = interrupt(process, signal.SIGTERM)
            until("STOPPING=1")
    assert answer.code == 0
    assert f"{file}:4: backup.jobs[0].shedule is no key that belongs here; did you mean 'schedule'?" in answer.err


def child_of(pid: int) -> int | None:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else None


def is_gone(pid: int | None) -> bool:
    """Also one that ended and was not reaped."""
    try:
        return not Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return True


def slow(manager: Manager, tmp_path: Path) -> Path:
    """A file that takes a run long enough to be met while it is at it."""
    big = tmp_path / "source" / "big"
    with big.open("wb") as file:
        for _ in range(256):
            file.write(os.urandom(1 << 20))
    return big


def test_stopped_it_stops_its_run_and_the_next_one_makes_up_for_it_once(manager: Manager, tmp_path: Path) -> None:
    big = slow(manager, tmp_path)
    remember(manager, LONG_AGO)
    with running(manager, "run", "--listen", "") as process:
        wait_until("a run began", lambda: child_of(process.pid), process)
        answer, seconds = interrupt(process, signal.SIGTERM)
    assert (answer.code, seconds < 10) == (0, True)
    assert [record["status"] for record in journal(manager)] == ["cancelled"]
    assert remembered(manager)["started"] is not None
    big.unlink()
    with running(manager, "run", "--listen", "") as process:
        wait_until("made up for", lambda: len(journal(manager)) == 2 and remembered(manager)["started"] is None, process)
        interrupt(process, signal.SIGTERM)
    assert journal(manager)[1]["status"] == "completed"


def test_a_stop_is_heard_at_once_whichever_thread_is_given_it(manager: Manager) -> None:
    remember(manager, datetime.now(UTC))
    with running(manager, "run", "--listen", f"127.0.0.1:{free_port()}") as process:
        wait_until("it waits", lambda: remembered(manager)["counted"], process)
        wait_until("other threads are there", lambda: len(others(process.pid)) > 1, process)
        asked = time.monotonic()
        for thread in others(process.pid):
            ctypes.CDLL(None).tgkill(process.pid, thread, signal.SIGTERM)
        answer = ended(process)
    assert answer.code == 0, answer
    assert time.monotonic() - asked < LONGEST_SLEEP / 2


def others(pid: int) -> list[int]:
    """Threads of the process but its first one."""
    return [int(thread) for thread in os.listdir(f"/proc/{pid}/task") if int(thread) != pid]


def test_killed_it_leaves_no_run_behind_and_nothing_stuck(manager: Manager, tmp_path: Path) -> None:
    big = slow(manager, tmp_path)
    remember(manager, LONG_AGO)
    with running(manager, "run", "--listen", "") as process:
        wait_until("a run began", lambda: child_of(process.pid), process)
        child = child_of(process.pid)
        process.kill()
        process.communicate()
    wait_until("the run is gone", lambda: is_gone(child))
    big.unlink()
    with running(manager, "run", "--listen", "") as process:
        wait_until(
            "made up for",
            lambda: (found := journal(manager)) and found[-1]["status"] == "completed" and remembered(manager)["started"] is None,
            process,
        )
        interrupt(process, signal.SIGTERM)
    assert remembered(manager)["again"] is False


def test_a_run_that_dies_leaves_a_record(manager: Manager, tmp_path: Path) -> None:
    slow(manager, tmp_path)
    remember(manager, LONG_AGO)
    with running(manager, "run", "--listen", "") as process:
        wait_until("a run began", lambda: child_of(process.pid), process)
        child = child_of(process.pid)
        assert child is not None
        os.kill(child, signal.SIGKILL)
        wait_until("there is a record", lambda: journal(manager), process)
        interrupt(process, signal.SIGTERM)
    (record,) = journal(manager)
    assert record["status"] == "failed"
    assert record["error"].startswith("Internal: the run was ended by signal 9 and left no record. ")


def contents(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.stat().st_mtime_ns, path.stat().st_size) for path in (folder, *folder.rglob("*")))


@pytest.mark.parametrize("by", ["option", "environment"])
def test_the_verifier_verifies_by_schedule_and_changes_nothing(manager: Manager, tmp_path: Path, by: str) -> None:
    manager.record(JOB)
    before = contents(tmp_path / "store")
    remember(manager, LONG_AGO, "verifier", "verification", DAILY)
    port = free_port()
    schedule = ("--schedule", DAILY) if by == "option" else ()
    environ = {} if by == "option" else {"VERIFICATION_SCHEDULE": DAILY}
    file = tmp_path / "state" / "verifier.json"
    with running(manager, "verify", *schedule, "--level", "2", "--listen", f"127.0.0.1:{port}", **environ) as process:
        wait_until("it was verified", lambda: json.loads(file.read_text()).get("kept"), process)
        metrics = got(port, "/metrics")
        answer, _ = interrupt(process, signal.SIGTERM)
    assert answer.code == 0, answer
    result = json.loads(file.read_text())["kept"]["verification"]
    assert (result["ok"], result["backups"], result["problems"]) == (True, 1, [])
    assert "\niot_backup_verification_last_success 1.0\n" in metrics
    assert contents(tmp_path / "store") == before


def test_a_broken_archive_is_noticed_by_the_verifier(manager: Manager, tmp_path: Path) -> None:
    record = manager.record(JOB)
    archive = next(tmp_path.joinpath("store").rglob(Path(record["archive"]).name))
    spoil(archive)
    remember(manager, LONG_AGO, "verifier", "verification", DAILY)
    file = tmp_path / "state" / "verifier.json"
    with running(manager, "verify", "--schedule", DAILY, "--level", "2", "--listen", "") as process:
        wait_until("it was verified", lambda: json.loads(file.read_text()).get("kept"), process)
        interrupt(process, signal.SIGTERM)
    result = json.loads(file.read_text())["kept"]["verification"]
    assert (result["ok"], result["failed"]) == (False, [record["id"]])


def test_a_verifier_keeps_the_config_that_says_who_is_told_if_the_file_is_spoilt(manager: Manager, tmp_path: Path) -> None:
    manager.record(JOB)
    config = tmp_path / "backup.yml"
    remember(manager, LONG_AGO, "verifier", "verification", DAILY)
    file = tmp_path / "state" / "verifier.json"
    with running(manager, "verify", "--schedule", DAILY, "--level", "1", "--listen", "") as process:
        wait_until("it was verified", lambda: json.loads(file.read_text()).get("kept"), process)
        good = config.read_text()
        config.write_bytes(b"backup: \0")
        process.send_signal(signal.SIGHUP)
        interrupt(process, signal.SIGTERM)
    assert (tmp_path / "state" / "verifier.yml").read_text() == good


@pytest.mark.parametrize(
    ("arguments", "code"),
    [(("--schedule", "61 * * * *"), 64), (("--schedule", DAILY, JOB), 64), (("--schedule", DAILY, "--listen", "here"), 2)],
)
def test_what_a_verifier_cannot_do_is_refused(manager: Manager, arguments: tuple[str, ...], code: int) -> None:
    assert ended(manager.start("verify", *arguments)).code == code
