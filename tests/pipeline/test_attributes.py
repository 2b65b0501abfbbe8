"""Extended attributes, ACLs, capabilities and devices: what of them is stored, and what a target has of them afterwards."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

import pytest

from iot_backup.worker.attributes import Attributes
from iot_backup.worker.backup import WARNINGS
from iot_backup.worker.contents import Files
from iot_backup.worker.index import FILE, FOLDER, Row
from iot_backup.worker.notes import INCOMPLETE, NOTES, SKIPPED
from iot_backup.worker.xattrs import XattrReader, is_kept
from tests.pipeline.roundtrip import ACL, CAPABILITY, DEFAULT_ACL, back_up, bring_back, facts, odd_tree, rows, stock_restore, xattrs
from tests.pipeline.sites import Site, open_to_all

root_only = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
BASE = Row(b"x", FILE, 0, 0, 0, 0, 0o640, os.geteuid(), os.getegid(), 0, 0)


@pytest.fixture
def trees(tmp_path: Path) -> tuple[Path, Path]:
    for name in ("source", "target"):
        (tmp_path / name).mkdir()
    return tmp_path / "source", tmp_path / "target"


class Refusing(Files):
    """Attributes of one file cannot be listed (`listing`), or one of them not be read."""

    def __init__(self, error: int, *, listing: bool) -> None:
        self.error, self.listing = error, listing

    def list_xattrs(self, place: int | bytes) -> list[str]:
        if self.listing and not self._is_folder(place):
            raise OSError(self.error, os.strerror(self.error))
        return super().list_xattrs(place)

    def xattr(self, place: int | bytes, name: bytes) -> bytes:
        if not self.listing and name == b"user.b":
            raise OSError(self.error, os.strerror(self.error))
        return super().xattr(place, name)

    @staticmethod
    def _is_folder(place: int | bytes) -> bool:
        return stat.S_ISDIR((os.fstat(place) if isinstance(place, int) else os.lstat(place)).st_mode)


@pytest.mark.parametrize("listing", [True, False])
def test_a_file_whose_attributes_cannot_be_read_is_kept_and_the_backup_partial(trees: tuple[Path, Path], listing: bool) -> None:
    """restic #4953 dropped such a file."""
    source, target = trees
    (source / "file").write_bytes(b"content")
    for name in ("user.a", "user.b", "user.c"):
        os.setxattr(source / "file", name, name.encode())
    backup = back_up(source, files=Refusing(errno.EIO, listing=listing))
    assert backup.packed.partial
    (example,) = backup.packed.notes[INCOMPLETE].examples
    assert example.startswith("file: extended attribute")
    assert example.endswith("Input/output error")
    done = bring_back(backup, target)
    assert (target / "file").read_bytes() == b"content"
    assert xattrs(target / "file") == ({} if listing else {"user.a": b"user.a", "user.c": b"user.c"})
    assert done.notes == {INCOMPLETE: 1}


@pytest.mark.parametrize(("error", "listing"), [(errno.EOPNOTSUPP, True), (errno.ENODATA, False)])
def test_none_at_all_and_gone_meanwhile_are_no_trouble(trees: tuple[Path, Path], error: int, listing: bool) -> None:
    source, _ = trees
    (source / "file").write_bytes(b"content")
    os.setxattr(source / "file", "user.b", b"")
    backup = back_up(source, files=Refusing(error, listing=listing))
    assert not backup.packed.partial
    assert backup.packed.notes[INCOMPLETE].count == 0


def test_a_file_system_without_attributes_is_asked_once(tmp_path: Path) -> None:
    asked: list[int | bytes] = []

    class Bare(Files):
        def list_xattrs(self, place: int | bytes) -> list[str]:
            asked.append(place)
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    reader = XattrReader(Bare())
    for place, device in ((3, 1), (4, 1), (5, 2), (6, 1), (7, 2)):
        assert reader.read(place, device) == ((), "")
    assert asked == [3, 5]


