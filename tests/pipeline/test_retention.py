"""Retention as a person meets it: the real command on a folder and on a bucket, also when it is killed in the middle."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pipeline.manager import Manager, ended, wait_until
from tests.pipeline.roundtrip import facts
from tests.pipeline.simulated import dated
from tests.pipeline.test_backup_manager import on
from tests.pipeline.worker_process import PATIENCE, ROOT

if TYPE_CHECKING:
    from typing import Any

    from tests.pipeline.sites import Place

FULL, DAILY = "historian", "historian-daily"


def config_of(base: Path, source: Path, **rules: object) -> Manager:
    jobs = [
        {"id": FULL, "source": str(source), "schedule": "0 2 * * 0", "retention": rules},
        {"id": DAILY, "type": "incremental", "source": str(source), "schedule": "0 2 * * 1-6", "retention": rules},
    ]
    return Manager(base, json.dumps({"local": {"path": str(base / "store")}}), jobs)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


def history(manager: Manager, source: Path) -> dict[str, dict[str, object]]:
    """A Full, two on it, a Full and one on it; by id what the tree held then."""
    trees = {}
    for number, job in enumerate((FULL, DAILY, DAILY, FULL, DAILY)):
        (source / f"readings-{number}").write_text(f"{number}" * 100)
        trees[manager.record(job)["id"]] = facts(source)
    return trees


def listed(manager: Manager) -> list[str]:
    return [each["id"] for each in manager.run("list", "--output", "json").json]


def check(manager: Manager, trees: dict[str, dict[str, object]]) -> None:
    """Every one that is listed restores as it was."""
    for id_ in listed(manager):
        target = manager.base / "back"
        shutil.rmtree(target, ignore_errors=True)
        assert manager.run("restore", id_, "--target", str(target)).code == 0
        assert facts(target) == trees[id_]
    assert manager.run("verify", "--level", "2").code == 0


def test_what_no_rule_keeps_goes_and_the_rest_restores(place: Place, tmp_path: Path, source: Path) -> None:
    manager = on(place, config_of(tmp_path, source, keep_last=1))
    trees = history(manager, source)
    ids = list(trees)
    first = manager.run("retention", "--output", "json")
    assert (first.code, first.json["removed"]) == (0, 0), first
    assert "first retention" in first.err
    assert [row["action"] for row in first.json["backups"]] == ["would go", "would go", "would go", "keep", "keep"]
    assert listed(manager) == ids

    done = manager.run("retention", "--output", "json")
    assert (done.code, done.json["removed"]) == (0, 3), done
    kept = {row["id"]: row["reasons"] for row in done.json["backups"] if row["action"] == "keep"}
    assert list(kept) == ids[3:]
    assert f"needed by {ids[4]}" in kept[ids[3]]
    assert listed(manager) == ids[3:]
    check(manager, trees)
    assert manager.run("retention", "--output", "json").json["removed"] == 0
    assert manager.record(DAILY)["type"] == "incremental"
    assert len(listed(manager)) == 3


def test_without_rules_everything_is_kept(tmp_path: Path, source: Path) -> None:
    manager = config_of(tmp_path, source)
    trees = history(manager, source)
    for _ in range(2):
        done = manager.run("retention", "--output", "json")
        assert (done.json["removed"], done.json["notes"]) == (0, []), "nothing of these jobs ever goes"
    assert listed(manager) == list(trees)


def test_the_calendar_of_the_days_to_come_touches_nothing(tmp_path: Path, source: Path) -> None:
    manager = config_of(tmp_path, source, days=10)
    trees = history(manager, source)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")}
    days = manager.run("retention", "--simulate", "40", "--output", "json").json
    assert len(days) == 40
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").rglob("*")} == before
    assert sum(len(day["made"]) for day in days) == 40
    gone = {each["id"]: number for number, day in enumerate(days) for each in day["removed"]}
    assert set(trees) <= set(gone), "all of today's are gone in the end"
    assert min(gone.values()) >= 9
    assert gone[list(trees)[3]] >= gone[list(trees)[2]], "what the newest builds on goes last"
    assert all(day["kept"] for day in days)
    assert "MADE" in manager.run("retention", FULL, "--simulate", "3").out


def later(manager: Manager, days: float, *command: str) -> tuple[int, Any, str]:
    """One command so many days ahead: its exit code, its answer, and what it said."""
    line = [sys.executable, "-m", "tests.pipeline.simulated", str(86400 * days), *command, "--output", "json"]
    places = ["--config", str(manager.base / "backup.yml"), "--state-dir", str(manager.base / manager.state)]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}", **manager.environ}
    done = subprocess.run([*line, *places], cwd=ROOT, env=environ, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return done.returncode, json.loads(done.stdout), done.stderr


def test_after_a_leap_of_the_clock_nothing_is_removed_before_a_person_says_that_it_is_right(tmp_path: Path, source: Path) -> None:
    manager = config_of(tmp_path, source, keep_last=1)
    trees = history(manager, source)
    assert manager.run("retention").code == 0
    dated(tmp_path / "store", datetime.now(UTC) - timedelta(minutes=20))  # what is written on the other day is told from it
    for _ in range(2):
        code, answer, said = later(manager, 40, "retention")
        assert (code, answer["removed"]) == (3, 0), said
        assert f"ClockSkew: the last retention of job {FULL} was" in said
        assert "retention --accept-time" in said
        assert [row["action"] for row in answer["backups"]] == ["would go", "would go", "would go", "keep", "keep"]
        assert listed(manager) == list(trees)
    code, answer, said = later(manager, 40, "retention", "--accept-time")
    assert (code, answer["removed"]) == (0, 3), said
    assert listed(manager) == list(trees)[3:]


def test_a_clock_that_was_ahead_for_a_while_costs_nothing(tmp_path: Path, source: Path) -> None:
    """As `run` does it: a backup and its retention, job after job."""
    manager = config_of(tmp_path, source, days=14)
    trees = history(manager, source)
    assert manager.run("retention").code == 0
    dated(tmp_path / "store", datetime.now(UTC) - timedelta(minutes=20))
    for job in (FULL, DAILY) * 2:
        assert later(manager, 365, "execute", job)[0] == 0
        code, answer, said = later(manager, 365, "retention", job)
        assert (code, answer["removed"]) == (3, 0), said
    assert set(trees) < set(listed(manager))
    assert manager.run("retention", "--output", "json").json["removed"] == 0, "the clock is right again"
    assert set(trees) < set(listed(manager))


def test_the_first_retention_of_each_job_only_looks(tmp_path: Path, source: Path) -> None:
    manager = config_of(tmp_path, source, keep_last=1)
    (source / "readings").write_text("21.5")
    manager.jobs[1]["chain"] = "another"
    ids = [manager.record(job)["id"] for job in (FULL, FULL, DAILY, DAILY)]
    for job in (FULL, DAILY):
        first = manager.run("retention", job, "--output", "json")
        assert (first.code, first.json["removed"]) == (0, 0)
        assert f"the first retention of job {job} on this machine removes nothing" in first.err
    done = manager.run("retention", "--output", "json")
    assert done.json["removed"] == 1, "the daily ones build on each other"
    assert set(listed(manager)) == set(ids[1:])


def test_two_machines_with_one_config_and_one_storage_keep_their_own(tmp_path: Path, source: Path) -> None:
    manager = config_of(tmp_path, source, keep_last=2)
    (source / "readings").write_text("21.5")
    mine = [manager.record(FULL)["id"] for _ in range(3)]
    manager.run("retention")
    manager.state = "other"
    for _ in range(3):
        manager.record(FULL)
    manager.state = "state"
    assert manager.run("retention", "--output", "json").json["removed"] == 1
    assert set(mine[1:]) < set(listed(manager))


def test_a_storage_that_cannot_be_looked_at_stops_no_other(tmp_path: Path, source: Path) -> None:
    manager = config_of(tmp_path, source, keep_last=1)
    (source / "readings").write_text("21.5")
    manager.jobs[0]["destination"] = str(tmp_path / "elsewhere")
    ids = [manager.record(job)["id"] for job in (FULL, DAILY, DAILY, FULL)]
    manager.run("retention")
    (tmp_path / "elsewhere").rename(tmp_path / "away")
    (tmp_path / "elsewhere").write_text("")
    manager.jobs[1] |= {"type": "full"}
    manager.record(DAILY)
    done = manager.run("retention", "--output", "json")
    assert done.code not in (0, 3)
    assert done.json["removed"] == 2, done
    assert [problem.split(": ")[0] for problem in done.json["problems"]] == [f"storage {tmp_path / 'elsewhere'}"]
    assert not [path for id_ in ids[1:3] for path in (tmp_path / "store/site/default/chains").rglob(f"*{id_}*")]


def test_a_backup_that_somebody_took_away_needs_a_person(tmp_path: Path, source: Path) -> None:
    manager = config_of(tmp_path, source, keep_last=1)
    trees = history(manager, source)
    manager.run("retention")
    (manifest,) = (tmp_path / "store").rglob(f"*{list(trees)[1]}.manifest.json")
    manifest.unlink()
    answer = manager.run("retention", "--output", "json")
    assert (answer.code, answer.json["removed"]) == (3, 0)
    assert any("Missing: number 2" in problem for problem in answer.json["problems"]), answer
    assert manager.run("restore", next(iter(trees)), "--target", str(tmp_path / "back")).code == 0


_KILLED = """
import os, signal, sys
from iot_backup.storage.volume import VolumeStore

