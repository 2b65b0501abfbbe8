"""What a scheduler remembers on disk."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from iot_backup.core.due import Mark
from iot_backup.errors import AccessDenied, Busy
from iot_backup.standalone.scheduling.remembering import Memory

NOW = datetime(2026, 6, 1, 12, 0, 0, 250000, tzinfo=UTC)


def test_what_was_written_is_read(tmp_path: Path) -> None:
    marks = {"a": Mark("0 2 * * *", NOW), "b": Mark("@daily", NOW, started=NOW, again=True, zone="UTC", ahead=NOW)}
    Memory(tmp_path, "scheduler").write(marks, {"a": {"ok": True}})
    assert Memory(tmp_path, "scheduler").read() == (marks, {"a": {"ok": True}})
    assert Memory(tmp_path, "verifier").read() == ({}, {})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"jobs": {"a": {}}}', '{"jobs": {"a": {"schedule": "x", "counted": 1}}}'])
def test_a_file_that_is_not_ours_is_begun_anew_and_told(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "scheduler.json").write_text(content)
    assert Memory(tmp_path, "scheduler").read() == ({}, {})
    assert "is begun anew" in caplog.text


def test_only_one_has_it_and_one_that_is_gone_has_not(tmp_path: Path) -> None:
    memory = Memory(tmp_path, "scheduler")
    with memory.alone():
        with pytest.raises(Busy), Memory(tmp_path, "scheduler").alone():
            pass
        with Memory(tmp_path, "verifier").alone():
            pass
    with memory.alone():
        pass


def test_a_state_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AccessDenied, match="--state-dir"), Memory(tmp_path / "file", "scheduler").alone():
        pass
