"""What only a file system can do wrong: links, rights, a full disk, what a crash leaves."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from functools import partial
from typing import TYPE_CHECKING

import pytest

from iot_backup.errors import (
    AccessDenied,
    AlreadyExists,
    CorruptData,
    InvalidSpec,
    IotBackupError,
    NotFound,
    StorageFull,
    StorageUnavailable,
)
from iot_backup.repository.writing import settled
from iot_backup.storage.volume import VolumeStore
from tests.contract.payload import blocks
from tests.mounting import disk

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from iot_backup.storage.store import Store

GROUP = 65532
KEY = "chains/daily/a.tar"
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: mounts a file system or changes owners")


def volume(mount: Path, group: int = GROUP) -> VolumeStore:
    return VolumeStore(mount, "ns/plant-7", claim="nas", group=group)


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    with disk(tmp_path / "tiny", "4m") as mount:
        yield mount


@needs_root
@pytest.mark.parametrize(
    "write",
    [lambda store: store.create_stream(KEY, blocks(6 << 20)), lambda store: store.create(KEY, bytes(6 << 20))],
    ids=["stream", "small"],
)
def test_a_full_disk_publishes_nothing_and_gives_its_room_back(tiny: Path, write: Callable[[Store], None]) -> None:
    store = volume(tiny)
    store.create("repo.json", b"kept")
    with pytest.raises(StorageFull, match=f"no room left for ns/plant-7/{KEY} on claim nas"):
        write(store)
    assert [info.key for info in store.list("")] == ["repo.json"]
    assert files_below(tiny) == {"ns/plant-7/repo.json"}
    store.create_stream(KEY, blocks(3 << 20))


@needs_root
def test_folders_and_files_belong_to_the_group_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        volume(tmp_path).create(KEY, b"x")
    finally:
        os.umask(before)
    root = tmp_path / "ns/plant-7"
    for folder in (tmp_path / "ns", root, root / "chains", root / "chains/daily"):
        found = folder.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o2770, GROUP), folder
    found = (root / KEY).stat()
    assert (stat.S_IMODE(found.st_mode), found.st_gid) == (0o660, GROUP)


@needs_root
def test_two_users_of_the_group_work_on_one_store(tmp_path: Path) -> None:
    os.chmod(tmp_path, 0o2770)
    os.chown(tmp_path, 0, GROUP)
    assert as_user(1001, GROUP, tmp_path, f"store.create({KEY!r}, b'one')") == ""
    assert (
        as_user(1002, GROUP, tmp_path, f"print(store.read({KEY!r}))\nstore.create('chains/daily/b', b'two')\nstore.delete({KEY!r})")
        == "b'one'"
    )
    assert files_below(tmp_path) == {"ns/plant-7/chains/daily/b"}


@needs_root
@pytest.mark.parametrize("call", ["store.create('repo.json', b'')", "store.now()", "store.delete('chains/x')", "list(store.list(''))"])
def test_a_refusal_says_who_owns_what_and_what_to_do(tmp_path: Path, call: str) -> None:
    volume(tmp_path, group=0).create("chains/x", b"")
    os.chmod(tmp_path / "ns", 0o755)
    os.chmod(tmp_path / "ns/plant-7", 0o700)
    said = as_user(1001, 1001, tmp_path, f"try: {call}\nexcept Exception as error: print(type(error).__name__, error)")
    assert said.startswith("AccessDenied cannot ")
    assert "ns/plant-7 belongs to user 0, group 0, mode 0700; this run is user 1001, groups 1001" in said
    assert "Set spec.volume.group of the BackupStorage" in said


@pytest.mark.parametrize("place", ["ns", "ns/plant-7", "ns/plant-7/chains", "ns/plant-7/chains/daily"])
def test_a_link_in_place_of_a_folder_is_never_followed(tmp_path: Path, place: str) -> None:
    mount, elsewhere = tmp_path / "mount", tmp_path / "elsewhere"
    mount.mkdir()
    volume(elsewhere.parent / "mount", group=os.getegid()).create(KEY, b"x")
    (mount / place).rename(elsewhere)
    (mount / place).symlink_to(elsewhere)
    before = files_below(elsewhere)
    store = volume(mount, group=os.getegid())
    for call in (lambda: store.read(KEY), lambda: store.create("chains/daily/b", b""), lambda: store.delete(KEY), lambda: store.head(KEY)):
        with pytest.raises(CorruptData, match="links are never followed"):
            call()
    assert files_below(elsewhere) == before


@pytest.mark.parametrize("kind", ["link", "fifo", "folder"])
def test_what_is_no_plain_file_is_no_object(tmp_path: Path, kind: str) -> None:
    store = volume(tmp_path, group=os.getegid())
    store.create("chains/daily/b", b"")
    path, secret = tmp_path / "ns/plant-7" / KEY, tmp_path / "secret"
    secret.write_text("secret")
    {"link": lambda: path.symlink_to(secret), "fifo": lambda: os.mkfifo(path), "folder": path.mkdir}[kind]()
    with pytest.raises(CorruptData, match="neither a plain file nor a plain folder"):
        store.read(KEY)
    with pytest.raises(AlreadyExists):
        store.create(KEY, b"")
    assert [info.key for info in store.list("")] == ["chains/daily/b"]
    assert secret.read_text() == "secret"


def test_what_a_killed_run_leaves_is_not_listed_and_not_in_the_way(tmp_path: Path) -> None:
    store = volume(tmp_path, group=os.getegid())
    store.create("chains/daily/b", b"")
    (tmp_path / "ns/plant-7/chains/daily/.0123456789abcdef.partial").write_bytes(b"half")
    store.create(KEY, b"whole")
    assert {info.key for info in store.list("")} == {"chains/daily/b", KEY}
    assert not [name for name in files_below(tmp_path) if name.endswith(".partial") and "0123456789abcdef" not in name]


def test_bytes_and_name_are_on_disk_in_this_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    for name in ("fsync", "link", "unlink", "write"):
        real = getattr(os, name)

        def recorded(*arguments: object, _name: str = name, _real: Callable[..., object] = real, **more: object) -> object:
            target = arguments[0]
            folder = isinstance(target, int) and stat.S_ISDIR(os.fstat(target).st_mode)
            events.append(f"{_name} folder" if folder else _name)
            return _real(*arguments, **more)

        monkeypatch.setattr(os, name, recorded)
    volume(tmp_path, group=os.getegid()).create(KEY, b"x")
    # Four new folders, each durable in its parent, before anything is put inside.
    assert events[: events.index("write")] == ["fsync folder"] * 4
    assert events[events.index("write") :][:5] == ["write", "fsync", "link", "unlink", "fsync folder"]


@pytest.mark.parametrize(
    ("call", "number", "error"),
    [
        ("fsync", errno.EIO, StorageUnavailable),
        ("fsync", errno.ENOSPC, StorageFull),
        ("write", errno.EDQUOT, StorageFull),
        ("write", errno.ESTALE, StorageUnavailable),
        ("link", errno.EPERM, InvalidSpec),
        ("link", errno.EOPNOTSUPP, InvalidSpec),
        ("link", errno.ENOSPC, StorageFull),
        ("link", errno.EROFS, AccessDenied),
    ],
)
def test_a_failing_call_is_a_failed_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int, error: type[IotBackupError]
) -> None:
    store = volume(tmp_path, group=os.getegid())
    store.create("chains/daily/b", b"")
    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing(number))
        with pytest.raises(error, match=f"{KEY}|claim nas"):
            store.create(KEY, b"x")
    with pytest.raises(NotFound):
        store.head(KEY)
    assert files_below(tmp_path) == {"ns/plant-7/chains/daily/b"}


@pytest.mark.parametrize("stream", [False, True])
def test_a_name_that_may_not_be_durable_is_taken_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stream: bool) -> None:
    """The folder's fsync fails once, as the kernel tells each error once: looking again would find the name, and call it stored."""
    store = volume(tmp_path, group=os.getegid())
    store.create("chains/daily/b", b"")
    real, left = os.fsync, [errno.EIO]

    def fails(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode) and (tmp_path / "ns/plant-7" / KEY).exists() and left:
            raise OSError(left.pop(), "Input/output error")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fails)
    write = partial(store.create_stream, KEY, iter([b"x"])) if stream else partial(settled, store, KEY, b"x")
    with pytest.raises(StorageUnavailable):
        write()
    assert (left, files_below(tmp_path)) == ([], {"ns/plant-7/chains/daily/b"})
    assert settled(store, KEY, b"x")