def test_a_link_that_can_have_none_says_nothing_of_files(trees: tuple[Path, Path]) -> None:
    """On SMB a link is a reparse point, which cannot have them."""

    class Smb(Files):
        def list_xattrs(self, place: int | bytes) -> list[str]:
            if not isinstance(place, int):
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            return super().list_xattrs(place)

    source, target = trees
    (source / "before").symlink_to("file")
    (source / "file").write_bytes(b"content")
    os.setxattr(source / "file", "user.a", b"kept")
    bring_back(back_up(source, files=Smb()), target)
    assert xattrs(target / "file") == {"user.a": b"kept"}


def test_attributes_of_more_than_a_row_can_hold_are_left_out_and_noted(trees: tuple[Path, Path]) -> None:
    class Rich(Files):
        def list_xattrs(self, place: int | bytes) -> list[str]:
            return [f"user.{i:03}" for i in range(40)]

        def xattr(self, place: int | bytes, name: bytes) -> bytes:
            return bytes(65536)

    backup = back_up(trees[0], files=Rich())
    (row,) = rows(backup)
    assert sum(len(name) + len(value) for name, value in row.xattrs) <= 1 << 20
    assert len(row.xattrs) == 15
    assert backup.packed.partial


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (b"user.x", True),
        (b"trusted.x", True),
        (b"security.capability", True),
        (b"system.posix_acl_access", True),
        (b"system.posix_acl_default", True),
        (b"trusted.SGI_ACL_FILE", False),
        (b"security.selinux", False),
        (b"security.ima", False),
        (b"system.nfs4_acl", False),
        (b"btrfs.compression", False),
        (b"ceph.dir.layout", False),
    ],
)
def test_what_the_system_computes_is_not_kept(name: bytes, kept: bool) -> None:
    assert is_kept(name) is kept


def test_an_attribute_set_while_the_file_is_read_is_in_the_second_reading(trees: tuple[Path, Path]) -> None:
    source, target = trees
    (source / "file").write_bytes(b"content")

    class Setting(Files):
        def read(self, descriptor: int, view: memoryview) -> int:
            os.setxattr(source / "file", "user.late", b"x")
            return super().read(descriptor, view)

    class Once(Setting):
        def read(self, descriptor: int, view: memoryview) -> int:
            return super().read(descriptor, view) if not xattrs(source / "file") else Files.read(self, descriptor, view)

    bring_back(back_up(source, files=Once()), target)
    assert xattrs(target / "file") == {"user.late": b"x"}


def test_what_was_there_before_does_not_stay_on_what_is_restored(trees: tuple[Path, Path]) -> None:
    source, target = trees
    for root in trees:
        (root / "folder").mkdir()
    (source / "folder" / "file").write_bytes(b"x")
    os.chmod(source / "folder" / "file", 0o664)
    os.setxattr(source / "folder", "user.ours", b"new")
    for path in (target, target / "folder"):
        os.setxattr(path, "user.ours", b"old")
        os.setxattr(path, "user.theirs", b"old")
        os.setxattr(path, "system.posix_acl_default", DEFAULT_ACL)
    os.setxattr(target / "folder", "system.posix_acl_access", ACL)
    bring_back(back_up(source), target)
    assert facts(target) == facts(source)
    assert xattrs(target) == {}  # and so is what a new file inherits from its folder's default ACL
    assert xattrs(target / "folder" / "file") == {}


@root_only
def test_what_only_root_may_set_is_counted_and_the_rest_restored(trees: tuple[Path, Path]) -> None:
    source, target = trees
    (source / "program").write_bytes(b"x")
    os.setxattr(source / "program", "security.capability", CAPABILITY)
    os.setxattr(source / "program", "user.note", b"kept")
    (source / "trusted").mkdir()
    os.setxattr(source / "trusted", "trusted.x", b"x")
    (source / "plain").write_bytes(b"x")
    backup = back_up(source)
    open_to_all(target)
    os.chown(target, 12345, -1)
    os.seteuid(12345)
    try:
        done = bring_back(backup, target)
    finally:
        os.seteuid(0)
    assert done.refused.xattrs_refused == 2
    assert xattrs(target / "program") == {"user.note": b"kept"}
    assert (target / "plain").read_bytes() == b"x"


