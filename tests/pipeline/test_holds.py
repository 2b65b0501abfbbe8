"""Suspicious runs freeze their chain, and people hold and release: with the real command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.manager import Manager

JOB = "historian"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(40):
        (folder / f"reading-{number:02d}").write_text(f"{number} 21.5\n" * 10)
    return folder


@pytest.fixture
def manager(tmp_path: Path, source: Path) -> Manager:
    job = {"id": JOB, "source": str(source), "retention": {"keep_last": 1}}
    return Manager(tmp_path, f"{{local: {{path: {tmp_path / 'store'}}}}}", [job])


def holds(manager: Manager) -> list[dict[str, Any]]:
    return list(manager.run("hold", "list", "--output", "json").json)


def kept(manager: Manager) -> list[str]:
    return [each["id"] for each in manager.run("list", "--output", "json").json]


def test_a_source_that_was_emptied_freezes_its_chain_until_a_person_has_looked(manager: Manager, source: Path, tmp_path: Path) -> None:
    good = [manager.record(JOB) for _ in range(3)]
    assert [each["warnings"] for each in good] == [[], [], []]
    for path in sorted(source.iterdir())[:25]:
        path.unlink()
    odd = manager.record(JOB)
    (warning,) = odd["warnings"]
    assert warning.startswith("Suspicious: the source has 15 files, and had 40.")
    assert [(each["id"], each["reason"], each["chain"]) for each in holds(manager)] == [(odd["id"], "frozen", JOB)]
    for _ in range(2):  # the first one of a machine removes nothing anyway
        answer = manager.run("retention")
        assert (answer.code, f"frozen because of {odd['id']}" in answer.err) == (3, True), "a person is needed"
    ids = [each["id"] for each in (*good, odd)]
    assert kept(manager) == ids
    assert manager.run("restore", good[-1]["id"], "--target", str(tmp_path / "back")).code == 0
    assert len(os.listdir(tmp_path / "back")) == 40
    assert manager.run("hold", "release", odd["id"], "--reason", "frozen").code == 0
    assert holds(manager) == []
    assert manager.run("retention").code == 0
    assert kept(manager) == ids[-1:]


def test_a_hold_is_there_before_the_backup_is(manager: Manager, source: Path, tmp_path: Path) -> None:
    """A run that dies between the two leaves a hold on nothing, never a suspicious backup without its hold."""
    for _ in range(3):
        manager.record(JOB)
    for path in sorted(source.iterdir())[:25]:
        path.unlink()
    folder = tmp_path / "store/site/default/holds"
    folder.mkdir(mode=0o770)
    os.chmod(folder, 0o2770)
    odd = manager.record(JOB)
    hold = folder / f"{odd['id']}.frozen"
    (manifest,) = (tmp_path / "store").rglob(f"*{odd['id']}.manifest.json")
    assert hold.stat().st_mtime_ns <= manifest.stat().st_mtime_ns
    assert "15 files" in json.loads(hold.read_text())["message"]


def test_a_pinned_backup_stays_with_what_it_builds_on(manager: Manager) -> None:
    first, second, third = (manager.record(JOB)["id"] for _ in range(3))
    assert manager.run("hold", "add", first, "--why", "the audit").code == 0
    (line,) = holds(manager)
    assert (line["id"], line["reason"], line["message"]) == (first, "pinned", "the audit")
    for _ in range(2):
        assert manager.run("retention").code == 0
    assert kept(manager) == [first, third]
    assert manager.run("hold", "release", first).code == 0
    assert manager.run("retention").code == 0
    assert kept(manager) == [third]
    assert second not in kept(manager)


def test_a_damaged_hold_is_listed_and_can_be_released(manager: Manager, tmp_path: Path) -> None:
    first, second = (manager.record(JOB)["id"] for _ in range(2))
    manager.run("retention")
    for id_ in (first, second):
        assert manager.run("hold", "add", id_).code == 0
    (hold,) = (tmp_path / "store").rglob(f"{first}.pinned")
    hold.chmod(0o660)
    hold.write_text(hold.read_text()[:-30])
    stray = hold.with_name("stray")
    stray.write_text("{}")
    lines = {line["id"]: line for line in holds(manager)}
    assert set(lines) == {first, second, "holds/stray"}
    assert (lines[second]["reason"], lines[second]["message"]) == ("pinned", "")
    assert f"holds/{first}.pinned" in lines[first]["message"]
    assert f"hold release {first} --reason pinned" in lines[first]["message"]
    assert "delete that object" in lines["holds/stray"]["message"]
    assert first in manager.run("hold", "list").out
    stray.unlink()
    assert manager.run("retention").code == 65
    assert manager.run("hold", "release", first).code == 0
    assert manager.run("retention").code == 0
    assert [line["id"] for line in holds(manager)] == [second]


def test_what_is_not_there_is_neither_held_nor_released(manager: Manager) -> None:
    id_ = manager.record(JOB)["id"]
    assert manager.run("hold", "add", "f" * 16).code == 66
    assert manager.run("hold", "release", id_).code == 64
    assert holds(manager) == []
