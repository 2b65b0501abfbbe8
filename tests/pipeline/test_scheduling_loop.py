"""The scheduler's loop with a clock of the test and real children: months of slots, no burst, hooks that fail."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iot_backup.errors import InvalidSpec
from iot_backup.standalone.journal import Journal
from iot_backup.standalone.records import Record
from iot_backup.standalone.scheduling.backups import Backups
from iot_backup.standalone.scheduling.children import Ended
from iot_backup.standalone.scheduling.loop import Loop
from iot_backup.standalone.scheduling.remembering import Memory
from iot_backup.standalone.scheduling.systemd import Notifier
from tests.pipeline.manager import wait_until
from tests.pipeline.worker_process import PATIENCE

START = datetime(2026, 3, 28, 12, 0, tzinfo=UTC)


class Clock:
    now = START

    def __call__(self) -> datetime:
        return self.now


class Site:
    """A loop whose turns the test makes."""

    def __init__(self, base: Path, schedules: dict[str, str], *hooks: Callable[[Record], None], parallel: int = 1) -> None:
        base.joinpath("source").mkdir(exist_ok=True)
        base.joinpath("source", "readings").write_text("21.5\n")
        self.file = base / "backup.yml"
        jobs = [
            {"id": id_, "source": str(base / "source"), "schedule": schedule, "encryption": False, "chain": id_}
            for id_, schedule in schedules.items()
        ]
        head = {"time_zone": "Europe/Berlin", "max_parallel": parallel, "storage": {"local": {"path": str(base / "store")}}}
        self.file.write_text(json.dumps({"backup": head | {"jobs": jobs}}))
        self.clock = Clock()
        memory = Memory(base / "state", "scheduler")
        self.records: list[Record] = []
        work = Backups(self.file, self._state(base), os.environ, memory, (), (*hooks, self.records.append))
        self.loop = Loop(work, memory, Notifier({}), self.clock)

    @staticmethod
    def _state(base: Path) -> Path:
        (base / "state").mkdir(exist_ok=True)
        return base / "state"

    def turn(self) -> list[str]:
        """Ids of what this turn started; all have ended when it returns."""
        self.loop.turn()
        begun = sorted(self.loop.running)
        while self.loop.running:
            event = self.loop.events.get(timeout=PATIENCE)
            assert isinstance(event, Ended)
            self.loop._handle(event)
        while not self.loop._after.empty():
            task = self.loop._after.get()
            assert task is not None
            task()
        return begun


@pytest.fixture(autouse=True)
def _program(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2] / "operator"))


def test_days_over_the_change_of_the_clocks_and_a_week_asleep(tmp_path: Path) -> None:
    site = Site(tmp_path, {"daily": "30 2 * * *"})
    began = []
    for hours in (*range(0, 72, 1), 240, 241, 242):
        site.clock.now = START + timedelta(hours=hours)
        began += [(f"{site.clock.now:%m-%d %H}") for _ in site.turn()]
    assert began == ["03-29 01", "03-30 01", "03-31 01", "04-07 12"]
    assert [record.status for record in site.records] == ["completed"] * 4


def test_a_set_clock_makes_no_burst(tmp_path: Path) -> None:
    site = Site(tmp_path, {"daily": "30 2 * * *"})
    began = []
    for day in (0, 3650, 3650, 0, 0, 1, 1, 2):
        site.clock.now = START + timedelta(days=day)
        began += [day for _ in site.turn()]
    assert began == [3650, 1, 2]


def test_as_many_at_once_as_the_config_says(tmp_path: Path) -> None:
    site = Site(tmp_path, {"a": "0 1 * * *", "b": "0 1 * * *", "c": "0 1 * * *"}, parallel=2)
    site.turn()
    site.clock.now += timedelta(days=1)
    assert [site.turn(), site.turn(), site.turn()] == [["a", "b"], ["c"], []]


def test_a_hook_that_fails_harms_no_other(tmp_path: Path) -> None:
    def fails(record: Record) -> None:
        raise ValueError(record.job)

    site = Site(tmp_path, {"a": "0 1 * * *"}, fails)
    site.turn()
    site.clock.now += timedelta(days=1)
    site.turn()
    assert [record.status for record in site.records] == ["completed"]


def test_a_run_by_hand_is_waited_for_without_a_failed_record(tmp_path: Path) -> None:
    site = Site(tmp_path, {"a": "0 1 * * *"})
    site.turn()
    site.clock.now += timedelta(days=1)
    from iot_backup.standalone.state import State

    with State(tmp_path / "state", "default-plain@local").alone("a"):
        assert site.turn() == []
    site.loop._taken.clear()
    assert site.turn() == ["a"]
    assert [record.status for record in site.records] == ["completed"]


@pytest.mark.parametrize("answer", ["", "0", "null", "[1]", '{"error": null}', "[]\n"])
def test_a_run_that_printed_no_record_is_taken_at_what_it_kept(tmp_path: Path, answer: str) -> None:
    """A record of ours beside it would make a failure of a backup that is there."""
    site = Site(tmp_path, {"a": "0 1 * * *"})
    kept = Record("a", "full", "completed", "1" * 16, start_time=START, end_time=START)
    Journal(tmp_path / "state").add(kept)
    site.loop.work.ended(Ended("a", 1, answer), START + timedelta(microseconds=999_999), stopped=False)
    assert (site.records, Journal(tmp_path / "state").of("a")) == ([kept], [kept])


@pytest.mark.parametrize("answer", ["", "0", "null", "[1]", '{"error": null}'])
def test_an_earlier_record_is_not_taken_for_that_of_a_run_without_one(tmp_path: Path, answer: str) -> None:
    site = Site(tmp_path, {"a": "0 1 * * *"})
    Journal(tmp_path / "state").add(Record("a", "full", "completed", "1" * 16, start_time=START, end_time=START))
    site.loop.work.ended(Ended("a", 1, answer), START + timedelta(seconds=1), stopped=False)
    assert [(record.status, (record.error or "").split(" and ")[0]) for record in site.records] == [
        ("failed", "Internal: the run ended with code 1")
    ]


def test_a_spoilt_config_on_disk_does_not_stop_the_next_run(tmp_path: Path) -> None:
    site = Site(tmp_path, {"a": "0 1 * * *"})
    site.turn()
    site.file.write_text("backup: nonsense")
    with pytest.raises(InvalidSpec, match=r"backup\.yml:1: backup must be a section"):
        site.loop.work.reload()
    site.clock.now += timedelta(days=1)
    site.turn()
    assert [record.status for record in site.records] == ["completed"]


def test_a_hook_that_hangs_delays_no_backup_and_not_the_end_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iot_backup.standalone.scheduling.loop._PATIENCE", 0.1)
    hangs, seen = threading.Event(), []

    def hook(record: Record) -> None:
        seen.append(record.job)
        hangs.wait(PATIENCE)

    site = Site(tmp_path, {"a": "0 1 * * *", "b": "0 1 * * *"}, hook)
    site.loop.turn()
    site.clock.now += timedelta(days=1)

    def stop_after_both() -> None:
        wait_until("the second ran, too", (tmp_path / "state/records/b.jsonl").exists)
        site.loop.events.put(signal.SIGTERM)

    guard = threading.Thread(target=stop_after_both)
    guard.start()
    site.loop.run()
    guard.join()
    assert seen == ["a"], "the hook is still at the first one"
    hangs.set()


def test_a_config_that_cannot_even_be_read_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path, {"a": "0 1 * * *"})
    site.turn()
    for content in (b"backup: \0\0\0", b"backup: &a\n  site: *a\n"):
        site.file.write_bytes(content)
        site.loop._handle(signal.SIGHUP)
    monkeypatch.setattr(site.loop.work, "reload", lambda: 1 / 0)
    site.loop._handle(signal.SIGHUP)
    site.clock.now += timedelta(days=1)
    assert site.turn() == ["a"]


def test_where_no_thread_is_to_be_had_no_run_goes_on_unseen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(tmp_path, {"a": "0 1 * * *"})
    site.turn()
    site.clock.now += timedelta(days=1)
    started = []

    class Popen(subprocess.Popen[bytes]):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[call-overload]
            started.append(self)

    class Thread(threading.Thread):
        def start(self) -> None:
            raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr("iot_backup.standalone.scheduling.children.threading.Thread", Thread)
        patched.setattr("iot_backup.standalone.scheduling.children.subprocess.Popen", Popen)
        site.loop.turn()
    assert (site.loop.running, [child.returncode for child in started]) == ({}, [-signal.SIGKILL])
    site.loop._taken.clear()
    assert site.turn() == ["a"]


def test_retention_that_a_reader_keeps_away_is_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    from iot_backup.standalone.scheduling import retiring
    from iot_backup.standalone.state import VERIFYING, State

    site = Site(tmp_path, {"a": "0 1 * * *"})
    rules = json.loads(site.file.read_text())
    rules["backup"]["jobs"][0]["retention_days"] = 3
    site.file.write_text(json.dumps(rules))
    site.loop.work.reload()
    site.turn()
    site.clock.now += timedelta(days=1)
    site.turn()
    assert isinstance(site.loop.work, Backups)
    with State(tmp_path / "state", "default-plain@local").reading(VERIFYING, lambda: False), caplog.at_level("INFO", "iot_backup"):
        retiring.retired(site.loop.work, tmp_path / "state", dict(os.environ), (), site.records[-1])
    assert "retention of a waits for its next run" in caplog.text
