"""What a restore does to a folder that is not empty, not large enough, or left over from an interrupted restore."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from iot_backup.errors import Cancelled, CorruptData, SourceUnavailable, TargetFull
from iot_backup.worker import target as targets
from iot_backup.worker.room import check_room
from iot_backup.worker.walk import MAX_DEPTH
from tests.mounting import disk
from tests.pipeline.roundtrip import Backup, back_up, bring_back, facts

LEFT_OVER = ".iot-backup-restore-0123456789abcdef.partial"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / "folder").mkdir(parents=True)
    (root / "folder" / "file").write_bytes(b"new")
    (root / "link").symlink_to("folder")
    (root / "top").write_bytes(b"new")
    os.mkfifo(root / "pipe")
    (root / "x").write_bytes(b"two names")
    os.link(root / "x", root / "y")
    return root


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_bytes(b"untouched")
    return tmp_path / "target"


def test_what_is_not_in_the_backup_stays(source: Path, target: Path) -> None:
    (target / "folder").mkdir()
    (target / "folder" / "mine").write_bytes(b"mine")
    (target / "mine").write_bytes(b"mine")
    (target / "top").write_bytes(b"a longer old content")
    bring_back(back_up(source), target)
    assert (target / "mine").read_bytes() == (target / "folder" / "mine").read_bytes() == b"mine"
    assert (target / "top").read_bytes() == b"new"
    assert facts(source).items() <= facts(target).items()


@pytest.mark.parametrize("name", ["folder", "link", "top", "pipe", "x", "y"])
@pytest.mark.parametrize("kind", ["file", "folder", "link to folder", "link to file", "dangling", "fifo"])
def test_a_path_of_another_kind_is_replaced_and_no_link_is_followed(source: Path, target: Path, name: str, kind: str) -> None:
    path = target / name
    match kind:
        case "file":
            path.write_bytes(b"old")
        case "folder":
            (path / "inner").mkdir(parents=True)
            (path / "inner" / "file").write_bytes(b"old")
        case "link to folder":
            path.symlink_to(target.parent / "outside")
        case "link to file":
            path.symlink_to(target.parent / "outside" / "file")
        case "dangling":
            path.symlink_to("nowhere")
        case "fifo":
            os.mkfifo(path)
    bring_back(back_up(source), target)
    kept = {b"folder/inner", b"folder/inner/file"} if (name, kind) == ("folder", "folder") else set()
    assert {path: fact for path, fact in facts(target).items() if path not in kept} == facts(source)
    assert [p.name for p in (target.parent / "outside").iterdir()] == ["file"]
    assert (target.parent / "outside" / "file").read_bytes() == b"untouched"


def test_what_is_mounted_in_a_folder_that_must_make_way_stays(source: Path, target: Path) -> None:
    mount = target / "top" / "inner" / "mounted"
    with disk(mount, "1m"):
        (mount / "file").write_bytes(b"of another volume")
        with pytest.raises(SourceUnavailable, match="another file system is mounted"):
            bring_back(back_up(source), target)
        assert (mount / "file").read_bytes() == b"of another volume"


@pytest.fixture
def mounted(target: Path) -> Iterator[Path]:
    """A small file system in the target."""
    with disk(target / "mounted", "1m") as folder:
        yield folder


def test_a_hard_link_into_another_file_system_becomes_a_file_of_its_own(source: Path, target: Path, mounted: Path) -> None:
    (source / "mounted").mkdir()
    for name in ("folder/1", "mounted/2", "mounted/3", "z"):
        os.link(source / "x", source / name)
    done = bring_back(back_up(source), target)
    names = [target / name for name in ("x", "y", "z", "folder/1")]
    assert all(path.samefile(names[0]) for path in names)
    assert (mounted / "2").samefile(mounted / "3")
    assert (mounted / "2").read_bytes() == b"two names"
    assert (done.written.hard_links, done.written.links_apart) == (4, 1)


@pytest.mark.parametrize("number", [errno.EMLINK, errno.EPERM, errno.EOPNOTSUPP])
def test_a_hard_link_that_the_target_refuses_becomes_a_file_of_its_own(
    source: Path, target: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    backup = back_up(source)

    def refuses(*_args: object, **_options: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "link", refuses)
    done = bring_back(backup, target)
    assert (target / "y").read_bytes() == b"two names"
    assert (done.written.hard_links, done.written.links_apart) == (0, 1)


def test_an_open_file_keeps_its_old_content_and_the_name_gets_the_new_one(source: Path, target: Path) -> None:
    (target / "top").write_bytes(b"old")
    with open(target / "top", "rb") as before:
        bring_back(back_up(source), target)
        assert before.read() == b"old"
    assert (target / "top").read_bytes() == b"new"


def test_left_overs_of_an_interrupted_restore_go(source: Path, target: Path) -> None:
    (target / "folder").mkdir()
    (target / LEFT_OVER).write_bytes(b"half")
    (target / "folder" / LEFT_OVER).write_bytes(b"half")
    (target / "folder" / (LEFT_OVER + "x")).write_bytes(b"not ours")
    bring_back(back_up(source), target)
    assert sorted(os.listdir(target)) == ["folder", "link", "pipe", "top", "x", "y"]
    assert sorted(os.listdir(target / "folder")) == [LEFT_OVER + "x", "file"]


def test_a_folder_with_the_name_of_a_left_over_is_none_of_ours(source: Path, target: Path) -> None:
    (source / LEFT_OVER).mkdir()
    backup = back_up(source)
    bring_back(backup, target)
    bring_back(backup, target)
    assert facts(target) == facts(source)


def test_a_restore_that_was_stopped_can_be_run_again(source: Path, target: Path) -> None:
    for number in range(50):
        (source / f"n{number:02}").write_bytes(os.urandom(100_000))
    backup = back_up(source)

    class AfterAWhile(threading.Event):
        def is_set(self) -> bool:
            if len(os.listdir(target)) > 5:
                self.set()
            return super().is_set()

    with pytest.raises(Cancelled):
        bring_back(backup, target, stop=AfterAWhile())
    assert 0 < len(os.listdir(target)) < len(os.listdir(source))
    assert not [name for name in os.listdir(target) if "partial" in name]
    for name in os.listdir(target):
        if (target / name).is_file():
            assert (target / name).read_bytes() == (source / name).read_bytes()
    bring_back(backup, target)
    assert facts(target) == facts(source)


def test_success_is_told_only_after_the_disk_has_it(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(self: targets.Target) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(targets.Target, "flush", failing)
    with pytest.raises(Exception, match="Input/output error"):
        bring_back(back_up(source), target)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    with disk(tmp_path / "disk", "2m,nr_inodes=40") as folder:
        yield folder


def big(tmp_path: Path, size: int, count: int = 1) -> Backup:
    root = tmp_path / "big"
    root.mkdir()
    for number in range(count):
        (root / f"file{number}").write_bytes(os.urandom(size // count))
    return back_up(root)


def test_a_target_that_is_too_small_is_refused_before_a_byte_is_written(tmp_path: Path, small_disk: Path) -> None:
    (small_disk / "mine").write_bytes(b"mine")
    with pytest.raises(TargetFull, match=r"too small.*Nothing was written"):
        bring_back(big(tmp_path, 5 << 20), small_disk)
    assert os.listdir(small_disk) == ["mine"]


def test_room_is_also_in_what_is_mounted_in_the_target(tmp_path: Path, small_disk: Path) -> None:
    root = tmp_path / "big"
    (root / "data").mkdir(parents=True)
    for number in range(50):
        (root / "data" / str(number)).write_bytes(os.urandom(100_000))
    backup = back_up(root)
    (small_disk / "data").mkdir()
    for size, fits in (("2m", False), ("20m,nr_inodes=9", False), ("20m", True)):
        with disk(small_disk / "data", size) as data:
            if fits:
                bring_back(backup, small_disk)
                assert facts(small_disk) == facts(root)
            else:
                with pytest.raises(TargetFull, match="Nothing was written"):
                    bring_back(backup, small_disk)
                assert os.listdir(data) == []


def test_too_few_inodes_are_refused_before_a_byte_is_written(tmp_path: Path, small_disk: Path) -> None:
    with pytest.raises(TargetFull, match="inodes"):
        bring_back(big(tmp_path, 1000, count=50), small_disk)
    assert os.listdir(small_disk) == []


def test_a_nearly_full_target_that_holds_the_same_files_is_no_obstacle(tmp_path: Path, small_disk: Path) -> None:
    backup = big(tmp_path, 1_300_000, count=10)
    bring_back(backup, small_disk)
    bring_back(backup, small_disk)
    assert facts(small_disk) == facts(tmp_path / "big")


def test_a_disk_that_fills_up_meanwhile_is_told_and_leaves_whole_files_only(tmp_path: Path, small_disk: Path) -> None:
    backup = big(tmp_path, 1_900_000, count=10)
    (small_disk / "other").write_bytes(bytes(1_000_000))  # counts as replaceable, and is not
    with pytest.raises(TargetFull, match="no room is left in the target at 'file"):
        bring_back(backup, small_disk)
    names = [name for name in os.listdir(small_disk) if name != "other"]
    assert names
    for name in names:
        assert (small_disk / name).read_bytes() == (tmp_path / "big" / name).read_bytes()


def test_room_is_asked_of_the_file_system(tmp_path: Path) -> None:
    root = os.open(tmp_path, os.O_RDONLY)
    try:
        check_room(root, 0, 0)
        with pytest.raises(TargetFull):
            check_room(root, 1 << 60, 1)
    finally:
        os.close(root)


def test_a_wrong_content_never_replaces_a_file(source: Path, target: Path) -> None:
    (target / "top").write_bytes(b"old")
    backup = back_up(source, cipher="None", level=None)
    evil = Backup(backup.archive.replace(b"new\0", b"odd\0"), backup.index, backup.packed, "None", compressed=False)
    with pytest.raises(CorruptData):
        bring_back(evil, target)
    assert (target / "top").read_bytes() == b"old"
    assert not (target / "folder" / "file").exists()


def test_folders_too_deep_to_be_looked_through_make_way_for_nothing(source: Path, target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (source / "path").write_text("of the backup")
    deep = target / "path"
    for _ in range(MAX_DEPTH + 2):
        deep.mkdir()
        monkeypatch.chdir(deep)
        deep = Path("twelve bytes")
    with pytest.raises(SourceUnavailable, match=rf"more than {MAX_DEPTH} folders.*nothing there was removed"):
        bring_back(back_up(source), target)
    assert sum(1 for _ in os.fwalk(target / "path")) == MAX_DEPTH + 2
