"""Small files are replaced whole or not at all, also where the disk takes nothing more."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from iot_backup.core.alerts import Message, Told
from iot_backup.core.due import Mark
from iot_backup.core.spec import Trust
from iot_backup.errors import AccessDenied
from iot_backup.standalone import durable
from iot_backup.standalone.notifying.spool import Spool
from iot_backup.standalone.scheduling.remembering import Memory as Marks
from iot_backup.standalone.state import Memory, State
from tests.mounting import disk, fill
from tests.unit.standalone.test_scheduler_memory import NOW


def state(folder: Path, entries: int) -> None:
    trust = Trust(repository_id="0" * 32, fingerprint="a" * 64, recipient=None)
    State(folder, "default@local").remember(lambda _: Memory(trust=trust, damaged={f"{number:016x}": 1 for number in range(entries)}))


def scheduler(folder: Path, entries: int) -> None:
    Marks(folder, "scheduler").write({f"job{number}": Mark("0 2 * * *", NOW) for number in range(entries)}, {})


def spool(folder: Path, entries: int) -> None:
    waiting = Spool(folder)
    with waiting.alone("notice"):
        waiting.keep([Message("failure", "a", "x" * 100 * entries, NOW)], ["slack"], Told())


@pytest.mark.parametrize("write", [state, scheduler, spool])
def test_on_a_full_disk_all_stays_as_it_was(tmp_path: Path, write: Callable[[Path, int], None]) -> None:
    with disk(tmp_path / "state", "128k") as folder:
        write(folder, 1)
        fill(folder)
        before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
        with pytest.raises((AccessDenied, OSError), match="No space left on device"):
            write(folder, 500)
        assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before


def test_a_file_is_for_its_owner_alone_and_nothing_is_left_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "file"
    for content in (b"one", b"", b"two"):
        durable.replace(file, content)
        assert (file.read_bytes(), file.stat().st_mode & 0o777, os.listdir(tmp_path)) == (content, 0o600, ["file"])


def test_what_is_prepared_is_seen_when_it_is_renamed(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"old")
    new = durable.prepared(file, b"new")
    assert (file.read_bytes(), new.name) == (b"old", ".file.new")
    new.rename(file)
    assert file.read_bytes() == b"new"
