"""What a backup that builds on another one stores, and that its index gives the whole tree all the same."""

from __future__ import annotations

import mmap
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from iot_backup.worker.contents import Files
from iot_backup.worker.index import CHANGED, FILE, HARD_LINK
from tests.pipeline.increments import Chain, Link, without_folder_times
from tests.pipeline.roundtrip import facts, odd_tree
from tests.pipeline.test_sources_that_change import Meddling

LARGE = (2 << 20) + 5000
"""More than one frame, less than deltas begin at."""


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    source = tmp_path / "source"
    source.mkdir()
    for name in ("config", "data", "data/inner", "empty"):
        (source / name).mkdir()
    for name in ("config/a", "config/b", "data/one", "data/inner/two", "top"):
        (source / name).write_bytes(name.encode() * 100)
    (source / "data" / "large").write_bytes(os.urandom(LARGE))
    (source / "link").symlink_to("top")
    return Chain(source, monkeypatch)


def edit_unseen(path: Path) -> None:
    """Other bytes of the same number, and the mtime put back."""
    before = path.stat()
    content = path.read_bytes()
    path.write_bytes(bytes(255 - byte for byte in content[:1]) + content[1:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_nothing_changed_nothing_is_read_or_stored(chain: Chain) -> None:
    full = chain.back_up()
    second = chain.back_up(full)
    assert (second.stored, second.deleted, second.opened) == ([], [], [])
    assert second.packed.tar_size == 1024
    assert second.archives == (full.id, second.id)
    assert [row._replace(archive=0) for row in second.rows] == full.rows
    assert second.packed.counts == full.packed.counts
    chain.check(second)


@pytest.mark.parametrize("name", ["top", "data/large"])
def test_an_edit_that_keeps_size_and_mtime_is_found(chain: Chain, name: str) -> None:
    """restic #2179, #2495: mtime alone misses it."""
    full = chain.back_up()
    edit_unseen(chain.source / name)
    second = chain.back_up(full)
    assert second.stored == [name]
    chain.check(second)


@pytest.mark.parametrize("name", ["top", "data/large"])
def test_a_change_of_attributes_stores_no_content(chain: Chain, name: str) -> None:
    """restic #2179, #2495: with ctime alone everything is stored again. Stock tools get a member without content."""
    full = chain.back_up()
    os.chmod(chain.source / name, 0o640)
    os.setxattr(chain.source / name, "user.note", b"new")
    second = chain.back_up(full)
    assert second.names == [f".kbackup/metadata/{name}"]
    assert second.content(f".kbackup/metadata/{name}") == b""
    row, was = second.row[name.encode()], full.row[name.encode()]
    assert (row.archive, row.offset, row.head, row.sha256) == (0, was.offset, 512, was.sha256)
    chain.check(second)
    third = chain.back_up(second)
    assert third.names == []
    os.chmod(chain.source / name, 0o600)
    fourth = chain.back_up(third)
    assert fourth.row[name.encode()].head == 512
    chain.check(fourth)


def test_a_touched_file_of_the_same_content_is_not_stored(chain: Chain) -> None:
    full = chain.back_up()
    os.utime(chain.source / "top", ns=(0, 5))
    second = chain.back_up(full)
    assert second.names == [".kbackup/metadata/top"]
    chain.check(second)


def test_a_copied_volume_stores_no_content(chain: Chain, tmp_path: Path) -> None:
    """All inodes and ctimes differ; so does the device, which is not looked at."""
    odd_tree(chain.source / "odd")
    full = chain.back_up()
    subprocess.run(["cp", "-a", f"{chain.source}/.", str(tmp_path / "copy")], check=True)
    chain.source.rename(tmp_path / "old")
    (tmp_path / "copy").rename(chain.source)
    second = chain.back_up(full)
    assert [name for name in second.names if not name.startswith("odd")] == []
    assert [row for row in second.rows if row.kind == FILE and row.archive] == []
    assert second.deleted == []
    chain.check(second)
    third = chain.back_up(second)
    assert (third.names, [name for name in third.opened if name not in (b"a", b"same")]) == ([], [])
    chain.check(third)


def test_new_changed_and_deleted_paths(chain: Chain) -> None:
    full = chain.back_up()
    (chain.source / "config" / "new").write_bytes(b"new")
    (chain.source / "data" / "one").write_bytes(b"longer than it was" * 100)
    (chain.source / "top").unlink()
    second = chain.back_up(full)
    assert set(second.stored) - {".", "config"} == {"config/new", "data/one"}
    assert second.deleted == [b"top"]
    assert {path for path, row in second.row.items() if row.archive and row.kind == FILE} == {b"config/new", b"data/one"}
    chain.check(second)
    third = chain.back_up(second)
    assert third.names == []
    chain.check(third)


def test_a_rename_is_a_deletion_and_a_new_path(chain: Chain) -> None:
    full = chain.back_up()
    (chain.source / "data").rename(chain.source / "moved")
    second = chain.back_up(full)
    assert second.deleted == [b"data"]
    assert set(second.stored) - {"."} == {"moved", "moved/one", "moved/inner", "moved/inner/two", "moved/large"}
    chain.check(second)


def replaced_folder(source: Path) -> None:
    shutil.rmtree(source / "data")
    (source / "data").write_bytes(b"a file now")


def replaced_file(source: Path) -> None:
    (source / "top").unlink()
    (source / "top").mkdir()
    (source / "top" / "inside").write_bytes(b"x")


def folder_to_link(source: Path) -> None:
    shutil.rmtree(source / "data")
    (source / "data").symlink_to("config")


def link_to_file(source: Path) -> None:
    (source / "link").unlink()
    (source / "link").write_bytes(b"file")


def emptied(source: Path) -> None:
    for path in source.iterdir():
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()


def retargeted(source: Path) -> None:
    (source / "link").unlink()
    (source / "link").symlink_to("nowhere")


def odd_names(source: Path) -> None:
    odd_tree(source / "odd")
    shutil.rmtree(source / "config")


CHANGES = [replaced_folder, replaced_file, folder_to_link, link_to_file, emptied, retargeted, odd_names]


@pytest.mark.parametrize("change", CHANGES)
def test_changes_of_kind_and_whole_trees(chain: Chain, tmp_path: Path, change: Callable[[Path], None]) -> None:
    full = chain.back_up()
    change(chain.source)
    second = chain.back_up(full)
    chain.check(second)
    third = chain.back_up(second)
    assert third.stored == []
    assert third.deleted == []
    chain.check(third)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_stock_tools_restore_a_chain(chain: Chain, tmp_path: Path) -> None:
    """For each member: remove what it lists, then extract."""
    links: list[Link] = [chain.back_up()]
    reserved = chain.source / ".kbackup"
    reserved.mkdir()
    (reserved / "mine").write_bytes(b"mine")
    (chain.source / "-rf").write_bytes(b"dash")
    (chain.source / "line\nbreak").write_bytes(b"name")
    os.link(chain.source / "config" / "a", chain.source / "config" / "z")
    links.append(chain.back_up(links[-1]))
    for step, change in enumerate((replaced_folder, replaced_file, link_to_file)):
        change(chain.source)
        links.append(chain.back_up(links[-1]))
        if step == 0:
            shutil.rmtree(reserved)
            (chain.source / "-rf").unlink()
            (chain.source / "line\nbreak").unlink()
    (chain.source / "config" / "a").write_bytes(b"both names")
    links.append(chain.back_up(links[-1]))
    (chain.source / "config" / "a").unlink()
    links.append(chain.back_up(links[-1]))
    chain.check(links[-1])
    target = tmp_path / "target"
    chain.extracted(links[-1], target)
    assert by_tar(target) == by_tar(chain.source)


def by_tar(root: Path) -> dict[bytes, tuple[object, ...]]:
    return without_folder_times(facts(root, whole_seconds=True))


def test_the_names_of_a_deleted_tree_are_not_all_listed(chain: Chain) -> None:
    for number in range(2000):
        (chain.source / "empty" / f"{number:04d}").write_bytes(b"")
    full = chain.back_up()
    shutil.rmtree(chain.source / "empty")
    assert chain.back_up(full).deleted == [b"empty"]


def test_lists_of_deletions_have_a_megabyte_at_most(chain: Chain) -> None:
    folder = chain.source / "empty"
    for number in range(6000):
        (folder / f"{number:06d}{'x' * 200}").write_bytes(b"")
    full = chain.back_up()
    for path in folder.iterdir():
        path.unlink()
    second = chain.back_up(full)
    lists = [name for name in second.names if name.startswith(".kbackup/deleted/")]
    assert lists == [".kbackup/deleted/0", ".kbackup/deleted/1"]
    assert all(len(second.content(name)) <= 1 << 20 for name in lists)
    assert len(second.deleted) == 6000
    chain.check(second)


def hard_linked(source: Path) -> None:
    os.link(source / "config" / "a", source / "config" / "z")
    os.link(source / "config" / "a", source / "data" / "same")


def test_names_of_one_file_stay_names_of_one_file(chain: Chain) -> None:
    hard_linked(chain.source)
    full = chain.back_up()
    second = chain.back_up(full)
    assert (second.names, second.opened) == ([], [])
    chain.check(second)


def first_goes(source: Path) -> None:
    (source / "config" / "a").unlink()


def a_name_comes_before(source: Path) -> None:
    os.link(source / "config" / "z", source / "config" / "A")


def a_name_comes_behind(source: Path) -> None:
    os.link(source / "config" / "z", source / "zzz")


def last_goes(source: Path) -> None:
    (source / "data" / "same").unlink()


def content_changes(source: Path) -> None:
    with (source / "config" / "z").open("ab") as file:
        file.write(b"more")


def one_is_a_copy_now(source: Path) -> None:
    (source / "config" / "z").unlink()
    shutil.copy2(source / "config" / "a", source / "config" / "z")


def attributes_change(source: Path) -> None:
    (source / "config" / "z").chmod(0o600)


LINK_CHANGES = [first_goes, a_name_comes_before, a_name_comes_behind, last_goes, content_changes, one_is_a_copy_now, attributes_change]


@pytest.mark.parametrize("change", LINK_CHANGES)
def test_changes_of_hard_links(chain: Chain, tmp_path: Path, change: Callable[[Path], None]) -> None:
    hard_linked(chain.source)
    full = chain.back_up()
    change(chain.source)
    second = chain.back_up(full)
    chain.check(second)
    third = chain.back_up(second)
    assert third.names == []
    chain.check(third)
    if change is not attributes_change:  # which stock tools are told of in a member of ours alone
        chain.extracted(third, tmp_path / "target")
        assert by_tar(tmp_path / "target") == by_tar(chain.source)


def test_separate_files_become_one(chain: Chain) -> None:
    full = chain.back_up()
    (chain.source / "config" / "b").unlink()
    os.link(chain.source / "config" / "a", chain.source / "config" / "b")
    second = chain.back_up(full)
    assert second.row[b"config/b"].kind == HARD_LINK
    assert second.row[b"config/a"].archive == 0
    chain.check(second)


def test_a_write_in_the_tick_of_the_last_backup_is_found(tmp_path: Path, chain: Chain) -> None:
    """borg #3536: stat() is then as it was, and the content another. Such files are read again, as are those of the next seconds."""
    chain.apart = 0.0
    top = chain.source / "top"

    full = chain.back_up()
    state = full.state_text
    row = full.row[b"top"]
    edit_unseen(top)
    now = top.stat()
    forged = state.replace(
        b'"mtime_ns":%d,"ctime_ns":%d,"inode":%d' % (row.mtime_ns, row.ctime_ns, row.inode),
        b'"mtime_ns":%d,"ctime_ns":%d,"inode":%d' % (now.st_mtime_ns, now.st_ctime_ns, now.st_ino),
    )
    assert forged != state
    full.state = compressed(forged)
    second = chain.back_up(full)
    assert second.stored == ["top"]
    assert b"top" in second.opened
    chain.check(second)


def test_a_write_through_a_mapping_that_moves_no_time_is_found(chain: Chain) -> None:
    """A page that is dirty already takes more writes, and the times stay, until the kernel has written it back."""
    mapped = chain.source / "mapped"
    mapped.write_bytes(bytes(4 * mmap.PAGESIZE))
    with mapped.open("r+b") as file, mmap.mmap(file.fileno(), 0) as pages:
        pages[:5] = b"first"
        before = mapped.stat()
        chain.apart = 30.0
        full = chain.back_up()
        pages[:5] = b"later"
        now = mapped.stat()
        second = chain.back_up(full)
    if (now.st_mtime_ns, now.st_ctime_ns) != (before.st_mtime_ns, before.st_ctime_ns):
        pytest.skip("the kernel wrote the page back meanwhile")
    assert second.stored == ["mapped"]
    chain.check(second)


def compressed(text: bytes) -> bytes:
    import zstandard

    return zstandard.ZstdCompressor().compress(text)


def test_unchanged_files_that_are_too_new_are_read_and_not_stored(chain: Chain) -> None:
    chain.apart = 0.0
    full = chain.back_up()
    second = chain.back_up(full)
    assert sorted(second.opened) == [b"a", b"b", b"large", b"one", b"top", b"two"]
    assert second.names == []
    chain.check(second)


def test_a_clock_that_went_back_makes_every_file_be_read(chain: Chain) -> None:
    full = chain.back_up()
    chain.ahead -= 2 * chain.apart
    second = chain.back_up(full)
    assert len(second.opened) == 6
    assert second.names == []
    third = chain.back_up(second)
    assert third.names == []


def test_what_was_not_sure_is_taken_again_and_its_deletion_is_told(chain: Chain) -> None:
    class Restless(Files):
        times = 0

        def read(self, descriptor: int, target: memoryview) -> int:
            if os.fstat(descriptor).st_ino == (chain.source / "data" / "one").stat().st_ino:
                self.times += 1  # two readings may be of one tick of the kernel's clock
                os.utime(descriptor, ns=(0, self.times))
            return super().read(descriptor, target)

    full = chain.back_up(files=Restless())
    assert full.row[b"data/one"].state == CHANGED
    assert b'{"path":"data/one","kind":"f"}\n' in full.state_text
    second = chain.back_up(full)
    assert second.stored == ["data/one"]
    chain.check(second)
    (chain.source / "data" / "one").unlink()
    assert chain.back_up(full).deleted == [b"data/one"]


def test_a_file_that_changes_while_it_is_compared_is_stored(chain: Chain) -> None:
    full = chain.back_up()
    large = chain.source / "data" / "large"
    edit_unseen(large)
    new = os.urandom(LARGE)

    def rewrite(name: bytes, count: int) -> None:
        if name == b"large" and count == 1:
            large.write_bytes(new)

    second = chain.back_up(full, files=Meddling(rewrite))
    chain.check(second)


def test_a_file_that_vanishes_when_it_should_be_read_is_deleted(chain: Chain) -> None:
    full = chain.back_up()
    edit_unseen(chain.source / "top")

    class Vanishing(Meddling):
        def open(self, name: bytes, folder: int) -> int:
            if name == b"top":
                (chain.source / "top").unlink()
            return super().open(name, folder)

    second = chain.back_up(full, files=Vanishing(lambda _name, _count: None))
    assert second.deleted == [b"top"]
    assert b"top" not in second.row


def test_a_long_chain_costs_as_much_at_its_end(chain: Chain) -> None:
    """kopia #5057: neither state nor index grow with the number of backups, but for the list of archives."""
    link = first = chain.back_up(chain.back_up())
    for number in range(98):
        (chain.source / "top").write_bytes(b"%d" % number * 200)
        link = chain.back_up(link)
    assert len(link.archives) == 100
    ids = 20 * 100
    assert len(link.state_text) <= len(first.state_text) + ids + 200
    assert link.packed.tar_size == 2048
    chain.check(link)


def test_small_frames_do_not_pile_up_where_nothing_is_stored(chain: Chain) -> None:
    for number in range(40):
        (chain.source / "empty" / f"{number}").write_bytes(os.urandom(900_000))
    full = chain.back_up()
    for path in (chain.source / "empty").iterdir():
        path.touch()
    second = chain.back_up(full, level=1)
    assert second.stored == []
    chain.check(second)
