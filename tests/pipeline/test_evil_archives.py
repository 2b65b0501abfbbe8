"""Archives and indexes that nobody honest wrote: refused as CorruptData, and nothing outside the target is touched."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
import struct
import threading
import tracemalloc
from array import array
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, cast

import pytest
import zstandard

from iot_backup.crypto.container import NO_HEADER_SHA256, PassThroughReader
from iot_backup.crypto.ranged import RangedReader
from iot_backup.errors import CorruptData
from iot_backup.repository.reading import Pull
from iot_backup.worker import index, tar
from iot_backup.worker.compression import FOOTER_SIZE, Decompressed, frame_sizes, seek_table, table_size
from iot_backup.worker.extract import Rules
from iot_backup.worker.index import FIFO, FILE, FOLDER, HARD_LINK, SYMLINK, Row
from iot_backup.worker.index_reader import IndexReader
from iot_backup.worker.mirror import Mirror
from iot_backup.worker.selection import EVERYTHING, Selection
from iot_backup.worker.unpacking import Source, Unpacked, unpack
from tests.pipeline.roundtrip import Backup, back_up, bring_back, pieces, slices

if TYPE_CHECKING:
    from iot_backup.core.spec import OnConflict

CONTENT = b"evil"
SHA256 = hashlib.sha256(CONTENT).hexdigest()


def row(path: bytes, kind: str = FILE, **changes: object) -> Row:
    size, sha256 = (len(CONTENT), SHA256) if kind == FILE else (0, "")
    base = Row(path, kind, size, 10**18, 10**18, 1, 0o755 if kind == FOLDER else 0o644, os.geteuid(), os.getegid(), 0, 0, sha256)
    return base._replace(**changes)  # type: ignore[arg-type]


ROOT = row(index.ROOT, FOLDER)


def build(rows: list[Row], *, told: Callable[[Row], Row] = lambda row: row, end: bytes = tar.END) -> tuple[bytes, bytes]:
    """Archive and index of these rows; `told` is what the index says of each."""
    stream, lines = bytearray(), [index.first_line(["0123456789abcdef"])]
    for given in rows:
        lines.append(index.member_line(told(given)._replace(offset=len(stream))))
        stream += tar.header(given)
        if given.kind == FILE:
            stream += CONTENT + bytes(tar.padding(len(CONTENT)))
    stream += end
    lines.append(index.last_line(members=len(rows), notes=0, tar_size=len(stream)))
    return bytes(stream), b"".join(lines)


def restore(
    archive: bytes, lines: bytes, target: Path, *, signed: int | None = None, compressed: bool = False, rules: Rules | None = None
) -> Unpacked:
    """`signed`: the size that the manifest says."""
    size = len(archive) if signed is None else signed
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        index_reader = IndexReader(Decompressed(PassThroughReader(Pull(pieces(zstandard.compress(lines))))))
        source = Source(lambda: RangedReader(slices(archive), size, "None", None, NO_HEADER_SHA256), compressed)
        return unpack(index_reader, [source], root, rules or Rules(), threading.Event())
    finally:
        os.close(root)


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "victim").write_bytes(b"untouched")
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


@pytest.fixture(autouse=True)
def _nothing_outside_is_touched(target: Path):
    yield
    outside = target.parent / "outside"
    assert {p.name: p.read_bytes() for p in outside.iterdir()} == {"victim": b"untouched"}
    assert sorted(p.name for p in target.parent.iterdir()) == ["outside", "target"]


def test_the_builder_itself_writes_what_is_accepted(target: Path) -> None:
    done = restore(*build([ROOT, row(b"a"), row(b"d", FOLDER), row(b"d/f")]), target)
    assert (done.written.files, (target / "d" / "f").read_bytes()) == (2, CONTENT)


IMPOSSIBLE = [
    pytest.param([ROOT, row(b"../outside/victim")], id="parent"),
    pytest.param([ROOT, row(b"d", FOLDER), row(b"d/../../outside/victim")], id="parent inside"),
    pytest.param([ROOT, row(b"/etc/victim")], id="absolute"),
    pytest.param([ROOT, row(b"")], id="empty"),
    pytest.param([ROOT, row(b"d", FOLDER), row(b"d//f")], id="empty component"),
    pytest.param([ROOT, row(b"./f")], id="dot"),
    pytest.param([ROOT, row(b"d/", FOLDER)], id="slash at the end"),
    pytest.param([ROOT, row(b"..", FOLDER)], id="parent folder"),
    pytest.param([ROOT, row(b"f\0g")], id="NUL"),
    pytest.param([ROOT, row(b"l", SYMLINK, link=b"../outside"), row(b"l/victim")], id="through a link"),
    pytest.param([ROOT, row(b"l", SYMLINK, link=b"../outside"), row(b"l", FOLDER), row(b"l/victim")], id="link, then folder"),
    pytest.param([ROOT, row(b"l", SYMLINK, link=b"../outside/victim"), row(b"l")], id="link, then file"),
    pytest.param([ROOT, row(b"h", HARD_LINK, link=b"../outside/victim")], id="hard link out"),
    pytest.param([ROOT, row(b"h", HARD_LINK, link=b"/etc/passwd")], id="hard link absolute"),
    pytest.param([ROOT, row(b"h", HARD_LINK, link=b"existing")], id="hard link to what was there"),
    pytest.param([ROOT, row(b"a", SYMLINK, link=b"../outside"), row(b"h", HARD_LINK, link=b"a/victim")], id="hard link by a link"),
    pytest.param([ROOT, row(b"a"), row(b"h", HARD_LINK, link=b"a")], id="hard link to a file of one name"),
    pytest.param([ROOT, row(b"a", links=2), row(b"h", HARD_LINK, link=b"a"), row(b"i", HARD_LINK, link=b"a")], id="too many names"),
    pytest.param([ROOT, row(b"b"), row(b"a")], id="out of order"),
    pytest.param([ROOT, row(b"a"), row(b"a")], id="twice"),
    pytest.param([ROOT, row(b"d", FOLDER), row(b"e"), row(b"d/f")], id="back into a folder"),
    pytest.param([ROOT, row(b"d/f")], id="folder missing"),
    pytest.param([ROOT, ROOT], id="two roots"),
    pytest.param([row(b"a")], id="no root"),
    pytest.param([], id="nothing"),
    pytest.param([row(index.ROOT)], id="root is a file"),
    pytest.param([ROOT, row(b"l", SYMLINK)], id="link without target"),
    pytest.param([ROOT, row(b"p", FIFO, link=b"x")], id="fifo with target"),
    pytest.param([ROOT, row(b"a", sha256="0" * 64)], id="wrong content"),
    pytest.param([ROOT, row(b"a", state="superseded")], id="first reading without a second"),
]


@pytest.mark.parametrize("rows", IMPOSSIBLE)
def test_impossible_members_are_refused(target: Path, rows: list[Row]) -> None:
    (target / "existing").write_bytes(b"mine")
    with pytest.raises(CorruptData):
        restore(*build(rows), target)
    assert (target / "existing").read_bytes() == b"mine"
    assert not [p.name for p in target.rglob("*partial*")]


@pytest.mark.parametrize("rows", IMPOSSIBLE)
@pytest.mark.parametrize("rule", ["KeepNewer", "SkipExisting", "Mirror", "selection"])
def test_no_rule_lets_them_out_of_the_target(target: Path, rows: list[Row], rule: str) -> None:
    """Though what lies in the way may keep some from being looked at."""
    (target / "existing").write_bytes(b"mine")
    for name in ("a", "d", "h", "l"):
        (target / name).symlink_to(target.parent / "outside")
    selection = Selection(["victim", "f", "a", "h"]) if rule == "selection" else EVERYTHING
    on_conflict = cast("OnConflict", "Overwrite" if rule == "selection" else rule)
    with suppress(CorruptData):
        restore(*build(rows), target, rules=Rules(on_conflict, selection, Mirror() if rule == "Mirror" else None))
    assert rule == "Mirror" or (target / "existing").read_bytes() == b"mine"
    assert not [p.name for p in target.rglob("*partial*")]


@pytest.mark.parametrize(
    "changes",
    [{"mode": 0o6755}, {"uid": 1}, {"gid": 1}, {"mtime_ns": 0}, {"path": b"b"}, {"size": 5}, {"kind": FIFO, "size": 0, "sha256": ""}],
    ids=str,
)
def test_a_header_that_disagrees_with_the_index_is_refused(target: Path, changes: dict[str, object]) -> None:
    evil = row(b"a")._replace(**changes)  # type: ignore[arg-type]
    with pytest.raises(CorruptData, match="do not agree"):
        restore(*build([ROOT, evil], told=lambda given: given if given.path == index.ROOT else row(b"a")), target)
    assert not (target / "a").exists()


@pytest.mark.parametrize("cut", [1, 512, 1024, 1536, 2048])
def test_an_archive_cut_anywhere_is_refused(target: Path, cut: int) -> None:
    archive, lines = build([ROOT, row(b"a")])
    with pytest.raises(CorruptData):
        restore(archive[:-cut], lines, target)
    with pytest.raises(CorruptData, match="cut off"):
        restore(archive[:-cut], lines, target, signed=len(archive))


@pytest.mark.parametrize("extra", [b"x", bytes(512), bytes(1 << 21)], ids=["byte", "block", "much"])
def test_anything_behind_the_end_is_refused(target: Path, extra: bytes) -> None:
    archive, lines = build([ROOT, row(b"a")])
    with pytest.raises(CorruptData, match="do not agree on the archive's size"):
        restore(archive + extra, lines, target)


def test_a_member_that_the_index_does_not_know_is_refused(target: Path) -> None:
    archive, _ = build([ROOT, row(b"a"), row(b"b")])
    _, lines = build([ROOT, row(b"a")])
    with pytest.raises(CorruptData):
        restore(archive, lines, target)


def test_an_index_cut_at_any_line_is_refused(target: Path) -> None:
    archive, lines = build([ROOT, row(b"a"), row(b"b")])
    whole = lines.splitlines(keepends=True)
    for count in range(len(whole)):
        with pytest.raises(CorruptData):
            restore(archive, b"".join(whole[:count]), target)
    with pytest.raises(CorruptData):
        restore(archive, lines[:-1], target)
    with pytest.raises(CorruptData):
        restore(archive, lines + whole[-1], target)
    with pytest.raises(CorruptData):
        restore(archive, b"".join([*whole[:2], *whole[3:]]), target)


@pytest.mark.parametrize(
    "line",
    [
        b"[]",
        b"nonsense",
        b"[" * 100_000,
        b'{"path":"a","kind":"f"}',
        b'{"path":1,"kind":"f","size":1}',
        b'{"path":"\\ud800","kind":"d","size":0,"mtime_ns":0,"ctime_ns":0,"inode":0,"mode":0,"uid":0,"gid":0,"archive":0,"offset":512}',
        b'{"path":"a","kind":"x","size":0,"mtime_ns":0,"ctime_ns":0,"inode":0,"mode":0,"uid":0,"gid":0,"archive":0,"offset":512}',
        b'{"path":"a","kind":"d","size":0,"mtime_ns":0,"ctime_ns":0,"inode":0,"mode":true,"uid":0,"gid":0,"archive":0,"offset":512}',
        b'{"path":"a","kind":"d","size":0,"mtime_ns":0.5,"ctime_ns":0,"inode":0,"mode":0,"uid":0,"gid":0,"archive":0,"offset":512}',
        b'{"path":"a","kind":"d","size":0,"mtime_ns":0,"ctime_ns":0,"inode":0,"mode":65536,"uid":0,"gid":0,"archive":0,"offset":512}',
        b'{"path":"a","kind":"d","size":0,"mtime_ns":0,"ctime_ns":0,"inode":0,"mode":0,"uid":4294967295,"gid":0,"archive":0,"offset":512}',
        b'{"path":"a","kind":"d","size":0,"mtime_ns":0,"ctime_ns":0,"inode":0,"mode":0,"uid":-1,"gid":0,"archive":0,"offset":512}',
    ],
)
def test_a_malformed_line_is_refused(target: Path, line: bytes) -> None:
    archive, lines = build([ROOT])
    first, root, rest = lines.split(b"\n", 2)
    with pytest.raises(CorruptData):
        restore(archive, b"\n".join([first, root, line, rest]), target)


def test_an_endless_line_does_not_fill_the_memory(target: Path) -> None:
    with pytest.raises(CorruptData):
        restore(b"", b'{"format":"' + bytes(32 << 20), target)


def test_an_index_of_a_later_version_says_so(target: Path) -> None:
    archive, lines = build([ROOT])
    with pytest.raises(CorruptData, match="version 2"):
        restore(archive, lines.replace(b'"version":1', b'"version":2'), target)


@pytest.fixture
def honest(tmp_path_factory: pytest.TempPathFactory) -> Backup:
    source = tmp_path_factory.mktemp("honest")
    for name in "abc":
        (source / name).write_bytes(name.encode() + os.urandom(3 << 20))
    return back_up(source, cipher="None")


def test_swapped_frames_are_told(target: Path, honest: Backup) -> None:
    """With or without their entries in the table."""
    table = honest.archive[-table_size(honest.archive[-FOOTER_SIZE:]) :]
    sizes = frame_sizes(table)
    assert len(sizes) >= 6
    first, second = sizes[0], sizes[0] + sizes[2]
    frames = honest.archive[first:second] + honest.archive[:first] + honest.archive[second : -len(table)]
    moved = array("I", [*sizes[2:4], *sizes[:2], *sizes[4:]])
    for end in (table, seek_table(moved)):
        with pytest.raises(CorruptData):
            bring_back(dataclasses.replace(honest, archive=frames + end), target)


def test_every_flipped_byte_of_a_sealed_archive_or_index_is_told(tmp_path_factory: pytest.TempPathFactory, target: Path) -> None:
    source = tmp_path_factory.mktemp("source")
    (source / "f").write_bytes(os.urandom(200_000))
    backup = back_up(source)
    for name in ("archive", "index"):
        data = getattr(backup, name)
        for at in [*range(0, len(data), max(1, len(data) // 12)), len(data) - 1]:
            flipped = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
            with pytest.raises(CorruptData):
                bring_back(dataclasses.replace(backup, **{name: flipped}), target)


def test_a_sealed_archive_cut_at_any_chunk_is_told(tmp_path_factory: pytest.TempPathFactory, target: Path) -> None:
    source = tmp_path_factory.mktemp("source")
    (source / "f").write_bytes(os.urandom(300_000))
    backup = back_up(source)
    header = len(backup.archive) % (65536 + 16)
    for size in [*range(0, len(backup.archive), 65536 + 16), header, len(backup.archive) - 1]:
        with pytest.raises(CorruptData):
            bring_back(dataclasses.replace(backup, archive=backup.archive[:size]), target)


def test_another_archive_of_the_same_shape_is_told(tmp_path_factory: pytest.TempPathFactory, target: Path) -> None:
    source = tmp_path_factory.mktemp("source")
    (source / "f").write_bytes(b"one")
    one = back_up(source, level=None)
    stat = os.stat(source / "f")
    (source / "f").write_bytes(b"two")
    os.utime(source / "f", ns=(0, stat.st_mtime_ns))
    two = back_up(source, level=None)
    assert len(one.archive) == len(two.archive)
    with pytest.raises(CorruptData, match="manifest signs"):
        bring_back(dataclasses.replace(one, archive=two.archive), target)
    plain = dataclasses.replace(one.packed, archive=two.packed.archive)
    with pytest.raises(CorruptData, match="not what the index says"):
        bring_back(dataclasses.replace(one, archive=two.archive, packed=plain), target)
    assert not (target / "f").exists()


def frame(size: int, **parameters: int) -> bytes:
    """A frame that unfolds to `size` zeros."""
    params = zstandard.ZstdCompressionParameters.from_level(3, write_content_size=True, **parameters)
    return zstandard.ZstdCompressor(compression_params=params).compress(bytes(size))


@pytest.mark.parametrize(
    ("stored", "said"),
    [
        pytest.param(frame(64 << 20), 2 << 20, id="more than the table says"),
        pytest.param(frame(64 << 20), 64 << 20, id="more than we write"),
        pytest.param(frame(512), 1024, id="less than the table says"),
        pytest.param(zstandard.ZstdCompressor(write_content_size=False).compress(bytes(64 << 20)), 2 << 20, id="no size in the frame"),
        pytest.param(frame(1024) + frame(64 << 20), 1024, id="a second frame behind it"),
        pytest.param(frame(1024)[:-1], 1024, id="cut"),
        pytest.param(b"", 1024, id="nothing"),
    ],
)
def test_a_decompression_bomb_is_refused_before_it_unfolds(target: Path, stored: bytes, said: int) -> None:
    _, lines = build([ROOT, row(b"a")])
    tracemalloc.start()
    try:
        with pytest.raises(CorruptData):
            restore(stored + seek_table(array("I", [len(stored), said])), lines, target, compressed=True)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 16 << 20
    assert os.listdir(target) == []


@pytest.mark.parametrize(
    "table",
    [
        pytest.param(b"", id="none"),
        pytest.param(b"x" * 8, id="short"),
        pytest.param(bytes(4096), id="zeros"),
        pytest.param(seek_table(array("I", [100, 1024])), id="frames that are not there"),
        pytest.param(seek_table(array("I", [])), id="no frames"),
        pytest.param(seek_table(array("I", [0xFFFFFFFF, 0xFFFFFFFF] * 10)), id="frames beyond any size"),
        pytest.param(struct.pack("<IBI", 0xFFFFFFFF, 0, 0x8F92EAB1), id="a table larger than the archive"),
        pytest.param(seek_table(array("I", [1, 1]))[4:], id="a table without its beginning"),
    ],
)
def test_a_table_of_frames_that_nobody_honest_wrote_is_refused(target: Path, table: bytes) -> None:
    _, lines = build([ROOT, row(b"a")])
    with pytest.raises(CorruptData):
        restore(table, lines, target, compressed=True)
    assert os.listdir(target) == []


def test_rows_that_point_anywhere_read_nothing_but_the_archive(target: Path) -> None:
    """Backwards, twice, beyond the end, into another archive: slow at worst, and held to each file's hash."""
    archive, lines = build([ROOT, row(b"a"), row(b"b"), row(b"c")])
    first, root, a, b, c, end = lines.splitlines(keepends=True)
    for offset in (1 << 62, len(archive), len(archive) - 1):
        wild = c.replace(b'"offset":%d' % json.loads(c)["offset"], b'"offset":%d' % offset)
        with pytest.raises(CorruptData):
            restore(archive, b"".join([first, root, a, b, wild, end]), target)
    at = {line: json.loads(line)["offset"] for line in (a, b, c)}
    crossed = [line.replace(b'"offset":%d,' % at[line], b'"offset":%d,"head":512,' % at[other]) for line, other in ((a, c), (b, b), (c, a))]
    assert restore(archive, b"".join([first, root, *crossed, end]), target).written.files == 3
    elsewhere = c.replace(b'"archive":0', b'"archive":1')
    with pytest.raises(CorruptData, match="malformed"):
        restore(archive, b"".join([first, root, a, b, elsewhere, end]), target)