left = [int(sys.argv.pop(1))]

def dying(name):
    method = getattr(VolumeStore, name)
    def call(self, *arguments):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        return method(self, *arguments)
    setattr(VolumeStore, name, call)

dying("create"); dying("delete")
from iot_backup.cli import main
main(prog_name="backup-manager")
"""


def test_killed_before_any_change_it_makes_nothing_is_lost_and_the_next_call_ends_it(tmp_path: Path, source: Path) -> None:
    manager = config_of(tmp_path, source, keep_last=1)
    trees = history(manager, source)
    manager.run("retention")
    shutil.copytree(tmp_path / "store", tmp_path / "before")
    for at in range(100):
        shutil.rmtree(tmp_path / "store")
        shutil.copytree(tmp_path / "before", tmp_path / "store")
        command = [sys.executable, "-c", _KILLED, str(at), "retention", "--config", str(tmp_path / "backup.yml")]
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT / "operator"),
            **manager.environ,
            "STATE_DIR": str(tmp_path / "state"),
        }
        code = subprocess.run(command, env=environ, capture_output=True, timeout=PATIENCE, check=False).returncode
        assert set(list(trees)[3:]) <= set(listed(manager))
        assert manager.run("retention", "--output", "json").code == 0
        assert listed(manager) == list(trees)[3:]
        assert not [path for name in ("doomed", "announce") for path in (tmp_path / "store").rglob(f"{name}/*")]
        assert manager.run("verify", "--level", "2").code == 0, "no gap, no loss"
        if code == 0:
            break
    check(manager, trees)
    assert at >= 15


def test_a_storage_that_was_copied_without_its_times_is_told(tmp_path: Path, source: Path) -> None:
    manager = config_of(tmp_path, source, keep_last=1)
    trees = history(manager, source)
    manager.run("retention")
    dated(tmp_path / "store", datetime.now(UTC) + timedelta(hours=5))
    done = manager.run("retention", "--output", "json")
    assert (done.code, done.json["removed"]) == (3, 0)
    assert "Misdated: 5 of its backups" in done.json["problems"][0]
    assert listed(manager) == list(trees)


def flipped(manager: Manager, id_: str, suffix: str = "full") -> None:
    """One bit of that backup's archive, under its old time."""
    (archive,) = (manager.base / "store").rglob(f"*{id_}.{suffix}.*")
    stat = archive.stat()
    archive.chmod(0o660)
    content = bytearray(archive.read_bytes())
    content[-40] ^= 1
    archive.write_bytes(content)
    os.utime(archive, (stat.st_mtime, stat.st_mtime))


