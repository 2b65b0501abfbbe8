"""What a service says of slots whose runs have not ended: from the files that it and its runs keep."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from iot_backup.core.due import Mark
from iot_backup.standalone import configfile
from iot_backup.standalone.journal import Journal
from iot_backup.standalone.notifying import noticing
from iot_backup.standalone.notifying.spool import Spool
from iot_backup.standalone.records import Record
from iot_backup.standalone.scheduling.remembering import Memory

HOUR, DAY = timedelta(hours=1), timedelta(days=1)


@pytest.mark.parametrize(
    ("begun", "missed"),
    [
        pytest.param(None, ["backup of long was missed", "backup of waits was missed"], id="nothing runs"),
        pytest.param(3 * HOUR, [], id="a long run, and one that waits for its place"),
        pytest.param(27 * HOUR, ["backup of long was missed", "backup of waits was missed"], id="a run that hangs"),
    ],
)
def test_what_a_run_under_way_has_to_do_with_slots(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, begun: timedelta | None, missed: list[str]
) -> None:
    monkeypatch.setattr(noticing, "_start", lambda *_: None)
    now = datetime.now(UTC)
    slot = now - 3 * HOUR
    jobs = [{"id": id_, "source": str(tmp_path / "source"), "schedule": f"{slot.minute} {slot.hour} * * *"} for id_ in ("long", "waits")]
    hook = {"slack": {"webhook_url": "http://127.0.0.1:9/"}}
    file = tmp_path / "backup.yml"
    file.write_text(json.dumps({"backup": {"storage": {"local": {"path": str(tmp_path / "store")}}, "jobs": jobs, "notifications": hook}}))
    state = tmp_path / "state"
    state.mkdir()
    before = slot - DAY + HOUR if begun != 27 * HOUR else slot - 2 * DAY + HOUR
    for job in jobs:
        Journal(state).add(Record(job["id"], "full", "completed", id="a" * 16, start_time=before, end_time=before))
    marks = {job["id"]: Mark(job["schedule"], before) for job in jobs}
    if begun:
        marks["long"] = marks["long"].begun(now - begun)
    Memory(state, "scheduler").write(marks, {})
    noticing.noticed(configfile.loaded(file, {}), file, state, ZoneInfo("UTC"))
    assert sorted(waiting.message.subject for waiting in Spool(state).waiting()) == missed
