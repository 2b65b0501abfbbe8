"""What a restore does with what is in the target already, by onConflict."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from iot_backup.core.spec import OnConflict
from iot_backup.errors import TargetFull
from iot_backup.worker import nodes
from iot_backup.worker.extract import Rules
from iot_backup.worker.index import Row
from iot_backup.worker.mirror import Mirror
from iot_backup.worker.selection import Selection
from iot_backup.worker.unpacking import Unpacked
from tests.mounting import disk
from tests.pipeline.roundtrip import Backup, back_up, bring_back, facts, odd_tree

THEN, NOW = 1_000_000_000 * 10**9, 1_700_000_000 * 10**9


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "folder" / "deeper").mkdir(parents=True)
    for name in ("a", "folder/b", "folder/deeper/c", "x"):
        (root / name).write_bytes(b"of the backup")
        os.utime(root / name, ns=(0, THEN + 500))
    os.link(root / "x", root / "y")
    (root / "link").symlink_to("a")
    os.utime(root / "link", ns=(0, THEN + 500), follow_symlinks=False)
    for folder in ("folder/deeper", "folder", "."):
        os.utime(root / folder, ns=(0, THEN + 500))
    return root


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_bytes(b"untouched")
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


@pytest.fixture(autouse=True)
def _nothing_outside_is_touched(target: Path) -> Iterator[None]:
    yield
    assert {p.name: p.read_bytes() for p in (target.parent / "outside").iterdir()} == {"victim": b"untouched"}


def mine(path: Path, when: int = NOW) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"of the target")
    os.utime(path, ns=(0, when))


def under(rule: OnConflict, backup: Backup, target: Path, selection: Selection | None = None, covered: Selection | None = None) -> Unpacked:
    asked = selection or Selection()
    mirror = Mirror(asked, covered or Selection()) if rule == "Mirror" else None
    return bring_back(backup, target, rules=Rules(rule, asked, mirror))


@pytest.mark.parametrize("when", [THEN, THEN + 500, NOW], ids=["older", "of the same time", "newer"])
def test_a_newer_file_stays_under_keep_newer_alone(source: Path, target: Path, when: int) -> None:
    backup = back_up(source)
    for rule in ("Overwrite", "KeepNewer", "SkipExisting"):
        for name in ("a", "folder/b"):
            mine(target / name, when)
        done = under(rule, backup, target)
        stays = rule == "SkipExisting" or (rule == "KeepNewer" and when > THEN + 500)
        for name in ("a", "folder/b"):
            assert (target / name).read_bytes() == (b"of the target" if stays else b"of the backup")
        assert (target / "folder" / "deeper" / "c").read_bytes() == b"of the backup", "what is not there is restored in any case"
        assert done.removed == 0
        if not stays:
            assert done.written.kept == 0
            assert facts(target) == facts(source)
        else:
            assert done.written.kept == 2
        shutil.rmtree(target)
        target.mkdir()


def test_skip_existing_restores_what_is_missing_and_counts_what_stayed(source: Path, target: Path) -> None:
    odd_tree(source / "odd")
    backup = back_up(source)
    under("SkipExisting", backup, target)
    assert facts(target).items() >= {path: fact for path, fact in facts(source).items() if path != b"."}.items()
    (target / "a").unlink()
    shutil.rmtree(target / "odd" / "deep")
    before = {path: fact for path, fact in facts(target).items() if path not in (b".", b"odd")}
    done = under("SkipExisting", backup, target)
    assert facts(target).items() >= before.items()
    assert {path: fact for path, fact in facts(target).items() if path not in (b".", b"odd")} == {
        path: fact for path, fact in facts(source).items() if path not in (b".", b"odd")
    }
    counts = backup.packed.counts
    everything = counts.files + counts.hard_links + counts.symlinks + counts.fifos
    assert done.written.kept + done.written.files + done.written.hard_links + done.written.symlinks + done.written.fifos == everything


@pytest.mark.parametrize("rule", ["KeepNewer", "SkipExisting"])
def test_a_second_name_of_a_file_whose_first_name_stayed_is_the_backups(source: Path, target: Path, rule: OnConflict) -> None:
    (source / "folder" / "z").hardlink_to(source / "x")
    for folder in ("folder", "."):
        os.utime(source / folder, ns=(0, THEN + 500))
    mine(target / "x")
    backup = back_up(source)
    assert [row for row in ("folder/z", "x", "y") if (source / row).stat().st_nlink == 3] == ["folder/z", "x", "y"]
    mine(target / "folder" / "z")
    done = under(rule, backup, target)
    assert (target / "x").read_bytes() == (target / "folder" / "z").read_bytes() == b"of the target"
    assert (target / "y").read_bytes() == b"of the backup"
    assert (target / "y").stat().st_mtime_ns == THEN + 500
    assert (done.written.kept, done.written.hard_links) == (2, 0)


@pytest.mark.parametrize("rule", ["KeepNewer", "SkipExisting"])
@pytest.mark.parametrize("kind", ["file", "link", "link to the folder", "fifo"])
def test_what_stands_in_a_folders_place_stays_and_nothing_is_written_through_it(
    source: Path, target: Path, rule: OnConflict, kind: str
) -> None:
    path = target / "folder"
    {
        "file": lambda: mine(path),
        "link": lambda: path.symlink_to("nowhere"),
        "link to the folder": lambda: path.symlink_to(target.parent / "outside"),
        "fifo": lambda: os.mkfifo(path),
    }[kind]()
    os.utime(path, ns=(0, NOW), follow_symlinks=False)
    before = os.lstat(path)
    done = under(rule, back_up(source), target)
    assert os.lstat(path)[:7] == before[:7]
    assert done.written.kept == 4, "the folder and the three paths below it"
    assert (target / "a").read_bytes() == b"of the backup"


@pytest.mark.parametrize("rule", ["KeepNewer", "SkipExisting"])
def test_a_file_whose_first_name_would_be_behind_what_stays_comes_under_its_second(source: Path, target: Path, rule: OnConflict) -> None:
    (source / "z").hardlink_to(source / "folder" / "b")
    mine(target / "folder")
    done = under(rule, back_up(source), target)
    assert (target / "z").read_bytes() == b"of the backup"
    assert (target / "folder").read_bytes() == b"of the target"
    assert done.written.kept == 4


@pytest.mark.parametrize("rule", ["KeepNewer", "SkipExisting"])
def test_a_folder_in_a_files_place_stays_with_all_that_is_in_it(source: Path, target: Path, rule: OnConflict) -> None:
    mine(target / "a" / "inner", THEN)
    os.utime(target / "a", ns=(0, THEN))
    done = under(rule, back_up(source), target)
    assert (target / "a" / "inner").read_bytes() == b"of the target"
    assert done.written.kept == 1


def test_folders_that_were_there_keep_their_attributes_where_the_rule_says_so(source: Path, target: Path) -> None:
    backup = back_up(source)
    (target / "folder" / "deeper").mkdir(parents=True)
    for name in ("folder/deeper", "folder"):
        (target / name).chmod(0o711)
    under("SkipExisting", backup, target)
    assert (target / "folder").stat().st_mode & 0o777 == (target / "folder" / "deeper").stat().st_mode & 0o777 == 0o711
    os.utime(target / "folder", ns=(0, NOW))
    under("KeepNewer", backup, target)
    assert facts(target) == facts(source), "a folder's time is no sign that somebody wants its mode"


def test_mirror_makes_the_target_what_the_backup_was(source: Path, target: Path) -> None:
    odd_tree(source / "odd")
    backup = back_up(source)
    for name in ("a", "new", "folder/new", "new folder/deep/deeper/file", "odd/new", "folder/deeper/c/inner"):
        mine(target / name)
    (target / "to outside").symlink_to(target.parent / "outside")
    (target / "folder" / "to outside").symlink_to(target.parent / "outside" / "victim")
    os.mkfifo(target / "folder" / "fifo")
    done = under("Mirror", backup, target)
    assert facts(target) == facts(source)
    # new, folder/new, new folder with its two and the file, odd/new, both links, the fifo; what makes way for a file is no such path.
    assert (done.removed, done.written.kept) == (10, 0)
    assert under("Mirror", backup, target).removed == 0


def test_mirror_takes_nothing_away_that_the_backup_could_not_hold(source: Path, target: Path, tmp_path: Path) -> None:
    """Neither what its own exclude left out, nor what it notes as unreadable or skipped: that is no sign of a deletion."""
    subprocess.run(["python3", "-c", f"import socket; socket.socket(socket.AF_UNIX).bind('{source}/socket')"], check=True)
    covered = Selection(exclude=["*.cache", "/logs/"])
    backup = back_up(source, selection=covered)
    for name in ("b.cache", "folder/deep.cache/in it", "logs/today", "socket", "gone", "old/x.cache", "old/y"):
        mine(target / name)
    done = under("Mirror", backup, target, covered=covered)
    left = {str(path.relative_to(target)) for path in target.rglob("*")} - {str(path.relative_to(source)) for path in source.rglob("*")}
    assert left == {"b.cache", "folder/deep.cache", "folder/deep.cache/in it", "logs", "logs/today", "old", "old/x.cache"}
    assert (target / "socket").read_bytes() == b"of the target"
    assert done.removed == 2


def test_mirror_of_a_selection_clears_inside_it_alone(source: Path, target: Path) -> None:
    backup = back_up(source)
    for name in ("mine", "folder/new", "folder/deeper/new", "folder/deeper/new.keep", "other/new"):
        mine(target / name)
    done = under("Mirror", backup, target, Selection(["/folder/deeper/"], ["*.keep"]))
    assert {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()} == {
        "mine",
        "folder/new",
        "folder/deeper/c",
        "folder/deeper/new.keep",
        "other/new",
    }
    assert (done.removed, done.written.files) == (1, 1)


def test_mirror_of_a_pattern_clears_it_in_folders_that_the_backup_knows_and_does_not(source: Path, target: Path) -> None:
    mine(source / "folder" / "one.log", THEN)
    backup = back_up(source)
    for name in ("old.log", "folder/old.log", "folder/deeper/old.log", "unknown/old.log", "unknown/mine", "all/old.log"):
        mine(target / name)
    done = under("Mirror", backup, target, Selection(["*.log"]))
    assert {str(path.relative_to(target)) for path in target.rglob("*") if path.is_file()} == {"folder/one.log", "unknown/mine"}
    assert (target / "all").is_dir(), "a folder that nobody asked for stays, though it is empty now"
    assert done.removed == 5


def test_mirror_leaves_the_file_systems_own_folder_alone(source: Path, target: Path) -> None:
    mine(target / "lost+found" / "#123")
    mine(target / "folder" / "lost+found" / "x")
    under("Mirror", back_up(source), target)
    assert (target / "lost+found" / "#123").exists() == (os.geteuid() == 0)
    assert not (target / "folder" / "lost+found").exists()


def test_mirror_does_not_reach_into_another_file_system(source: Path, target: Path) -> None:
    (target / "around").mkdir()
    mounts = [target / "mounted", target / "around" / "mounted"]
    with disk(mounts[0], "1m"), disk(mounts[1], "1m"):
        for mount in mounts:
            mine(mount / "file")
        mine(target / "around" / "gone")
        done = under("Mirror", back_up(source), target)
        assert [(mount / "file").read_bytes() for mount in mounts] == [b"of the target"] * 2
        assert (done.removed, (target / "around" / "gone").exists()) == (1, False)


def killed_at(number: int, rule: OnConflict, backup: Backup, target: Path, selection: Selection) -> None:
    """A restore in a process of its own, which dies when it should write the content of its file of that number."""
    child = os.fork()
    if child == 0:
        left, write = [number], nodes._write

        def dies(row: Row, content: nodes.Content, descriptor: int) -> None:
            left[0] -= 1
            if not left[0]:
                os._exit(9)
            write(row, content, descriptor)

        nodes._write = dies
        try:
            under(rule, backup, target, selection)
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("asked", [(), ("/app/*",), ("/app/inner/*", "/app/[abc]")], ids=["everything", "in a folder", "in two folders"])
@pytest.mark.parametrize("rule", ["Overwrite", "KeepNewer", "SkipExisting", "Mirror"])
def test_a_restore_that_was_killed_and_is_run_again_leaves_what_it_would_have_left(
    tmp_path: Path, target: Path, rule: OnConflict, asked: tuple[str, ...], number: int
) -> None:
    """Folders that the first one made are no folders of the target's own, and names of one file do not come apart."""
    root = tmp_path / "killed"
    (root / "app" / "inner").mkdir(parents=True)
    for name in ("a", "b", "inner/d"):
        (root / "app" / name).write_bytes(b"of the backup")
    os.link(root / "app" / "a", root / "app" / "c")
    for folder in ("app/inner", "app"):
        (root / folder).chmod(0o2755)
        if os.geteuid() == 0:
            os.chown(root / folder, 1000, 1000)
        os.utime(root / folder, ns=(0, THEN))
    backup, selection = back_up(root), Selection(asked)
    killed_at(number, rule, backup, target, selection)
    assert os.listdir(target) == ["app"]
    under(rule, backup, target, selection)
    assert {path: fact for path, fact in facts(target).items() if path != b"."} == {
        path: fact for path, fact in facts(root).items() if path != b"."
    }


