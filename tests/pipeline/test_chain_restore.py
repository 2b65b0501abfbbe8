"""A restore out of the archives of a chain: each read forwards, each frame once, in bounded memory."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import threading
from pathlib import Path

import pytest

from iot_backup.errors import CorruptData
from iot_backup.worker import tar
from iot_backup.worker.compression import FRAME_SIZE
from iot_backup.worker.extract import Rules
from iot_backup.worker.index import FILE, HOLE, Part
from iot_backup.worker.unpacking import unpack
from tests.pipeline import roundtrip
from tests.pipeline.chains import fill, grown, on_top, whole_blocks, with_rows
from tests.pipeline.roundtrip import back_up, bring_back, facts, index_of, odd_tree, rows


def first(source: Path) -> None:
    odd_tree(source)
    fill(source / "big" / "a", 5 << 20)
    fill(source / "big" / "b", 5 << 20)


def second(source: Path) -> None:
    fill(source / "big" / "a", 3 << 20)
    (source / "a new one").write_bytes(b"new")
    (source / "size 512").unlink()
    (source / "size 513").chmod(0o600)
    os.utime(source / "secret", ns=(0, 1))


def third(source: Path) -> None:
    (source / "a new one").unlink()
    (source / "a new one").mkdir()
    (source / "a new one" / "inside").write_bytes(b"x")
    shutil.rmtree(source / "deep")
    (source / "deep").write_bytes(b"a file now")


@pytest.mark.parametrize(("cipher", "level"), [("Age", 1), ("AES256", 1), ("None", None)])
def test_each_member_of_a_chain_comes_back_as_it_was(source: Path, tmp_path: Path, cipher: str, level: int | None) -> None:
    states: list[dict[bytes, tuple[object, ...]]] = []
    changes = [lambda root, do=do: (do(root), states.append(facts(root))) for do in (first, second, third)]
    chain = grown(source, changes, cipher=cipher, level=level)
    for number, expected in enumerate(states):
        target = tmp_path / f"target{number}"
        target.mkdir()
        done = bring_back(chain[number], target, before=chain[:number])
        assert facts(target) == expected
        assert done.written.bytes == chain[number].packed.counts.source_bytes
    used = {row.archive for row in rows(chain[2]) if row.kind == FILE}
    assert used == {0, 1, 2}


def test_blocks_of_several_archives_make_one_file(source: Path, target: Path) -> None:
    block = 32 << 10
    fill(source / "database", 6 << 20)
    (source / "other").write_bytes(b"other")
    before = back_up(source)
    content = bytearray((source / "database").read_bytes())
    changed = {0, 7, 8, 100, (6 << 20) // block - 1}
    for number in changed:
        content[number * block : number * block + 10] = b"0123456789"
    (source / "database").write_bytes(content)
    later = on_top([before], back_up(source))
    old, new = (next(row for row in rows(one) if row.path == b"database") for one in (before, later))
    delta = [whole_blocks(old, new, block, changed, 1) if row.path == b"database" else row for row in rows(later)]
    chain = with_rows(later, delta, 2)
    bring_back(chain, target, before=[before])
    assert (target / "database").read_bytes() == content
    wrong = [row._replace(parts=whole_blocks(old, new, block, changed - {7}, 1).parts) if row.parts else row for row in delta]
    with pytest.raises(CorruptData, match="not what the index says"):
        bring_back(with_rows(later, wrong, 2), target, before=[before])
    assert (target / "database").read_bytes() == content, "a wrong file never takes the place of one"


def test_holes_are_not_written_and_count_in_the_hash(source: Path, target: Path) -> None:
    data = os.urandom(1 << 20)
    (source / "f").write_bytes(data)
    backup = back_up(source)
    root, row = rows(backup)
    begin, hole = row.offset + len(tar.header(row)), 64 << 20
    whole = data[: 1 << 19] + bytes(hole) + data[1 << 19 :] + bytes(hole)
    parts = (Part(0, begin, 1 << 19), Part(HOLE, 0, hole), Part(0, begin + (1 << 19), 1 << 19), Part(HOLE, 0, hole))
    sparse = row._replace(size=len(whole), sha256=hashlib.sha256(whole).hexdigest(), parts=parts)
    bring_back(with_rows(backup, [root, sparse]), target)
    assert (target / "f").read_bytes() == whole
    assert (target / "f").stat().st_blocks * 512 < 4 << 20
    with pytest.raises(CorruptData, match="not what the index says"):
        bring_back(with_rows(backup, [root, sparse._replace(sha256=hashlib.sha256(whole[:-1] + b"x").hexdigest())]), target)


def test_a_file_of_nothing_but_a_hole(source: Path, target: Path) -> None:
    (source / "f").write_bytes(b"")
    backup = back_up(source)
    root, row = rows(backup)
    size = 5_000_001
    sparse = row._replace(size=size, sha256=hashlib.sha256(bytes(size)).hexdigest(), parts=(Part(HOLE, 0, size),))
    bring_back(with_rows(backup, [root, sparse]), target)
    assert (target / "f").stat().st_size == size
    assert (target / "f").stat().st_blocks == 0


@pytest.mark.parametrize("number", [0, 1])
def test_a_flipped_byte_in_any_archive_of_a_chain_is_told(source: Path, target: Path, number: int) -> None:
    chain = grown(source, [lambda root: [fill(root / name, 300_000) for name in "ab"], lambda root: fill(root / "b", 300_000)])
    archive = chain[number].archive
    told = 0
    for at in range(50, len(archive), len(archive) // 9):
        flipped = archive[:at] + bytes([archive[at] ^ 1]) + archive[at + 1 :]
        evil = [dataclasses.replace(one, archive=flipped) if one is chain[number] else one for one in chain]
        try:
            bring_back(evil[1], target, before=evil[:1])
        except CorruptData:
            told += 1
        else:
            assert facts(target) == facts(source), "what nobody needs may be damaged"
    assert told >= 3


def test_another_members_archive_in_its_place_is_told(source: Path, target: Path) -> None:
    chain = grown(source, [lambda root: fill(root / "a", 300_000), lambda root: fill(root / "b", 300_000)])
    fill(source / "a", 300_000)
    with pytest.raises(CorruptData, match="not what the index says"):
        bring_back(chain[1], target, before=[back_up(source)])
    swapped = dataclasses.replace(chain[0], archive=chain[1].archive[: len(chain[0].archive)])
    with pytest.raises(CorruptData):
        bring_back(chain[1], target, before=[swapped])


def test_each_stored_byte_is_read_once(source: Path, target: Path) -> None:
    """In a chain whose rows go to and fro between three archives."""
    names = [f"{number:04}" for number in range(600)]

    def change(step: int):
        return lambda root: [fill(root / name, 20_000) for at, name in enumerate(names) if step == 0 or at % 3 == step]

    chain = grown(source, [change(0), change(1), change(2)])
    read = [0, 0, 0]

    def counting(number: int):
        def fetch(start: int, length: int) -> bytes:
            read[number] += length
            return chain[number].archive[start : start + length]

        return fetch

    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sources = [roundtrip.source(one, counting(number)) for number, one in enumerate(chain)]
        unpack(index_of(chain[2]), sources, root, Rules(), threading.Event())
    finally:
        os.close(root)
    assert facts(target) == facts(source)
    for number, one in enumerate(chain):
        # Twice at most: the table's end, the chunks on both sides of a range, and the header.
        assert read[number] < len(one.archive) * 1.1 + (200 << 10)
    assert sum(len(one.archive) for one in chain) > 8 * FRAME_SIZE