def test_a_file_system_that_cannot_flush_folders_is_used_all_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.fsync

    def fsync(descriptor: int) -> None:
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Invalid argument")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    store = volume(tmp_path, group=os.getegid())
    store.create(KEY, b"x")
    store.delete(KEY)
    assert files_below(tmp_path) == set()


def test_where_neither_mode_nor_link_is_to_be_had_the_first_run_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on vfat and exfat."""
    monkeypatch.setattr(os, "fchmod", failing(errno.EPERM))
    monkeypatch.setattr(os, "link", failing(errno.EPERM))
    with pytest.raises(InvalidSpec, match="hard links"):
        volume(tmp_path, group=os.getegid()).create(KEY, b"x")


def test_what_killed_runs_left_days_ago_goes_with_the_next_write_beside_it(tmp_path: Path) -> None:
    store = volume(tmp_path, group=os.getegid())
    store.create("chains/daily/b", b"")
    folder = tmp_path / "ns/plant-7/chains/daily"
    old, new, other = (folder / f".{name}.partial" for name in ("0123456789abcdef", "fedcba9876543210", "mine"))
    for path in (old, new, other):
        path.write_bytes(b"half")
    for path in (old, other):
        os.utime(path, (time.time() - 3 * 86400,) * 2)
    store.create(KEY, b"x")
    assert (old.exists(), new.exists(), other.exists()) == (False, True, True)


def test_a_link_that_nfs_answered_twice_is_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.link

    def answered_twice(*arguments: object, **more: object) -> None:
        real(*arguments, **more)  # type: ignore[arg-type]
        raise FileExistsError(errno.EEXIST, "File exists")

    monkeypatch.setattr(os, "link", answered_twice)
    store = volume(tmp_path, group=os.getegid())
    store.create(KEY, b"x")
    assert store.read(KEY) == b"x"


def failing(number: int) -> Callable[..., object]:
    def fail(*arguments: object, **more: object) -> object:
        raise OSError(number, os.strerror(number))

    return fail


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and not path.is_symlink()}


def as_user(user: int, group: int, mount: Path, program: str) -> str:
    """What a program prints that has the store, run by another user."""
    for parent in (mount, *mount.parents)[1:]:
        if parent.stat().st_uid == os.geteuid() and not parent.stat().st_mode & 0o001:
            os.chmod(parent, parent.stat().st_mode | 0o011)
    if not mount.stat().st_mode & 0o2000:
        os.chmod(mount, 0o755)
    start = (
        "from pathlib import Path\nfrom iot_backup.storage.volume import VolumeStore\nimport os\n"
        f"store = VolumeStore(Path({str(mount)!r}), 'ns/plant-7', claim='nas', group={group})\n"
        f"os.setgroups([])\nos.setgid({group})\nos.setuid({user})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", start + program], env={"PYTHONPATH": "operator"}, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()