@pytest.mark.parametrize("same", [True, False])
def test_a_missing_name_of_a_file_that_stays_is_linked_to_it_only_if_it_is_that_file(source: Path, target: Path, same: bool) -> None:
    """Size and time alone do not tell: a restore gives back the content of the backup."""
    (target / "x").write_bytes(b"of the backup" if same else b"of the target")
    os.utime(target / "x", ns=(0, THEN + 500))
    done = under("SkipExisting", back_up(source), target)
    assert (target / "y").read_bytes() == b"of the backup"
    assert (target / "x").samefile(target / "y") == same
    assert (done.written.kept, done.written.hard_links, done.written.links_apart) == (1, int(same), 0)


@pytest.mark.parametrize(("rule", "asked"), [("SkipExisting", ()), ("Overwrite", ("/folder/b",)), ("Mirror", ("/folder/b",))])
def test_a_folder_that_keeps_its_own_attributes_keeps_its_time(
    source: Path, target: Path, rule: OnConflict, asked: tuple[str, ...]
) -> None:
    (target / "folder").mkdir(mode=0o555)
    for folder in ("folder", "."):
        os.utime(target / folder, ns=(0, NOW))
    under(rule, back_up(source), target, Selection(asked))
    assert (target / "folder" / "b").exists()
    assert [(target / folder).stat().st_mtime_ns for folder in ("folder", ".")] == [NOW, NOW]
    assert (target / "folder").stat().st_mode & 0o777 == 0o555


def test_a_restore_that_fails_gives_folders_back_the_attributes_they_keep(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    backup = back_up(source)
    (target / "folder" / "deeper").mkdir(parents=True)
    for folder in ("folder/deeper", "folder", "."):
        (target / folder).chmod(0o555)
        os.utime(target / folder, ns=(0, NOW))

    def fails(row: Row, content: nodes.Content, descriptor: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(nodes, "_write", fails)
    with pytest.raises(TargetFull):
        under("Overwrite", backup, target, Selection(["/folder/deeper/c"]))
    for folder in ("folder/deeper", "folder", "."):
        found = (target / folder).stat()
        assert (found.st_mode & 0o777, found.st_mtime_ns) == (0o555, NOW)
