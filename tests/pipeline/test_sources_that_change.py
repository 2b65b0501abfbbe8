"""Files that change, shrink, vanish or cannot be read: noted one by one, and never the end of a run."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from iot_backup.worker.contents import Files
from iot_backup.worker.extract import Rules
from iot_backup.worker.index import CHANGED, DAMAGED, SUPERSEDED
from iot_backup.worker.mirror import Mirror
from iot_backup.worker.notes import SKIPPED, UNREADABLE, VANISHED
from iot_backup.worker.walk import Found, Walk
from tests.pipeline.roundtrip import Backup, back_up, bring_back, rows, stock_restore

SMALL, LARGE, HUGE = 10_000, 9 << 20, 65 << 20


class Meddling(Files):
    """Calls `meddle(name, n)` before the n-th reading of a file begins, after it was opened."""

    def __init__(self, meddle: Callable[[bytes, int], None]) -> None:
        self.meddle, self.opened = meddle, {}

    def open(self, name: bytes, folder: int) -> int:
        descriptor = super().open(name, folder)
        self.opened[name] = self.opened.get(name, 0) + 1
        self.meddle(name, self.opened[name])
        return descriptor


class Failing(Files):
    """Reading `name` fails with EIO from its `reads`-th call on, for the first `openings` openings."""

    def __init__(self, name: bytes, *, reads: int, openings: int) -> None:
        self.name, self.reads, self.openings = name, reads, openings
        self.seen = 0
        self.bad: dict[int, int] = {}

    def open(self, name: bytes, folder: int) -> int:
        descriptor = super().open(name, folder)
        self.bad.pop(descriptor, None)
        if name == self.name:
            self.seen += 1
            if self.seen <= self.openings:
                self.bad[descriptor] = 0
        return descriptor

    def read(self, descriptor: int, target: memoryview) -> int:
        if descriptor in self.bad:
            self.bad[descriptor] += 1
            if self.bad[descriptor] >= self.reads:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
        return super().read(descriptor, target)


def tree(tmp_path: Path, size: int) -> tuple[Path, Path]:
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    (source / "after").write_bytes(b"after")
    (source / "f").write_bytes(os.urandom(size))
    (source / "z").write_bytes(b"last")
    return source, target


def read_back(backup: Backup, target: Path) -> bytes:
    bring_back(backup, target)
    assert (target / "z").read_bytes() == b"last"
    return (target / "f").read_bytes()


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_file_that_changes_once_is_read_again(tmp_path: Path, size: int) -> None:
    source, target = tree(tmp_path, size)
    new = os.urandom(size)

    def rewrite(name: bytes, count: int) -> None:
        if name == b"f" and count == 1:
            (source / "f").write_bytes(new)

    backup = back_up(source, files=Meddling(rewrite))
    assert read_back(backup, target) == new
    assert not any(noted.count for noted in backup.packed.notes.values())
    assert backup.packed.counts.files == 3
    assert [row.state for row in rows(backup) if row.path == b"f"] == ([""] if size == SMALL else [SUPERSEDED, ""])


def test_stock_tools_take_the_second_reading(tmp_path: Path) -> None:
    source, target = tree(tmp_path, LARGE)
    new = os.urandom(LARGE)
    backup = back_up(source, files=Meddling(lambda name, count: (source / "f").write_bytes(new) if (name, count) == (b"f", 1) else None))
    (tmp_path / "scratch").mkdir()
    stock_restore(backup, target, tmp_path / "scratch")
    assert (target / "f").read_bytes() == new


@pytest.mark.parametrize("size", [SMALL, LARGE, HUGE])
def test_a_file_that_keeps_changing_is_stored_and_noted(tmp_path: Path, size: int) -> None:
    source, target = tree(tmp_path, size)

    class Restless(Files):
        times = 0

        def read(self, descriptor: int, target: memoryview) -> int:
            self.times += 1
            os.utime(source / "f", ns=(0, self.times))
            return super().read(descriptor, target)

    backup = back_up(source, files=Restless())
    assert read_back(backup, target) == (source / "f").read_bytes()
    assert backup.packed.notes[CHANGED].examples == ["f: changed while it was read"]
    assert not backup.packed.partial
    assert [row.state for row in rows(backup) if row.path == b"f"][-1] == CHANGED


@pytest.mark.parametrize(("size", "left"), [(SMALL, 5000), (SMALL, 0), (HUGE, 1 << 20)])
def test_a_file_that_shrinks_is_filled_up_and_noted(tmp_path: Path, size: int, left: int) -> None:
    source, target = tree(tmp_path, size)

    class Shrinking(Files):
        def read(self, descriptor: int, target: memoryview) -> int:
            if os.fstat(descriptor).st_ino == (source / "f").stat().st_ino:
                os.truncate(source / "f", left)
            return super().read(descriptor, target)

        def open(self, name: bytes, folder: int) -> int:
            if name == b"f":
                os.truncate(source / "f", size)
            return super().open(name, folder)

    backup = back_up(source, files=Shrinking())
    content = read_back(backup, target)
    assert len(content) == size
    assert not any(content[left:])
    assert backup.packed.notes[CHANGED].count == 1
    assert f"shrank to {left} of {size} bytes" in backup.packed.notes[CHANGED].examples[0]


def test_a_file_that_grows_for_ever_is_cut_at_its_promised_size(tmp_path: Path) -> None:
    source, target = tree(tmp_path, SMALL)

    class Growing(Files):
        def read(self, descriptor: int, target: memoryview) -> int:
            with open(source / "f", "ab") as file:
                file.write(b"more" * 1000)
            return super().read(descriptor, target)

    backup = back_up(source, files=Growing())
    content = read_back(backup, target)
    assert content == (source / "f").read_bytes()[: len(content)]
    assert backup.packed.notes[CHANGED].count == 1


@pytest.mark.parametrize("size", [SMALL, LARGE, HUGE])
@pytest.mark.parametrize("reads", [1, 2])
def test_a_read_error_pads_the_member_and_the_run_goes_on(tmp_path: Path, size: int, reads: int) -> None:
    if size == SMALL and reads == 2:
        reads = 1  # it is read in one call
    source, target = tree(tmp_path, size)
    backup = back_up(source, files=Failing(b"f", reads=reads, openings=9))
    content = read_back(backup, target)
    assert len(content) == size
    assert backup.packed.partial
    assert backup.packed.notes[DAMAGED].count == 1
    assert "Input/output error" in backup.packed.notes[DAMAGED].examples[0]
    assert any(content) == (reads == 2)
    assert bring_back(backup, target).written.damaged == 1


@pytest.mark.parametrize("size", [SMALL, LARGE])
def test_a_read_error_that_passes_is_no_damage(tmp_path: Path, size: int) -> None:
    source, target = tree(tmp_path, size)
    backup = back_up(source, files=Failing(b"f", reads=1, openings=1))
    assert read_back(backup, target) == (source / "f").read_bytes()
    assert not backup.packed.partial


def test_a_file_that_vanishes_between_listing_and_opening_is_noted(tmp_path: Path) -> None:
    source, target = tree(tmp_path, SMALL)

    class Vanishing(Files):
        def open(self, name: bytes, folder: int) -> int:
            if name == b"f":
                os.unlink(source / "f")
            return super().open(name, folder)

    backup = back_up(source, files=Vanishing())
    bring_back(backup, target)
    assert sorted(os.listdir(target)) == ["after", "z"]
    assert backup.packed.notes[VANISHED].count == 1
    assert not backup.packed.partial


@pytest.mark.parametrize("becomes", ["fifo", "link"])
def test_a_file_that_becomes_something_else_is_not_held_and_no_sign_of_a_deletion(tmp_path: Path, becomes: str) -> None:
    source, target = tree(tmp_path, SMALL)

    class Becoming(Files):
        def open(self, name: bytes, folder: int) -> int:
            if name == b"f":
                (source / "f").unlink()
                if becomes == "fifo":
                    os.mkfifo(source / "f")
                else:
                    (source / "f").symlink_to("z")
            return super().open(name, folder)

    backup = back_up(source, files=Becoming())
    assert (backup.packed.notes[UNREADABLE].count, backup.packed.notes[VANISHED].count, backup.packed.partial) == (1, 0, True)
    (target / "f").write_bytes(b"of the target")
    bring_back(backup, target, rules=Rules("Mirror", mirror=Mirror()))
    assert (target / "f").read_bytes() == b"of the target"


def test_a_folder_that_becomes_a_link_is_not_held_and_no_sign_of_a_deletion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = tree(tmp_path, SMALL)
    (source / "folder").mkdir()
    look = Walk._opened

    def becoming(self: Walk, found: Found) -> tuple[int, list[bytes]]:
        if found.path == b"folder":
            (source / "folder").rmdir()
            (source / "folder").symlink_to("z")
        return look(self, found)

    monkeypatch.setattr(Walk, "_opened", becoming)
    backup = back_up(source)
    assert (backup.packed.notes[UNREADABLE].count, backup.packed.notes[VANISHED].count) == (1, 0)
    (target / "folder").mkdir()
    bring_back(backup, target, rules=Rules("Mirror", mirror=Mirror()))
    assert (target / "folder").is_dir()


@pytest.mark.parametrize("becomes", ["gone", "fifo", "link"])
def test_a_file_that_changes_and_is_gone_before_its_second_reading_is_kept_as_it_was_read(tmp_path: Path, becomes: str) -> None:
    source, target = tree(tmp_path, LARGE)
    content = (source / "f").read_bytes()

    class Leaving(Files):
        def read(self, descriptor: int, target: memoryview) -> int:
            if os.fstat(descriptor).st_size == LARGE and (source / "f").is_file():
                os.unlink(source / "f")
                if becomes != "gone":
                    {"fifo": os.mkfifo, "link": lambda path: os.symlink("z", path)}[becomes](source / "f")
            return super().read(descriptor, target)

    backup = back_up(source, files=Leaving())
    assert read_back(backup, target) == content
    assert [row.state for row in rows(backup) if row.path == b"f"] == [CHANGED]
    assert backup.packed.notes[CHANGED].examples == ["f: changed while it was read"]
    assert backup.packed.counts.files == 3


def test_a_file_that_took_the_inode_of_a_deleted_one_is_not_taken_for_a_name_of_it(tmp_path: Path) -> None:
    """A mail queue does this all day: each message is made by `link`, and deleted when it is done."""
    source, target = tree(tmp_path, SMALL)
    (source / "a").write_bytes(b"first message")
    os.link(source / "a", source / "y")

    class Queue(Files):
        def open(self, name: bytes, folder: int) -> int:
            if name == b"f":
                inode = (source / "a").stat().st_ino
                for done in ("a", "y"):
                    os.unlink(source / done)
                for number in range(100):
                    new = tmp_path / f"message{number}"
                    new.write_bytes(b"other message")
                    if new.stat().st_ino == inode:
                        os.rename(new, source / "y")
                        os.link(source / "y", tmp_path / "still linked")
                        break
                else:
                    pytest.skip("this file system does not use an inode again at once")
            return super().open(name, folder)

    backup = back_up(source, files=Queue())
    bring_back(backup, target)
    assert (target / "a").read_bytes() == b"first message"
    assert (target / "y").read_bytes() == b"other message"


def test_a_name_of_a_file_that_changed_meanwhile_is_stored_as_it_is_and_noted(tmp_path: Path) -> None:
    source, target = tree(tmp_path, SMALL)
    (source / "a").write_bytes(b"before")
    os.link(source / "a", source / "y")

    def change(name: bytes, _count: int) -> None:
        if name == b"f":
            (source / "a").write_bytes(b"after")

    backup = back_up(source, files=Meddling(change))
    bring_back(backup, target)
    assert ((target / "a").read_bytes(), (target / "y").read_bytes()) == (b"before", b"after")
    assert backup.packed.notes[CHANGED].examples == ["y: is not as it was when it was read as a; stored as a file of its own"]


def test_a_stale_handle_is_missing_content_and_no_file_that_is_gone(tmp_path: Path) -> None:
    source, _ = tree(tmp_path, SMALL)

    class Stale(Files):
        def open(self, name: bytes, folder: int) -> int:
            if name == b"f":
                raise OSError(errno.ESTALE, os.strerror(errno.ESTALE))
            return super().open(name, folder)

    backup = back_up(source, files=Stale())
    assert backup.packed.partial
    assert backup.packed.notes[UNREADABLE].count == 1


@pytest.mark.parametrize("kind", ["fifo", "link", "folder"])
def test_a_file_that_becomes_something_else_is_never_followed_nor_waited_for(tmp_path: Path, kind: str) -> None:
    source, target = tree(tmp_path, SMALL)
    (tmp_path / "outside").write_bytes(b"secret")

    class Swapping(Files):
        def open(self, name: bytes, folder: int) -> int:
            if name == b"f" and (source / "f").is_file() and not (source / "f").is_symlink():
                os.unlink(source / "f")
                {"fifo": os.mkfifo, "folder": os.mkdir, "link": lambda path: os.symlink(tmp_path / "outside", path)}[kind](source / "f")
            return super().open(name, folder)

    backup = back_up(source, files=Swapping())
    bring_back(backup, target)
    assert not (target / "f").is_file() or b"secret" not in (target / "f").read_bytes()
    assert sum(noted.count for noted in backup.packed.notes.values()) == 1


def test_sockets_are_skipped_and_listed(tmp_path: Path) -> None:
    import socket

    source, target = tree(tmp_path, SMALL)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(source / "s"))
        backup = back_up(source)
    bring_back(backup, target)
    assert backup.packed.notes[SKIPPED].examples == ["s: a socket"]
    assert not (target / "s").exists()


def test_an_empty_lost_and_found_of_root_is_skipped_and_a_full_one_is_kept(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to own lost+found")
    source, target = tree(tmp_path, SMALL)
    (source / "lost+found").mkdir(mode=0o700)
    backup = back_up(source)
    assert backup.packed.notes[SKIPPED].count == 1
    assert not backup.packed.partial
    assert b"lost+found" not in [row.path for row in rows(backup)]
    (source / "lost+found" / "#12").write_bytes(b"found")
    bring_back(back_up(source), target)
    assert (target / "lost+found" / "#12").read_bytes() == b"found"


def test_a_running_postgresql_is_recognised(tmp_path: Path) -> None:
    source, _ = tree(tmp_path, SMALL)
    (source / "pgdata").mkdir()
    (source / "pgdata" / "PG_VERSION").write_text("15\n")
    assert not back_up(source).packed.running_postgresql
    (source / "pgdata" / "postmaster.pid").write_text("1\n")
    assert back_up(source).packed.running_postgresql


def test_folders_nested_beyond_the_limit_are_noted_not_fatal(tmp_path: Path) -> None:
    source, _ = tree(tmp_path, SMALL)
    current = os.open(source, os.O_RDONLY)
    for _n in range(405):
        os.mkdir("d", dir_fd=current)
        inner = os.open("d", os.O_RDONLY, dir_fd=current)
        os.close(current)
        current = inner
    os.close(current)
    backup = back_up(source)
    assert backup.packed.notes[UNREADABLE].count == 1
    assert backup.packed.partial
    assert backup.packed.counts.folders == 401


def test_a_name_that_is_listed_twice_is_one_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some file systems do while a folder changes."""
    source, target = tree(tmp_path, SMALL)
    listdir = os.listdir
    with monkeypatch.context() as patched:
        patched.setattr(os, "listdir", lambda *what: [*listdir(*what), *listdir(*what)])
        backup = back_up(source)
    assert [row.path for row in rows(backup)] == [b".", b"after", b"f", b"z"]
    bring_back(backup, target)


@pytest.mark.parametrize("becomes", ["fifo", "folder"])
def test_a_large_file_that_became_something_else_is_noted_and_ends_nothing(tmp_path: Path, becomes: str) -> None:
    source, _ = tree(tmp_path, LARGE)

    class Replaced(Files):
        def open(self, name: bytes, folder: int) -> int:
            if name == b"f" and (source / "f").is_file():
                (source / "f").unlink()
                (os.mkfifo if becomes == "fifo" else os.mkdir)(source / "f")
            return super().open(name, folder)

    backup = back_up(source, files=Replaced())
    assert [row.path for row in rows(backup)] == [b".", b"after", b"z"]
    assert backup.packed.notes[UNREADABLE].count == 1
