"""The header encoding is part of the format: a restore compares it byte for byte."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile

import pytest

from iot_backup.worker import tar
from iot_backup.worker.index import BLOCK_DEVICE, CHARACTER_DEVICE, FIFO, FILE, FOLDER, HARD_LINK, HOLE, ROOT, SYMLINK, Part, Row
from tests.pipeline.roundtrip import ACL

BASE = Row(b"folder/name", FILE, 5, 1_700_000_000_999_999_999, 1, 1, 0o640, 1000, 2000, 0, 0)


def read(header: bytes, size: int = 0) -> tarfile.TarInfo:
    """The member as an independent reader sees it."""
    data = io.BytesIO(header + bytes(size + tar.padding(size)) + tar.END)
    with tarfile.open(fileobj=data, encoding="utf-8", errors="surrogateescape") as archive:
        member = archive.next()
    assert member is not None
    return member


def test_the_encoding_of_version_1_never_changes() -> None:
    rows = [
        BASE,
        BASE._replace(path=ROOT, kind=FOLDER, size=0),
        BASE._replace(path=b"n" * 101, uid=2**32 - 2, gid=2_097_152, mtime_ns=-1),
        BASE._replace(path=b"\xff" * 150, kind=SYMLINK, size=0, link=b"t" * 300),
        BASE._replace(kind=HARD_LINK, size=0, link=b".kbackup/x"),
        BASE._replace(size=8 << 30, mtime_ns=10**20),
        BASE._replace(path=b".kbackup", kind=FIFO, size=0),
    ]
    digest = hashlib.sha256(b"".join(tar.header(row) for row in rows)).hexdigest()
    assert digest == "99444cdc4f75fd8e9e8e8c1206f9f63a003cb96cfeba223fbd5608923476b112", (
        "this is a new format: raise index.VERSION, and keep reading the old one"
    )


XATTRS = ((b"system.posix_acl_access", ACL), (b"user.a", b"\0=\n\xff"), (b"user.b=%", b""))
SPARSE = (Part(HOLE, 0, 1 << 20), Part(0, 5, 4096), Part(HOLE, 0, 10), Part(0, 7, 3))
RARE = [
    BASE._replace(xattrs=XATTRS),
    BASE._replace(path=b"d", kind=FOLDER, size=0, xattrs=XATTRS[1:]),
    BASE._replace(path=b"l", kind=SYMLINK, size=0, link=b"x", xattrs=XATTRS[1:]),
    BASE._replace(path=b"sda", kind=BLOCK_DEVICE, size=0, device=(8, 1)),
    BASE._replace(path=b"tty", kind=CHARACTER_DEVICE, size=0, device=(4095, 1048575)),
    BASE._replace(size=(1 << 20) + 4109, parts=SPARSE),
    BASE._replace(path=b"\xff/" + b"n" * 200, size=(1 << 20) + 4109, parts=SPARSE, xattrs=XATTRS, uid=2**32 - 2),
    BASE._replace(path=b"all a hole", size=16 << 30, parts=(Part(HOLE, 0, 16 << 30),)),
]


def test_the_encoding_of_what_is_rare_never_changes_either() -> None:
    digest = hashlib.sha256(b"".join(tar.header(row) for row in RARE)).hexdigest()
    assert digest == "1e10c9106d89269275ba8dd0f49ac181fb5c0646c27ff5ea3b6f67d64009992a", (
        "this is a new format: raise index.VERSION, and keep reading the old one"
    )


def test_a_header_does_not_know_where_the_parts_of_its_file_are() -> None:
    row = RARE[5]
    moved = tuple(Part(min(part.archive, 0), 0, part.length) for part in SPARSE)
    assert tar.header(row) == tar.header(row._replace(parts=moved))


@pytest.mark.parametrize(("row", "kind"), [(RARE[3], "isblk"), (RARE[4], "ischr")])
def test_devices_have_their_numbers(row: Row, kind: str) -> None:
    header = tar.header(row)
    member = read(header)
    assert len(header) == tar.BLOCK
    assert getattr(member, kind)()
    assert (member.devmajor, member.devminor, member.mode, member.uid) == (*row.device, row.mode, row.uid)


def test_extended_attributes_are_records_under_the_names_of_star() -> None:
    header = tar.header(RARE[0])
    size = int(header[124:135], 8)
    assert header[512 : 512 + size] == (
        b"91 SCHILY.acl.access=user::rw-\nuser:1234:r--\ngroup::---\ngroup:77:rwx\nmask::r-x\nother::r--\n\n"
        + b"%d SCHILY.xattr.system.posix_acl_access=%b\n" % (len(ACL) + 41, ACL)
        + b"28 SCHILY.xattr.user.a=\0=\n\xff\n"
        + b"30 SCHILY.xattr.user.b%3D%25=\n"
    )
    assert read(header, 5).name == "folder/name"


@pytest.mark.parametrize("row", RARE[5:7], ids=["plain", "odd"])
def test_another_reader_fills_the_holes(row: Row) -> None:
    data = os.urandom(4099)
    stored = tar.header(row) + data + bytes(tar.padding(tar.stored_size(row))) + tar.END
    assert tar.stored_size(row) == len(data)
    with tarfile.open(fileobj=io.BytesIO(stored), encoding="utf-8", errors="surrogateescape") as archive:
        member = archive.next()
        assert member is not None
        assert (member.name.encode("utf-8", "surrogateescape"), member.size, member.uid) == (row.path, row.size, row.uid)
        file = archive.extractfile(member)
        assert file is not None
        assert file.read() == bytes(1 << 20) + data[:4096] + bytes(10) + data[4096:]
        assert archive.next() is None


@pytest.mark.parametrize(
    ("changes", "pax"),
    [
        ({}, False),
        ({"path": b"x" * 100}, False),
        ({"path": b"x" * 101}, True),
        ({"path": b"x" * 99, "kind": FOLDER, "size": 0}, False),
        ({"path": b"x" * 100, "kind": FOLDER, "size": 0}, True),
        ({"kind": SYMLINK, "size": 0, "link": b"y" * 100}, False),
        ({"kind": SYMLINK, "size": 0, "link": b"y" * 101}, True),
        ({"kind": HARD_LINK, "size": 0, "link": b"folder/other"}, False),
        ({"kind": FIFO, "size": 0}, False),
        ({"mode": 0o7777}, False),
        ({"uid": 2_097_151, "gid": 2_097_151}, False),
        ({"uid": 2_097_152}, True),
        ({"gid": 4_294_967_294}, True),
        ({"mtime_ns": 0}, False),
        ({"mtime_ns": -1}, True),
        ({"mtime_ns": -(10**18)}, True),
        ({"mtime_ns": 8_589_934_591 * 10**9}, False),
        ({"mtime_ns": 8_589_934_592 * 10**9}, True),
        ({"path": b"not utf-8 \xff"}, False),
        ({"path": b"\xff" * 101}, True),
        ({"path": "ä".encode() * 60}, True),
        ({"path": b"x" * 989}, True),
        ({"path": b"x" * 990}, True),
        ({"path": b"new\nline"}, False),
    ],
    ids=str,
)
def test_other_readers_see_what_was_written(changes: dict[str, object], pax: bool) -> None:
    row = BASE._replace(**changes)  # type: ignore[arg-type]
    header = tar.header(row)
    member = read(header, row.size)
    assert len(header) % tar.BLOCK == 0
    assert (header[156:157] == b"x") == pax
    assert member.name.encode("utf-8", "surrogateescape") == row.path
    assert (member.mode, member.uid, member.gid, member.size) == (row.mode, row.uid, row.gid, row.size)
    assert int(member.mtime) == row.mtime_ns // 10**9
    assert member.linkname.encode() == row.link
    assert [member.isreg(), member.isdir(), member.issym(), member.islnk(), member.isfifo()] == [
        row.kind == kind for kind in (FILE, FOLDER, SYMLINK, HARD_LINK, FIFO)
    ]


def test_sizes_beyond_8_gib_fit() -> None:
    header = tar.header(BASE._replace(size=8 << 30))
    assert b" size=8589934592\n" in header
    assert header[-512:][124:136] == b"00000000000\0"


@pytest.mark.parametrize(
    ("path", "stored"),
    [
        (b".kbackup", b".kbackup~"),
        (b".kbackup/deleted", b".kbackup~/deleted"),
        (b".kbackup~", b".kbackup~~"),
        (b".kbackup~/x/.kbackup", b".kbackup~~/x/.kbackup"),
        (b".kbackups", b".kbackups"),
        (b"a/.kbackup", b"a/.kbackup"),
        (b".kbackup.d", b".kbackup.d"),
        (b".", b"."),
    ],
)
def test_our_own_names_are_never_taken_by_a_user(path: bytes, stored: bytes) -> None:
    assert tar.stored_name(path) == stored


@pytest.mark.parametrize(("size", "padding"), [(0, 0), (1, 511), (511, 1), (512, 0), (513, 511)])
def test_padding_fills_a_block(size: int, padding: int) -> None:
    assert tar.padding(size) == padding