def _file(path: Path) -> int:
    return os.open(path, os.O_WRONLY | os.O_CREAT, 0o600)


def test_without_its_acl_a_file_gives_its_group_no_more_than_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The group's bits in a mode are the ACL's mask: here r-x, where the group may do nothing."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "setxattr", refuse)
    attributes = Attributes()
    descriptor = _file(tmp_path / "file")
    attributes.apply(descriptor, BASE._replace(mode=0o654, xattrs=((b"system.posix_acl_access", ACL),)))
    os.close(descriptor)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o604
    assert attributes.xattrs_refused == 1


@root_only
def test_capabilities_outlive_the_change_of_owner_and_are_not_given_with_a_wrong_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = BASE._replace(mode=0o755, uid=1234, gid=5678, xattrs=((b"security.capability", CAPABILITY),))
    attributes = Attributes()
    descriptor = _file(tmp_path / "right")
    attributes.apply(descriptor, row)
    os.close(descriptor)
    assert xattrs(tmp_path / "right") == {"security.capability": CAPABILITY}
    assert (tmp_path / "right").stat().st_uid == 1234

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "chown", refuse)
    descriptor = _file(tmp_path / "wrong")
    attributes.apply(descriptor, row)
    os.close(descriptor)
    assert xattrs(tmp_path / "wrong") == {}
    assert (attributes.owners_refused, attributes.xattrs_refused) == (1, 1)


@root_only
def test_an_index_sets_nothing_that_we_never_store(tmp_path: Path) -> None:
    attributes = Attributes()
    descriptor = _file(tmp_path / "file")
    attributes.apply(descriptor, BASE._replace(xattrs=((b"security.selinux", b"evil"), (b"user.a", b"x"))))
    os.close(descriptor)
    assert os.listxattr(tmp_path / "file") == ["user.a"]
    assert attributes.xattrs_refused == 1


@pytest.fixture
def with_devices(trees: tuple[Path, Path]) -> tuple[Path, Path]:
    source, _ = trees
    try:
        os.mknod(source / "null", stat.S_IFCHR | 0o600, os.makedev(1, 3))
        os.mknod(source / "disk", stat.S_IFBLK | 0o600, os.makedev(7, 1000))
    except PermissionError:
        pytest.skip("this user makes no devices")
    os.chmod(source / "null", 0o666)
    os.chown(source / "disk", 3, 4)
    os.setxattr(source / "disk", "trusted.x", b"y")
    os.setxattr(source / "disk", "system.posix_acl_access", ACL)
    os.utime(source / "null", ns=(0, 1_234_567_890_123_456_789))
    return trees


@root_only
def test_devices_come_back_where_that_is_asked(with_devices: tuple[Path, Path], tmp_path: Path) -> None:
    source, target = with_devices
    backup = back_up(source)
    assert backup.packed.counts.devices == 2
    assert backup.packed.notes[SKIPPED].count == 0
    done = bring_back(backup, target, devices=True)
    assert facts(target) == facts(source)
    assert (done.written.devices, done.written.devices_left_out) == (2, 0)
    bring_back(backup, target, devices=True)
    assert facts(target) == facts(source)
    (tmp_path / "scratch").mkdir()
    (tmp_path / "stock").mkdir()
    stock_restore(backup, tmp_path / "stock", tmp_path / "scratch")
    os.utime(tmp_path / "stock", ns=(0, source.stat().st_mtime_ns))
    assert facts(tmp_path / "stock", whole_seconds=True) == facts(source, whole_seconds=True)


