"""Sparse files: stored without their holes, byte for byte where the index says, and sparse again after stock tools."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from iot_backup.crypto.container import opener
from iot_backup.repository.reading import Pull
from iot_backup.worker.compression import Decompressed
from iot_backup.worker.contents import Files
from iot_backup.worker.index import CHANGED, DAMAGED, HOLE, Row
from iot_backup.worker.sparse import MAX_EXTENTS
from tests.pipeline.roundtrip import IDENTITY, Backup, back_up, bring_back, facts, pieces, rows, stock_restore
from tests.pipeline.test_sources_that_change import Failing, Meddling

MIB = 1 << 20


def write(path: Path, size: int, data: dict[int, bytes]) -> None:
    """A file of `size` bytes with these runs of data and holes elsewhere."""
    with path.open("wb") as file:
        for at, content in data.items():
            file.seek(at)
            file.write(content)
        file.truncate(size)
    os.sync()


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    (root / ("d" * 150)).mkdir(parents=True)
    write(root / "all a hole", 50 * MIB, {})
    write(root / "begins with data", 20 * MIB, {0: os.urandom(5000)})
    write(root / "ends with data", 20 * MIB + 77, {20 * MIB: os.urandom(77)})
    write(root / "in the middle", 30 * MIB, {MIB: os.urandom(100_000), 9 * MIB: os.urandom(3 * MIB), 29 * MIB: b"x"})
    write(root / ("d" * 150) / "\udcff", 10 * MIB, {5 * MIB: os.urandom(4096)})
    write(root / "zeros that are stored", 2 * MIB, {0: bytes(2 * MIB)})
    (root / "dense").write_bytes(os.urandom(3 * MIB))
    os.setxattr(root / "in the middle", "user.note", b"sparse, too")
    os.link(root / "in the middle", root / "of two names")
    if allocated(root / "all a hole"):
        pytest.skip("this file system has no holes")
    return root


def tar_stream(backup: Backup) -> bytes:
    plain = opener(Pull(pieces(backup.archive)), backup.cipher, IDENTITY, backup.packed.archive.header_sha256)
    if backup.compressed:
        return Decompressed(plain).readall()
    found, piece = bytearray(), bytearray(MIB)
    while count := plain.readinto(piece):
        found += piece[:count]
    return bytes(found)


def by_name(backup: Backup) -> dict[str, Row]:
    return {os.fsdecode(row.path): row for row in rows(backup)}


@pytest.mark.parametrize("level", [1, None])
def test_the_parts_of_a_row_are_where_it_says(source: Path, level: int | None) -> None:
    backup = back_up(source, level=level)
    stream = tar_stream(backup)
    sparse = 0
    for row in rows(backup):
        if row.kind != "f":
            continue
        content = (source / os.fsdecode(row.path)).read_bytes()
        assert row.sha256 == hashlib.sha256(content).hexdigest()
        at = 0
        for part in row.parts:
            found = bytes(part.length) if part.archive == HOLE else stream[part.position : part.position + part.length]
            assert part.archive in (0, HOLE)
            assert content[at : at + part.length] == found
            at += part.length
        assert at == (len(content) if row.parts else 0)
        sparse += bool(row.parts)
    assert sparse == 5
    stored = sum(path.stat().st_size for path in (source / "dense", source / "zeros that are stored"))
    assert backup.packed.tar_size < stored + 4 * MIB
    assert backup.packed.counts.source_bytes < stored + 4 * MIB


def test_stock_tar_gives_sparse_files_back_as_such(source: Path, tmp_path: Path) -> None:
    target, scratch = tmp_path / "target", tmp_path / "scratch"
    target.mkdir()
    scratch.mkdir()
    stock_restore(back_up(source), target, scratch)
    os.utime(target, ns=(0, source.stat().st_mtime_ns))
    assert facts(target, whole_seconds=True) == facts(source, whole_seconds=True)
    os.sync()
    for name in ("all a hole", "begins with data", "ends with data", "in the middle"):
        assert allocated(target / name) <= allocated(source / name) + 65536


def test_our_restore_gives_the_same_content(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    bring_back(back_up(source), tmp_path / "target")
    assert facts(tmp_path / "target") == facts(source)


def test_python_reads_it_too(source: Path, tmp_path: Path) -> None:
    import tarfile

    with tarfile.open(fileobj=io.BytesIO(tar_stream(back_up(source)))) as archive:
        member = archive.getmember("in the middle")
        file = archive.extractfile(member)
        assert file is not None
        assert file.read() == (source / "in the middle").read_bytes()


def test_a_file_of_very_many_holes_is_stored_in_bounded_pieces(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    target, scratch = tmp_path / "target", tmp_path / "scratch"
    target.mkdir()
    scratch.mkdir()
    path = tmp_path / "source" / "holes"
    count = MAX_EXTENTS + 500
    with path.open("wb") as file:
        for i in range(count):
            os.pwrite(file.fileno(), b"%d" % i, i * 12288)
        file.truncate(count * 12288)
    os.sync()
    backup = back_up(tmp_path / "source")
    row = by_name(backup)["holes"]
    assert 0 < sum(part.archive != HOLE for part in row.parts) <= MAX_EXTENTS
    stock_restore(backup, target, scratch)
    assert (target / "holes").read_bytes() == path.read_bytes()
    bring_back(backup, target)
    assert (target / "holes").read_bytes() == path.read_bytes()


class _FirstOnly(Meddling):
    """Meddles once, before the first reading of the one file."""

    def __init__(self, change: object) -> None:
        super().__init__(lambda _name, n: change() if n == 1 else None)  # type: ignore[operator]


@pytest.mark.parametrize("large", [False, True], ids=["one buffer", "more than a buffer"])
def test_data_that_comes_into_a_hole_meanwhile_is_found_by_the_second_reading(tmp_path: Path, large: bool) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    path = tmp_path / "source" / "sparse"
    write(path, 40 * MIB, {MIB: os.urandom((5 if large else 1) * MIB)})

    def change() -> None:
        with path.open("r+b") as file:
            os.pwrite(file.fileno(), b"new", 30 * MIB)

    backup = back_up(tmp_path / "source", files=_FirstOnly(change))
    assert backup.packed.notes[CHANGED].count == 0
    bring_back(backup, tmp_path / "target")
    assert (tmp_path / "target" / "sparse").read_bytes() == path.read_bytes()


def test_a_sparse_file_that_shrinks_each_time_is_stored_as_promised_and_noted(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    target, scratch = tmp_path / "target", tmp_path / "scratch"
    target.mkdir()
    scratch.mkdir()
    path = tmp_path / "source" / "sparse"
    write(path, 40 * MIB, {0: os.urandom(MIB), 20 * MIB: os.urandom(MIB)})

    class Shrinking(Files):
        def read(self, descriptor: int, view: memoryview) -> int:
            count = super().read(descriptor, view)
            if count:
                os.truncate(path, max(0, path.stat().st_size - 25 * MIB))
            return count

    backup = back_up(tmp_path / "source", files=Shrinking())
    row = by_name(backup)["sparse"]
    assert row.state == CHANGED
    assert backup.packed.notes[CHANGED].count == 1
    bring_back(backup, target)
    assert hashlib.sha256((target / "sparse").read_bytes()).hexdigest() == row.sha256
    stock_restore(backup, target, scratch)
    assert hashlib.sha256((target / "sparse").read_bytes()).hexdigest() == row.sha256


def test_a_sparse_file_that_cannot_be_read_to_its_end_has_zeros_for_the_rest(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "target").mkdir()
    first = os.urandom(MIB)
    write(tmp_path / "source" / "sparse", 40 * MIB, {MIB: first, 20 * MIB: os.urandom(MIB)})
    backup = back_up(tmp_path / "source", files=Failing(b"sparse", reads=2, openings=2))
    row = by_name(backup)["sparse"]
    assert row.state == DAMAGED
    assert backup.packed.partial
    assert f"Input/output error after {20 * MIB} of {40 * MIB} bytes" in backup.packed.notes[DAMAGED].examples[0]
    bring_back(backup, tmp_path / "target")
    assert (tmp_path / "target" / "sparse").read_bytes() == bytes(MIB) + first + bytes(38 * MIB)


@pytest.mark.skipif(shutil.which("bsdtar") is None, reason="needs bsdtar")
def test_bsdtar_gives_it_back_too(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    subprocess.run(["bsdtar", "-xpf", "-", "-C", str(tmp_path / "target")], input=tar_stream(back_up(source)), check=True)
    os.utime(tmp_path / "target", ns=(0, source.stat().st_mtime_ns))
    assert facts(tmp_path / "target", whole_seconds=True) == facts(source, whole_seconds=True)
