"""`backup-manager restore`: what is brought back, and what becomes of what is there."""

from __future__ import annotations

import json
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

from iot_backup.worker.target import UNFINISHED
from tests.pipeline.manager import Manager, interrupt, wait_until
from tests.pipeline.roundtrip import facts

JOB = "daily"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, plant: Path) -> Manager:
    """With one backup of the plant, without what its job leaves out."""
    base = tmp_path_factory.mktemp("manager")
    source = base / "source"
    shutil.copytree(plant, source, symlinks=True)
    (source / "cache").mkdir()
    (source / "cache" / "page").write_text("x")
    source.chmod(0o710)
    os.utime(source, (1, 1))
    jobs: list[dict[str, Any]] = [{"id": JOB, "source": str(source), "encryption": False, "exclude": ["cache/"]}]
    manager = Manager(base, json.dumps({"local": {"path": str(base / "store")}}), jobs, environ={})
    manager.record(JOB)
    shutil.rmtree(source / "cache")
    return manager


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ((), {"thermostats/boiler-room.json", "firmware.bin", "latest"}),
        (("--include", "thermostats/"), {"thermostats/boiler-room.json"}),
        (("--include", "*.bin", "--include", "latest"), {"firmware.bin", "latest"}),
        (("--exclude", "*.bin"), {"thermostats/boiler-room.json", "latest"}),
        (("--include", "nothing"), None),
    ],
)
def test_only_what_is_asked_for_comes_back(made: Manager, tmp_path: Path, options: tuple[str, ...], expected: set[str] | None) -> None:
    answer = made.run("restore", JOB, "--target", str(tmp_path / "back"), "--output", "json", *options)
    if expected is None:
        assert (answer.code, answer.json["error"].partition(":")[0], files(tmp_path / "back")) == (64, "NothingMatches", set())
        return
    assert answer.code == 0, answer
    assert files(tmp_path / "back") == expected
    assert answer.json["type"] == ("selective" if options else "full")
    assert answer.json["files_restored"] == len(expected - {"latest"})


@pytest.mark.parametrize(
    ("mode", "firmware", "stays"),
    [("overwrite", "backup", True), ("skip-existing", "mine", True), ("keep-newer", "mine", True), ("mirror", "backup", False)],
)
def test_what_is_there_is_treated_as_asked(made: Manager, tmp_path: Path, mode: str, firmware: str, stays: bool) -> None:
    target = tmp_path / "back"
    target.mkdir()
    (target / "firmware.bin").write_text("mine")
    (target / "other").write_text("mine")
    answer = made.run("restore", JOB, "--target", str(target), "--on-conflict", mode, "--yes", "--output", "json")
    assert answer.code == 0, answer
    assert ((target / "firmware.bin").read_bytes() == b"mine") == (firmware == "mine")
    assert (target / "other").exists() == stays
    assert (answer.json["kept"] > 0, answer.json["deleted"]) == (firmware == "mine", 0 if stays else 1)


def test_a_plan_writes_nothing_and_says_what_would_be_written(made: Manager, tmp_path: Path) -> None:
    fresh = made.run("restore", JOB, "--target", str(tmp_path / "new" / "back"), "--plan", "--output", "json")
    assert (fresh.code, list(tmp_path.iterdir())) == (0, [])
    # What changes is the folder itself: it gets the mode and time of the source's.
    assert (fresh.json["files"], fresh.json["change"], fresh.json["missing"]) == (2, 1, [])

    target = tmp_path / "back"
    target.mkdir()
    (target / "firmware.bin").write_text("mine")
    before = facts(target)
    plan = made.run("restore", JOB, "--target", str(target), "--plan", "--output", "json").json
    assert facts(target) == before
    assert plan["add"] == fresh.json["add"] - 1
    assert plan["restore_bytes"] == fresh.json["restore_bytes"]