def good_and_damaged(manager: Manager, source: Path) -> tuple[str, str]:
    """Two backups, the first retention between them; the second one is damaged."""
    (source / "reading").write_text("21.5")
    good = manager.record(FULL)["id"]
    manager.run("retention")
    damaged = manager.record(FULL)["id"]
    flipped(manager, damaged)
    return str(good), str(damaged)


def test_a_backup_that_verify_found_damaged_does_not_push_the_last_good_one_out(tmp_path: Path, source: Path) -> None:
    manager = config_of(tmp_path, source, keep_last=1)
    good, damaged = good_and_damaged(manager, source)
    found = manager.run("verify")
    assert (found.code, "hold add ID --reason damaged" in found.err) == (65, True)
    rows = manager.run("retention", "--output", "json").json["backups"]
    assert {row["id"]: row["action"] for row in rows} == {good: "keep", damaged: "keep"}
    assert "verify found it damaged" in rows[1]["reasons"]
    assert manager.run("restore", good, "--target", str(tmp_path / "back")).code == 0

    newest = manager.record(FULL)["id"]
    manager.run("retention")
    assert listed(manager) == [damaged, newest]
    flipped(manager, damaged)  # as it was
    assert manager.run("verify", "--level", "1").code == 0, "which proves nothing"
    manager.run("retention")
    assert listed(manager) == [damaged, newest]
    assert manager.run("verify").code == 0
    manager.run("retention")
    assert listed(manager) == [newest]


