"""Texts for people and programs: progress, tables, times, records, what a sound config means."""

from __future__ import annotations

import io
import json
import os
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

import pytest

from iot_backup.errors import Cancelled, InvalidSpec, IotBackupError, WrongKey
from iot_backup.standalone import checking, configfile, output, records, times
from iot_backup.standalone.progress import Moment, shown
from iot_backup.worker.progress import Done, Progress

MIB = 1 << 20
WHEN = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("done", "seconds", "expected", "line"),
    [
        (Done(0, 0), 0.0, 0, "0 B, 0 files, 0 B/s"),
        (Done(3, 10 * MIB), 2.0, 0, "10.0 MiB, 3 files, 5.0 MiB/s"),
        (Done(3, 10 * MIB), 2.0, 610 * MIB, f"{20 * chr(0x2500)} 10.0 MiB of about 610.0 MiB, 3 files, 5.0 MiB/s, 2:00 left"),
        (
            Done(3, 10 * MIB),
            2.0,
            20 * MIB,
            f"{10 * chr(0x2501)}{10 * chr(0x2500)} 10.0 MiB of about 20.0 MiB, 3 files, 5.0 MiB/s, 0:02 left",
        ),
        (Done(3, 10 * MIB), 2.0, 5 * MIB, f"{20 * chr(0x2501)} 10.0 MiB, 3 files, 5.0 MiB/s"),
    ],
)
def test_a_terminal_is_shown_bytes_files_rate_and_what_is_left(done: Done, seconds: float, expected: int, line: str) -> None:
    assert Moment(done, seconds, expected).line() == line


def test_elsewhere_progress_is_json_lines_the_last_one_at_the_end() -> None:
    progress, stream = Progress(), io.StringIO()
    with shown(progress, stream, expected=100):
        progress.follow(lambda: Done(2, 50, 20))
    last = json.loads(stream.getvalue().splitlines()[-1])["progress"]
    assert (last["files"], last["bytes"], last["stored_bytes"], last["expected_bytes"]) == (2, 50, 20, 100)


def deaf(kind: str) -> TextIO | None:
    if kind == "a full disk":
        return Path("/dev/full").open("w")
    if kind == "a pipe without a reader":
        reader, writer = os.pipe()
        os.close(reader)
        return os.fdopen(writer, "w")
    stream = io.StringIO()
    stream.close()
    return stream if kind == "closed" else None


@pytest.mark.parametrize("kind", ["a full disk", "a pipe without a reader", "closed", "none"])
def test_progress_that_nobody_takes_ends_no_run(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iot_backup.standalone.progress._ELSEWHERE", 0.001)
    progress, stream, looks = Progress(), deaf(kind), []
    looked = threading.Event()

    def done() -> Done:
        looks.append(1)
        if len(looks) >= 3:
            looked.set()
        return Done(2, 50, 20)

    progress.follow(done)
    with shown(progress, stream):
        assert looked.wait(30), "it was shown once, and then no more"
    if stream is not None:
        with suppress(OSError):
            stream.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("2026-01-31T12:00Z", WHEN), ("2026-01-31T14:00:00+02:00", WHEN), ("2026-01-31 12:00:00+00:00", WHEN)],
)
def test_times_are_read_with_their_zone(text: str, expected: datetime) -> None:
    assert times.parsed(text) == expected


def test_a_time_without_a_zone_is_this_machines() -> None:
    assert times.parsed("2026-01-31T12:00") == datetime(2026, 1, 31, 12).astimezone()


@pytest.mark.parametrize("text", ["yesterday", "", "2026-13-01", "12:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(InvalidSpec, match="is no time: write"):
        times.parsed(text)


def test_columns_line_up_also_behind_wide_characters() -> None:
    assert output.table(("A", "B"), [("数据", "x"), ("a\x1b[2J", "y")]).splitlines() == [
        "A          B",
        "数据       x",
        "a\\x1b[2J   y",
    ]


def test_fields_leave_out_what_is_empty_and_say_sizes_twice() -> None:
    text = output.fields({"id": "a", "error": None, "size_bytes": 2048, "files": 0, "warnings": ["b", "c"]})
    assert text.splitlines() == [
        "id           a",
        "size_bytes   2048 (2.0 KiB)",
        "files        0",
        "warnings     b",
        "warnings     c",
    ]


@pytest.mark.parametrize("count", [0, 1, 3])
def test_lists_are_written_piece_by_piece_and_are_json(count: int) -> None:
    values = [{"path": "a\udcff"}] * count
    assert json.loads("".join(output.items(values))) == values
    assert json.loads("".join(output.with_items({"id": 1}, "files", values))) == {"id": 1, "files": values}


@pytest.mark.parametrize(("error", "status"), [(WrongKey("no"), "failed"), (Cancelled("no"), "cancelled")])
def test_a_try_that_failed_has_a_record_too(error: IotBackupError, status: str) -> None:
    plain = records.of_failure("job", "full", error, WHEN, WHEN).plain()
    assert list(plain) == [
        *("id", "job", "type", "status", "archive", "start_time", "end_time"),
        *("size_bytes", "source_bytes", "files", "checksum", "warnings", "error", "copies"),
    ]
    assert (plain["status"], plain["error"], plain["start_time"]) == (status, f"{error.reason}: no", "2026-01-31T12:00:00Z")


def test_the_first_config_there_was_is_told_what_will_not_happen_yet() -> None:
    backup = configfile.loaded(Path(__file__).with_name("seed-config.yml"), {})
    found = checking.summary(backup, {})
    assert [(job.id, job.site, job.chain) for job in found.jobs] == [
        ("database-full", "default", "database-full"),
        ("database-incremental", "default", "database-full"),
        ("config-backup", "default-plain", "config-backup"),
    ]
    assert [warning.split(":")[0] for warning in found.warnings] == [
        "BACKUP_ENCRYPTION_KEY is not set",
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY not set",
        "AZURE_STORAGE_ACCOUNT and AZURE_STORAGE_KEY not set",
    ]
    assert found.warnings[-1].endswith("copies to azure will fail")
