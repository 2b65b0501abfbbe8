"""Records outlive the run, whatever cuts a line or writes beside it."""

from __future__ import annotations

import json
import multiprocessing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iot_backup.errors import AccessDenied
from iot_backup.standalone import journal
from iot_backup.standalone.journal import Journal
from iot_backup.standalone.records import Record

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(number: int = 0, job: str = "db") -> Record:
    start = NOON + timedelta(minutes=number)
    return Record(job, "full", "completed", f"{number:016x}", start_time=start, end_time=start, files=number, warnings=("A: b",))


def test_nothing_is_known_of_a_job_that_never_ran(tmp_path: Path) -> None:
    kept = Journal(tmp_path / "state")
    assert (kept.of("db"), kept.jobs()) == ([], [])
    assert not (tmp_path / "state").exists()


def test_what_was_added_comes_back_in_order(tmp_path: Path) -> None:
    kept = Journal(tmp_path)
    for number in range(3):
        kept.add(record(number))
    kept.add(record(job="config"))
    assert Journal(tmp_path).of("db") == [record(0), record(1), record(2)]
    assert kept.jobs() == ["config", "db"]


def test_a_line_that_a_crash_cut_costs_no_other(tmp_path: Path) -> None:
    kept = Journal(tmp_path)
    kept.add(record(1))
    file = tmp_path / "records/db.jsonl"
    file.write_bytes(file.read_bytes() + file.read_bytes()[:40])
    assert kept.of("db") == [record(1)]
    kept.add(record(2))
    assert kept.of("db") == [record(1), record(2)]


def spoilt(**fields: object) -> str:
    return json.dumps(record(7).plain() | fields)


NO_RECORDS = {
    "a number": "0",
    "null": "null",
    "a list": "[]",
    "a text": '"completed"',
    "an empty object": "{}",
    "a nest": "[" * 100_000,
    "zeros of a power cut": "\0" * 80,
    "a start in seconds": spoilt(start_time=1772366400),
    "an end without a zone": spoilt(end_time="2026-03-01T12:00:00"),
    "an end in words": spoilt(end_time="yesterday"),
    "a number of warnings": spoilt(warnings=3),
    "one warning": spoilt(warnings="A: b"),
    "no warning": spoilt(warnings=[None]),
    "a list of copies": spoilt(copies=["s3"]),
    "a number for a copy": spoilt(copies={"s3": 1}),
    "a size in words": spoilt(size_bytes="12"),
    "half a file": spoilt(files=1.5),
    "a size beyond floats": spoilt(source_bytes=10**400),
    "no status": spoilt(status=None),
    "a list of jobs": spoilt(job=["db"]),
    "an object of an error": spoilt(error={"reason": "Busy"}),
}


@pytest.mark.parametrize("line", NO_RECORDS.values(), ids=NO_RECORDS)
def test_a_line_that_is_no_record_costs_no_other(tmp_path: Path, line: str) -> None:
    kept = Journal(tmp_path)
    kept.add(record(1))
    with (tmp_path / "records/db.jsonl").open("a") as file:
        file.write(line + "\n")
    kept.add(record(2))
    assert kept.of("db") == [record(1), record(2)]
    assert kept.totals("db").runs == 2


def test_a_field_of_a_newer_version_is_left_out(tmp_path: Path) -> None:
    kept = Journal(tmp_path)
    kept.add(record(1))
    file = tmp_path / "records/db.jsonl"
    file.write_text(file.read_text().replace("{", '{"new": [1], ', 1))
    assert kept.of("db") == [record(1)]


def test_old_records_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEPT", 5)
    kept = Journal(tmp_path)
    for number in range(23):
        kept.add(record(number))
    found = kept.of("db")
    assert 5 <= len(found) <= 10
    assert found == [record(number) for number in range(23 - len(found), 23)]


def _add(folder: Path, job: str, count: int) -> None:
    for number in range(count):
        Journal(folder).add(record(number, job))


def test_processes_do_not_disturb_each_other(tmp_path: Path) -> None:
    processes = [multiprocessing.get_context("fork").Process(target=_add, args=(tmp_path, "db", 20)) for _ in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert len(Journal(tmp_path).of("db")) == 60


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(AccessDenied, match="--state-dir"):
        Journal(tmp_path / "state").add(record())


def ran(status: str, number: int) -> Record:
    """As a run leaves it that took so many seconds."""
    start = NOON + timedelta(minutes=number)
    stored = f"{number:016x}" if status in ("completed", "partial") else None
    return Record("db", "full", status, stored, start_time=start, end_time=start + timedelta(seconds=number))


def test_the_newest_backups_stay_however_long_it_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Their time is what an alert goes by: it must not resolve because the records of failures are many."""
    monkeypatch.setattr(journal, "KEPT", 5)
    kept, before = Journal(tmp_path), [ran("completed", 1), ran("completed", 2), ran("partial", 3), ran("partial", 4)]
    for each in before:
        kept.add(each)
    for number in range(5, 60):
        kept.add(ran("failed", number))
        assert {before[1].id, before[3].id} <= {found.id for found in kept.of("db")}
        sums = kept.totals("db")
        assert sums.results == {"completed": 2, "partial": 2, "failed": number - 4}, "each run is counted once"
        assert (sum(sums.durations), sums.seconds) == (4, 10)
    assert 7 <= len(kept.of("db")) <= 10
    assert kept.of("db")[:2] == [before[1], before[3]]
    after = [ran("completed", number) for number in range(60, 80)]
    for each in after:
        kept.add(each)
    assert kept.of("db") == after[-len(kept.of("db")) :], "newer backups let the old ones go"
    assert kept.totals("db").runs == 79


def test_a_cut_last_line_costs_no_record_when_old_ones_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEPT", 5)
    kept = Journal(tmp_path)
    for number in range(9):
        kept.add(record(number))
    with (tmp_path / "records/db.jsonl").open("a") as file:
        file.write('{"id": "00')
    kept.add(record(9))
    assert kept.of("db")[-1] == record(9)
    assert kept.totals("db").runs == 10


def test_totals_never_go_back_when_old_records_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal, "KEPT", 5)
    kept = Journal(tmp_path)
    for number in range(57):
        kept.add(record(number))
        sums = kept.totals("db")
        assert (sums.runs, sums.results, sum(sums.durations)) == (number + 1, {"completed": number + 1}, number + 1)
    assert len(kept.of("db")) <= 10


def test_a_cut_line_of_totals_costs_no_record(tmp_path: Path) -> None:
    kept = Journal(tmp_path)
    kept.add(record(1))
    file = tmp_path / "records/db.jsonl"
    file.write_bytes(b'{"totals": {"resul\n' + file.read_bytes())
    assert (kept.of("db"), kept.totals("db").runs) == ([record(1)], 1)
