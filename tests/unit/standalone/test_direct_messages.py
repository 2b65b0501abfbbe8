"""What the spool has no room for is told once a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iot_backup.core.alerts import Message
from iot_backup.standalone.notifying import direct

NOW = datetime(2026, 6, 1, 12, tzinfo=UTC)


def message(body: str = "StorageFull: no room", job: str = "a") -> Message:
    return Message("failure", f"backup of {job} failed", body, NOW)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (message("StorageFull: no room\n\nIt has not worked since yesterday."), True),
        (message("KeyMissing: none"), False),
        (message(job="b"), False),
    ],
)
def test_it_is_told_by_job_and_reason(other: Message, same: bool) -> None:
    assert (direct.about(message()) == direct.about(other)) == same


def test_a_sentence_is_no_reason() -> None:
    first, second = message("Backup 1 is complete, since 12:30."), message("Backup 2 is complete, since 12:31.")
    assert direct.about(first) == direct.about(second)


@pytest.mark.parametrize("kept", [True, False], ids=["the disk takes the mark", "it does not"])
def test_it_is_told_again_after_a_day(tmp_path: Path, kept: bool) -> None:
    folder = tmp_path if kept else tmp_path / "nowhere"
    assert direct.untold(folder, [message()], NOW) == [message()]
    direct.mark(folder, [message()], NOW)
    assert direct.untold(folder, [message(), message(job="b")], NOW + timedelta(hours=23)) == [message(job="b")]
    assert direct.untold(folder, [message()], NOW + timedelta(hours=25)) == [message()]
    assert direct.untold(folder, [message()], NOW - timedelta(hours=1)) == [message()], "a mark from the future says nothing"


def test_another_process_sees_the_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    direct.mark(tmp_path, [message()], NOW)
    monkeypatch.setattr(direct, "_here", {})
    assert direct.untold(tmp_path, [message()], NOW + timedelta(hours=1)) == []
