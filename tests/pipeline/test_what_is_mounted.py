"""What is mounted in a target, and the storages in it, stay whatever a restore is asked to do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iot_backup.core.spec import OnConflict
from iot_backup.errors import InvalidSpec, IotBackupError, SourceUnavailable
from iot_backup.worker.chosen import chosen
from iot_backup.worker.comparing import Compared, Comparison
from iot_backup.worker.extract import Rules
from iot_backup.worker.mirror import Mirror
from iot_backup.worker.selection import EVERYTHING, Selection
from iot_backup.worker.unpacking import Unpacked
from tests.mounting import mounted
from tests.pipeline.roundtrip import Backup, back_up, bring_back, facts, index_of

TMPFS = ("-t", "tmpfs", "-o", "size=1m", "tmpfs")
RULES: list[OnConflict] = ["Overwrite", "KeepNewer", "SkipExisting", "Mirror"]


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    (tmp_path / "outside" / "inner").mkdir(parents=True)
    (tmp_path / "outside" / "precious").write_text("mine")
    return tmp_path / "outside"


def rules(rule: OnConflict, spared: Path | None = None, *, acts: bool = True, asked: Selection = EVERYTHING) -> Rules:
    """`spared`: a folder as the storage's."""
    stores = frozenset({(spared.stat().st_dev, spared.stat().st_ino)}) if spared else frozenset()
    return Rules(rule, asked, Mirror(asked, acts=acts, stores=stores) if rule == "Mirror" else None, spared=stores)


def under(rule: OnConflict, backup: Backup, target: Path, spared: Path | None = None) -> Unpacked:
    return bring_back(backup, target, rules=rules(rule, spared))


def foretold(rule: OnConflict, backup: Backup, target: Path, spared: Path | None = None) -> tuple[Compared, int]:
    """What a plan finds, and how many paths Mirror would remove."""
    how = rules(rule, spared, acts=False)
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    comparison = Comparison(root, how)
    try:
        for row in chosen(index_of(backup), how.selection):
            comparison.add(row)
        comparison.finish()
    finally:
        comparison.close()
        os.close(root)
    return comparison.found, how.mirror.removed if how.mirror else 0


@pytest.mark.parametrize("how", ["another file system", "a bind mount"])
@pytest.mark.parametrize("known", [True, False], ids=["an empty folder in the backup", "not in the backup"])
def test_mirror_takes_nothing_away_below_a_mount_point(source: Path, target: Path, outside: Path, how: str, known: bool) -> None:
    (source / "file").write_text("of the backup")
    if known:
        (source / "mount").mkdir()
    (target / "mount").mkdir()
    backup = back_up(source)
    with mounted(target / "mount", *(TMPFS if how == "another file system" else ("--bind", str(outside)))):
        (target / "mount" / "inner").mkdir(exist_ok=True)
        (target / "mount" / "precious").write_text("mine")
        (target / "gone").touch()
        assert foretold("Mirror", backup, target)[1] == 1
        assert under("Mirror", backup, target).removed == 1
        assert sorted(os.listdir(target / "mount")) == ["inner", "precious"]
    assert sorted(os.listdir(target)) == ["file", "mount"]


def test_mirror_leaves_a_file_on_which_another_one_is_mounted(source: Path, target: Path, outside: Path) -> None:
    (source / "file").write_text("of the backup")
    (target / "hosts").touch()
    with mounted(target / "hosts", "--bind", str(outside / "precious")):
        assert under("Mirror", back_up(source), target).removed == 0
        assert (target / "hosts").read_text() == "mine"


@pytest.mark.parametrize("at", ["path", "path/z/deeper"])
@pytest.mark.parametrize("what", ["folder", "file"])
def test_what_is_mounted_makes_no_way_and_nothing_beside_it_goes_before(
    source: Path, target: Path, outside: Path, at: str, what: str
) -> None:
    (source / "path").write_text("of the backup")
    (target / "path").mkdir()
    (target / "path" / "a").write_text("mine")
    mount = target / at
    mount.mkdir(parents=True, exist_ok=True)
    if what == "file" and at != "path":
        mount.rmdir()
        mount.touch()
    backup = back_up(source)
    with mounted(mount, "--bind", str(outside / "precious" if mount.is_file() else outside)):
        before = facts(target / "path")
        with pytest.raises(SourceUnavailable, match=rf"mounted at '{mount}'.*Unmount it"):
            foretold("Overwrite", backup, target)
        with pytest.raises(SourceUnavailable, match=rf"mounted at '{mount}'.*Unmount it"):
            under("Overwrite", backup, target)
        assert facts(target / "path") == before
    assert (outside / "precious").read_text() == "mine"