def test_a_person_is_asked_with_the_plan_before_them(made: Manager, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("mine")
    refused = made.run("restore", JOB, "--target", str(tmp_path))
    assert (refused.code, os.listdir(tmp_path)) == (64, ["mine"])
    assert {"files", "add", "free_bytes"} <= {line.split()[0] for line in refused.err.splitlines()}
    no = made.run("restore", JOB, "--target", str(tmp_path), typed=b"n\n")
    assert (no.code, os.listdir(tmp_path)) == (64, ["mine"]), no
    yes = made.run("restore", JOB, "--target", str(tmp_path), typed=b"y\n")
    assert (yes.code, files(tmp_path)) == (0, {"mine", "thermostats/boiler-room.json", "firmware.bin", "latest"}), yes


def test_a_restore_stops_within_two_seconds(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    for number in range(300):
        (source / f"{number}").write_bytes(os.urandom(2 << 20))
    jobs = [{"id": JOB, "source": str(source), "encryption": False, "compression": False}]
    manager = Manager(tmp_path, json.dumps({"local": {"path": str(tmp_path / "store")}}), jobs, environ={})
    manager.record(JOB)
    process = manager.start("restore", JOB, "--target", str(tmp_path / "back"))
    wait_until("first files", lambda: len(list((tmp_path / "back").glob("[0-9]*"))) > 5, process)
    answer, seconds = interrupt(process, signal.SIGTERM)
    assert (answer.code, answer.out) == (143, ""), answer
    assert seconds < 2
    restored = [path for path in (tmp_path / "back").iterdir() if not path.name.startswith(".")]
    assert all(path.read_bytes() == (source / path.name).read_bytes() for path in restored)
    assert not [path for path in (tmp_path / "back").iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("options", [(), ("--on-conflict", "skip-existing"), ("--include", "*.bin")])
def test_a_target_that_the_restore_makes_gets_the_attributes_of_what_was_backed_up(
    made: Manager, tmp_path: Path, options: tuple[str, ...], killed: bool
) -> None:
    """Also where an earlier one made it and was killed before, or while, it wrote."""
    target = tmp_path / "new" / "back"
    if killed:
        target.mkdir(UNFINISHED, parents=True)
        (target / "firmware.bin").write_text("mine")
    answer = made.run("restore", JOB, "--target", str(target), "--output", "json", "--yes", *options)
    assert answer.code == 0, answer
    found = target.stat()
    assert (found.st_mode & 0o7777, found.st_mtime) == (0o710, 1)


def test_a_target_that_the_restore_made_and_wrote_nothing_to_goes_again(made: Manager, tmp_path: Path) -> None:
    """Else the next one would take it for a folder that was there, and leave it its attributes."""
    answer = made.run("restore", JOB, "--target", str(tmp_path / "back"), "--include", "nothing", "--output", "json")
    assert (answer.code, (tmp_path / "back").exists()) == (64, False)
    (tmp_path / "mine").mkdir()
    made.run("restore", JOB, "--target", str(tmp_path / "mine"), "--include", "nothing", "--output", "json")
    assert (tmp_path / "mine").is_dir()


@pytest.mark.parametrize("below", ["", "site/default", "new"])
def test_the_storage_is_no_target(made: Manager, below: str) -> None:
    store = made.base / "store"
    before = facts(store)
    for options in (("--yes", "--on-conflict", "mirror"), ("--plan",)):
        answer = made.run("restore", JOB, "--target", str(store / below), "--output", "json", *options)
        assert (answer.code, answer.json["error"].partition(":")[0]) == (64, "InvalidSpec"), answer
    assert facts(store) == before


@pytest.mark.parametrize("options", [("--yes",), ("--plan",)])
def test_a_file_in_the_targets_way_is_told(made: Manager, tmp_path: Path, options: tuple[str, ...]) -> None:
    (tmp_path / "file").write_text("mine")
    answer = made.run("restore", JOB, "--target", str(tmp_path / "file" / "back"), "--output", "json", *options)
    assert (answer.code, answer.json["error"].partition(":")[0]) == (66, "SourceUnavailable"), answer


@pytest.fixture
def crowded(tmp_path: Path) -> Manager:
    """Two storages and the state folder lie in one tree, `site`; backed up is what else was there, and something in each one's place."""
    source, site = tmp_path / "source", tmp_path / "site"
    for folder in ("var/second", "var/state"):
        (source / folder).mkdir(parents=True)
    (source / "var" / "second" / "file").write_text("of the backup")
    (source / "file").write_text("of the backup")
    jobs: list[dict[str, Any]] = [
        {"id": JOB, "source": str(source), "encryption": False},
        {"id": "other", "source": str(source), "encryption": False, "destination": str(site / "var" / "second")},
    ]
    manager = Manager(tmp_path, json.dumps({"local": {"path": str(site / "nas" / "first")}}), jobs, environ={}, state="site/var/state")
    for job in (JOB, "other"):
        assert manager.record(job)["warnings"] == []
    return manager


def remembered(base: Path) -> dict[bytes, tuple[object, ...]]:
    """All that storages and state hold, but for records and the locks that a restore makes."""
    return {
        path: fact
        for path, fact in facts(base / "site").items()
        if path.startswith((b"nas/first", b"var/second", b"var/state/")) and not path.endswith((b"restoring", b"@local"))
    }


@pytest.mark.parametrize("mode", ["overwrite", "skip-existing", "keep-newer", "mirror"])
def test_no_storage_of_the_config_nor_the_state_folder_is_touched(crowded: Manager, mode: str) -> None:
    before = remembered(crowded.base)
    options = ("restore", JOB, "--target", str(crowded.base / "site"), "--on-conflict", mode, "--output", "json")
    plan = crowded.run(*options, "--plan")
    answer = crowded.run(*options, "--yes")
    assert (answer.code, plan.code) == (0, 0), (answer, plan)
    assert remembered(crowded.base) == before
    assert (crowded.base / "site" / "file").read_text() == "of the backup"
    assert (answer.json["deleted"], plan.json["delete"]) == (0, 0)
    (warning,) = answer.json["warnings"]
    assert warning.startswith("StorageSpared: 2 folders of the target hold backups")
    assert [entry["status"] for entry in crowded.run("list", "--output", "json").json] == ["completed"] * 2
    assert crowded.record(JOB)["status"] == "completed", "the writer key is still there"


@pytest.mark.parametrize("kind", ["file", "link"])
@pytest.mark.parametrize("way", ["nas", "var"])
def test_a_storage_in_the_place_of_a_file_or_link_makes_no_way(crowded: Manager, kind: str, way: str) -> None:
    """`nas` is around the storage that is read, `var` around another one and the state folder."""
    source = crowded.base / "source"
    shutil.rmtree(source / "var")
    (source / way).symlink_to("/mnt") if kind == "link" else (source / way).write_text("of the backup")
    crowded.record(JOB)
    before = remembered(crowded.base)
    for options in (("--plan",), ("--yes",), ("--yes", "--on-conflict", "mirror")):
        answer = crowded.run("restore", JOB, "--target", str(crowded.base / "site"), "--output", "json", *options)
        assert (answer.code, answer.json["error"].partition(":")[0]) == (64, "InvalidSpec"), answer
    assert remembered(crowded.base) == before


@pytest.mark.parametrize("below", ["var/second", "var/second/new", "var/state", "var/state/default@local"])
def test_another_storage_and_the_state_folder_are_no_targets(crowded: Manager, below: str) -> None:
    before = remembered(crowded.base)
    answer = crowded.run("restore", JOB, "--target", str(crowded.base / "site" / below), "--output", "json", "--yes")
    assert (answer.code, answer.json["error"].partition(":")[0]) == (64, "InvalidSpec"), answer
    assert remembered(crowded.base) == before


def test_a_restore_in_place_does_not_set_back_what_is_remembered(tmp_path: Path) -> None:
    """Else backups that were removed since would not be missed."""
    source = tmp_path / "source"
    source.mkdir()
    (source / "file").write_text("x")
    jobs = [{"id": JOB, "source": str(source), "encryption": False}]
    manager = Manager(tmp_path, json.dumps({"local": {"path": str(tmp_path / "store")}}), jobs, environ={}, state="source/state")
    first = manager.record(JOB)
    assert [warning.partition(":")[0] for warning in first["warnings"]] == ["StateInSource"]
    second = manager.record(JOB)
    assert "exclude: /state/" in manager.run("config", "check").err
    answer = manager.run("restore", second["id"], "--target", str(source), "--yes", "--output", "json")
    assert answer.code == 0, answer
    assert [warning.partition(":")[0] for warning in answer.json["warnings"]] == ["StorageSpared"]
    for path in (tmp_path / "store").rglob(f"*{second['id']}*"):
        path.unlink()
    assert manager.record(JOB, code=77)["error"].startswith("RolledBack")

    manager.jobs = [{**jobs[0], "exclude": ["/state/"]}]
    assert manager.record(JOB, "--accept-newest")["warnings"] == []
    assert "state folder" not in manager.run("config", "check").err


def test_what_goes_with_a_folder_that_makes_way_counts_as_deleted(made: Manager, tmp_path: Path) -> None:
    (tmp_path / "firmware.bin" / "inner").mkdir(parents=True)
    (tmp_path / "firmware.bin" / "inner" / "file").touch()
    plan = made.run("restore", JOB, "--target", str(tmp_path), "--plan", "--output", "json")
    answer = made.run("restore", JOB, "--target", str(tmp_path), "--yes", "--output", "json")
    assert (plan.json["delete"], answer.json["deleted"]) == (2, 2)