@root_only
def test_devices_are_left_out_and_counted_where_it_is_not(with_devices: tuple[Path, Path]) -> None:
    source, target = with_devices
    (source / "file").write_bytes(b"x")
    (target / "null").write_bytes(b"was there")
    done = bring_back(back_up(source), target)
    assert (done.written.devices, done.written.devices_left_out) == (0, 2)
    assert sorted(os.listdir(target)) == ["file", "null"]
    assert (target / "null").read_bytes() == b"was there"


@root_only
def test_devices_that_this_user_may_not_make_are_left_out_too(with_devices: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = with_devices
    backup = back_up(source)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "mknod", refuse)
    assert bring_back(backup, target, devices=True).written.devices_left_out == 2


def test_the_root_of_a_tree_keeps_its_attributes_too(trees: tuple[Path, Path]) -> None:
    source, target = trees
    os.setxattr(source, "user.root", b"x")
    os.setxattr(source, "system.posix_acl_default", DEFAULT_ACL)
    backup = back_up(source)
    assert [(row.kind, dict(row.xattrs).keys()) for row in rows(backup)] == [(FOLDER, {b"system.posix_acl_default", b"user.root"})]
    bring_back(backup, target)
    assert facts(target) == facts(source)


def test_empty_folders_and_their_modes_come_back(trees: tuple[Path, Path]) -> None:
    """rclone leaves them out."""
    source, target = trees
    for mode in (0o700, 0o2755, 0o1777, 0o555):
        (source / f"{mode:o}").mkdir()
        os.chmod(source / f"{mode:o}", mode)
    bring_back(back_up(source), target)
    assert facts(target) == facts(source)
    assert len(os.listdir(target)) == 4


def test_the_same_tree_gives_the_same_headers(tmp_path: Path) -> None:
    odd_tree(tmp_path / "source")
    first, second = rows(back_up(tmp_path / "source")), rows(back_up(tmp_path / "source"))
    assert first == second
    assert all(list(row.xattrs) == sorted(row.xattrs) for row in first)


def test_every_kind_of_note_has_its_warning() -> None:
    assert WARNINGS.keys() == set(NOTES)


def test_a_restore_says_what_it_could_not_give_back(volume_site: Site, with_devices: tuple[Path, Path]) -> None:
    source, _ = with_devices
    (source / "program").write_bytes(b"x")
    os.setxattr(source / "program", "security.capability", CAPABILITY)
    done = volume_site.backup(source)
    assert done.backup.entries == 4
    target = volume_site.folder("target")
    back = volume_site.restore(done.archive, target, devices=True)
    assert back.warnings == {}
    assert facts(target) == facts(source)
    other = volume_site.folder("other")
    os.chown(other, 65532, 65532)
    back = volume_site.restore(done.archive, other, user="somebody", devices=True)
    assert back.restore.files == 1
    assert {reason: warning.count for reason, warning in back.warnings.items()} == {
        "OwnershipNotRestored": 2,
        "XattrsNotRestored": 1,
        "DevicesNotRestored": 2,
    }


def test_a_target_that_holds_no_attributes_gets_all_the_rest(trees: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    source, target = trees
    odd_tree(source)
    backup = back_up(source)

    def unsupported(*_: object, **__: object) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    with monkeypatch.context() as patched:
        for call in ("listxattr", "setxattr", "removexattr"):
            patched.setattr(os, call, unsupported)
        done = bring_back(backup, target)
    assert done.refused.xattrs_refused == sum(bool(row.xattrs) for row in rows(backup)) > 5
    wanted, found = facts(source), facts(target)
    assert wanted.pop(b"size 513")[1] == 0o654
    assert found.pop(b"size 513")[1] == 0o604  # not what its ACL's mask allowed
    assert {path: fact[:6] for path, fact in found.items()} == {path: fact[:6] for path, fact in wanted.items()}
    assert not any(fact[6] for fact in found.values())