def test_a_mounted_file_in_the_way_is_told_in_a_sentence(source: Path, target: Path, outside: Path) -> None:
    (source / "hosts").write_text("of the backup")
    (target / "hosts").touch()
    with mounted(target / "hosts", "--bind", str(outside / "precious")):
        with pytest.raises(SourceUnavailable, match=r"something is mounted at 'hosts'.*Unmount it"):
            under("Overwrite", back_up(source), target)
        assert os.listdir(target) == ["hosts"]


def test_mirror_knows_an_overlay_whose_files_have_other_devices_than_their_folder(source: Path, target: Path, tmp_path: Path) -> None:
    lower, disk = tmp_path / "lower", tmp_path / "disk"
    for folder in (lower, disk, target / "merged"):
        folder.mkdir()
    (source / "merged").mkdir()
    (lower / "stale").write_text("of the lower layer")
    with mounted(disk, *TMPFS):
        (disk / "upper").mkdir()
        (disk / "work").mkdir()
        layers = f"lowerdir={lower},upperdir={disk}/upper,workdir={disk}/work,xino=off"
        with mounted(target / "merged", "-t", "overlay", "-o", layers, "overlay"):
            bring_back(back_up(source / "merged"), target / "merged", rules=rules("Mirror"))
            assert os.listdir(target / "merged") == []


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("kind", ["file", "link"])
@pytest.mark.parametrize("where", ["nas", "nas/deep/store"])
def test_a_storage_makes_way_for_nothing(source: Path, target: Path, rule: OnConflict, kind: str, where: str) -> None:
    (source / "nas").symlink_to("/mnt") if kind == "link" else (source / "nas").write_text("of the backup")
    store = target / where
    store.mkdir(parents=True)
    (target / "nas" / "beside").write_text("mine")
    (store / "archive").write_text("a backup")
    backup, before = back_up(source), facts(target / "nas")
    if rule in ("Overwrite", "Mirror"):
        for attempt in (foretold, under):
            with pytest.raises(InvalidSpec, match=rf"'{store}' holds backups.*Leave the path out"):
                attempt(rule, backup, target, store)
    else:
        under(rule, backup, target, store)
    assert facts(target / "nas") == before
    assert sorted(os.listdir(target)) == ["nas"], "nothing unfinished is left"


@pytest.mark.parametrize("rule", RULES)
def test_nothing_is_written_into_a_storage_and_that_is_told(source: Path, target: Path, rule: OnConflict) -> None:
    store = target / "var" / "store"
    for root, text in ((source / "var" / "store", "of the backup"), (store, "a backup")):
        (root / "site").mkdir(parents=True)
        (root / "site" / "archive").write_text(text)
    (source / "var" / "file").write_text("of the backup")
    (source / "link").hardlink_to(source / "var" / "store" / "site" / "archive")
    (store / "more").touch()
    backup, before = back_up(source), facts(store)
    found, deletions = foretold(rule, backup, target, store)
    done = under(rule, backup, target, store)
    assert facts(store) == before
    assert (target / "var" / "file").read_text() == (target / "link").read_text() == "of the backup"
    assert (done.written.spared, done.removed, deletions) == (1, 0, 0)
    assert found.keep >= done.written.kept == 3


def test_mirror_of_a_part_does_not_go_through_a_storage(source: Path, target: Path) -> None:
    """Folders that were not asked for are only looked at when they are cleared: there, too, a storage is known."""
    (source / "store" / "deep").mkdir(parents=True)
    (source / "store" / "deep" / "other").touch()
    store = target / "store"
    (store / "deep").mkdir(parents=True)
    (store / "deep" / "old.log").touch()
    (store / "old.log").touch()
    bring_back(back_up(source), target, rules=rules("Mirror", store, asked=Selection(["*.log"])))
    assert sorted(path.name for path in store.rglob("*.log")) == ["old.log", "old.log"]


def test_what_goes_with_a_folder_that_makes_way_is_counted(source: Path, target: Path) -> None:
    (source / "path").write_text("of the backup")
    (target / "path" / "inner").mkdir(parents=True)
    for name in ("a", "inner/b"):
        (target / "path" / name).touch()
    backup = back_up(source)
    found, _ = foretold("Overwrite", backup, target)
    done = under("Overwrite", backup, target)
    assert found.made_way == done.written.made_way == 3
    assert (target / "path").read_text() == "of the backup"


def test_an_error_of_ours_is_told_as_it_is(source: Path, target: Path) -> None:
    """Not as what failed at another path: links come when their folder is left."""
    (source / "a").symlink_to("b")
    (source / "z").mkdir()
    (target / "a" / "store").mkdir(parents=True)
    with pytest.raises(IotBackupError, match=r"'[^']*/a/store' holds backups"):
        under("Overwrite", back_up(source), target, target / "a" / "store")