def test_an_incremental_on_a_backup_that_verify_found_damaged_is_a_full(tmp_path: Path, source: Path) -> None:
    manager = config_of(tmp_path, source, keep_last=1)
    (source / "reading").write_text("21.5")
    damaged = manager.record(FULL)["id"]
    on_it = manager.record(DAILY)
    assert on_it["type"] == "incremental"
    flipped(manager, damaged)
    assert manager.run("verify", damaged).code == 65
    record = manager.record(DAILY)
    assert record["type"] == "full"
    assert f"{on_it['id']}, the newest, or one that it builds on is gone, damaged" in record["warnings"][0]
    assert manager.record(DAILY)["type"] == "incremental"


def test_a_person_tells_all_machines_what_is_damaged(tmp_path: Path, source: Path) -> None:
    manager = config_of(tmp_path, source, keep_last=1)
    good, damaged = good_and_damaged(manager, source)
    manager.state = "verifier"
    found = manager.run("verify")
    assert (found.code, "nothing of it is remembered" in found.err) == (65, True)
    manager.state = "state"
    assert manager.run("hold", "add", damaged, "--reason", "damaged").code == 0
    assert manager.run("retention").code == 0
    assert listed(manager) == [good, damaged]
    assert manager.record(DAILY)["type"] == "incremental", "on the good one"
    assert manager.run("hold", "release", damaged, "--reason", "damaged").code == 0


@pytest.mark.parametrize(
    ("reader", "words"),
    [
        (("restore", "{id}", "--target", "{base}/back", "--bandwidth-limit", "2M"), "a restore from this storage is running"),
        (("verify", FULL), "a verification of this storage is running"),
    ],
)
def test_what_is_being_read_is_not_removed(tmp_path: Path, source: Path, reader: tuple[str, ...], words: str) -> None:
    manager = config_of(tmp_path, source, keep_last=1)
    (source / "large").write_bytes(os.urandom(5_000_000))
    wanted = manager.record(FULL)["id"]
    newest = manager.record(FULL)["id"]
    manager.run("retention")
    process = manager.start(*(each.format(id=wanted, base=tmp_path) for each in reader))
    try:
        lock = tmp_path / "state/default@local" / ("restoring" if reader[0] == "restore" else "verifying")
        wait_until("it is halted while it reads", lambda: is_halted_with(process, lock), process)
        answer = manager.run("retention")
        assert (answer.code, words in answer.err) == (75, True), answer
        process.send_signal(signal.SIGCONT)
        assert ended(process).code == 0
    finally:
        process.kill()
    assert listed(manager) == [wanted, newest]
    assert manager.run("retention").code == 0
    assert listed(manager) == [newest]


def is_halted_with(process: subprocess.Popen[str], lock: Path) -> bool:
    """Halt the process. Where it has not got the lock then, it goes on."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    if not is_held(lock):
        process.send_signal(signal.SIGCONT)
        return False
    return True


def is_held(lock: Path) -> bool:
    """Whether some process has it."""
    if not lock.exists():
        return False
    with lock.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
