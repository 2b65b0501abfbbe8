"""Large files that change a little: what is stored of them, and that the content comes out of the whole chain bit by bit."""

from __future__ import annotations

import hashlib
import json
import os
import random
from itertools import pairwise
from pathlib import Path

import pytest

from iot_backup.worker import deltas
from iot_backup.worker.index import HOLE
from tests.pipeline.increments import Chain, Link
from tests.pipeline.test_sources_that_change import Meddling

BLOCK = 64 << 10
SIZE = (9 << 20) + 12_345


@pytest.fixture
def chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Chain:
    source = tmp_path / "source"
    source.mkdir()
    (source / "a small one").write_bytes(b"small")
    (source / "big").write_bytes(random.Random(1).randbytes(SIZE))
    (source / "z").write_bytes(b"behind")
    return Chain(source, monkeypatch)


def write_at(path: Path, position: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(position)
        file.write(data)


def applied(content: bytes, delta: bytes) -> bytes:
    """A delta on the parent's content, as the format's page describes it."""
    line, _, rest = delta.partition(b"\n")
    assert (len(line) + 1) % 512 == 0
    said = json.loads(line)
    new = bytearray(content[: said["size"]].ljust(said["size"], b"\0"))
    for first, count in said["blocks"]:
        begin, end = first * said["block"], min((first + count) * said["block"], said["size"])
        new[begin:end] = rest[: end - begin]
        rest = rest[end - begin :]
    assert not rest
    return bytes(new)


def test_only_changed_blocks_are_stored(chain: Chain) -> None:
    big = chain.source / "big"
    full = chain.back_up()
    was = big.read_bytes()
    write_at(big, 5 * BLOCK - 10, b"across two blocks----")
    write_at(big, SIZE - 1, b"!")
    second = chain.back_up(full)
    assert second.names == [".kbackup/delta/big"]
    delta = second.content(".kbackup/delta/big")
    assert json.loads(delta.splitlines()[0]) == {"size": SIZE, "block": BLOCK, "blocks": [[4, 2], [SIZE // BLOCK, 1]]}
    assert applied(was, delta) == big.read_bytes()
    assert second.packed.tar_size < 4 * BLOCK
    row = second.row[b"big"]
    assert [part.archive for part in row.parts] == [0, 1, 0, 1]
    chain.check(second)


def test_parts_are_of_the_whole_chain_and_never_of_a_delta_to_be_applied(chain: Chain) -> None:
    """WAL-G #1296, #1723: a delta restore that gave zero pages."""
    big, rng = chain.source / "big", random.Random(2)
    link = chain.back_up()
    contents = {link.id: big.read_bytes()}
    for _ in range(12):
        for _ in range(rng.randrange(1, 5)):
            write_at(big, rng.randrange(SIZE - 1000), rng.randbytes(1000))
        if rng.random() < 0.4:
            os.truncate(big, SIZE + rng.randrange(-100_000, 100_000))
        link = chain.back_up(link)
        contents[link.id] = big.read_bytes()
        assert [name for name in link.names if name == "big"] == []
        chain.check(link)
    for id_, content in contents.items():
        assert chain.links[id_].row[b"big"].sha256 == hashlib.sha256(content).hexdigest()
    merged = link.row[b"big"].parts
    assert all(a.archive != b.archive or a.position + a.length != b.position for a, b in pairwise(merged))


def test_block_hashes_go_along_where_the_file_does_not_change(chain: Chain) -> None:
    full = chain.back_up()
    link = chain.back_up(chain.back_up(full))
    blocks = [line for line in full.state_text.splitlines() if line.startswith(b'{"blocks"')]
    assert len(blocks) == 1
    assert blocks == [line for line in link.state_text.splitlines() if line.startswith(b'{"blocks"')]
    assert len(json.loads(blocks[0])["blocks"]["tags"]) == -(-((SIZE // BLOCK + 1) * 16) // 3) * 4
    write_at(chain.source / "big", 0, b"changed")
    last = chain.back_up(link)
    assert last.names == [".kbackup/delta/big"]
    chain.check(last)


def test_a_chmod_and_a_later_delta(chain: Chain) -> None:
    big = chain.source / "big"
    full = chain.back_up()
    write_at(big, 0, b"changed")
    second = chain.back_up(full)
    big.chmod(0o600)
    third = chain.back_up(second)
    assert third.names == [".kbackup/metadata/big"]
    assert third.row[b"big"].parts == second.row[b"big"].parts
    write_at(big, SIZE - 100, b"changed")
    fourth = chain.back_up(third)
    assert fourth.names == [".kbackup/delta/big"]
    chain.check(fourth)


def test_a_differential_builds_on_the_full(chain: Chain) -> None:
    big = chain.source / "big"
    full = chain.back_up()
    write_at(big, 0, b"first")
    chain.back_up(full)
    write_at(big, SIZE // 2, b"second")
    last = chain.back_up(full)
    assert last.archives == (full.id, last.id)
    assert len(json.loads(last.content(".kbackup/delta/big").splitlines()[0])["blocks"]) == 2
    chain.check(last)


def test_more_than_half_is_stored_whole(chain: Chain) -> None:
    big = chain.source / "big"
    full = chain.back_up()
    write_at(big, 0, os.urandom(SIZE * 6 // 10))
    second = chain.back_up(full)
    assert second.names == ["big"]
    assert second.row[b"big"].parts == ()
    chain.check(second)


def test_too_many_parts_are_stored_whole(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deltas, "MOST_PARTS", 6)
    big = chain.source / "big"
    link = chain.back_up()
    write_at(big, 0, b"1")
    write_at(big, 10 * BLOCK, b"2")
    link = chain.back_up(link)
    assert link.names == [".kbackup/delta/big"]
    write_at(big, 20 * BLOCK, b"3")
    write_at(big, 30 * BLOCK, b"4")
    link = chain.back_up(link)
    assert link.names == ["big"]
    chain.check(link)


@pytest.mark.parametrize(
    "size", [100, deltas.SMALLEST - 1, deltas.SMALLEST, SIZE - BLOCK, SIZE + 1, SIZE + 3 * BLOCK, 2 * SIZE + 9 * BLOCK]
)
def test_sizes(chain: Chain, size: int) -> None:
    big = chain.source / "big"
    full = chain.back_up()
    content = big.read_bytes()
    big.write_bytes((content + os.urandom(max(0, size - SIZE)))[:size])
    second = chain.back_up(full)
    whole = size < deltas.SMALLEST or size > 2 * SIZE
    assert second.names == ["big" if whole else ".kbackup/delta/big"]
    chain.check(second)
    write_at(big, 0, b"x")
    third = chain.back_up(second)
    assert third.names == ["big" if size < deltas.SMALLEST else ".kbackup/delta/big"]
    chain.check(third)


def test_a_sparse_file(chain: Chain) -> None:
    path = chain.source / "sparse"
    with path.open("wb") as file:
        file.truncate(64 << 20)
        file.seek(3 << 20)
        file.write(os.urandom(300_000))
    full = chain.back_up()
    assert full.row[b"sparse"].parts[0].archive == HOLE
    write_at(path, 10 << 20, os.urandom(100_000))
    second = chain.back_up(full)
    assert second.names == [".kbackup/delta/sparse"]
    assert second.packed.tar_size < 300_000
    chain.check(second)
    third = chain.back_up(second)
    assert third.names == []
    os.chmod(path, 0o600)
    fourth = chain.back_up(third)
    assert fourth.names == [".kbackup/metadata/sparse"]
    chain.check(fourth)


def test_database_files_have_smaller_blocks(chain: Chain) -> None:
    relation = chain.source / "base" / "16384" / "2619.1"
    relation.parent.mkdir(parents=True)
    relation.write_bytes(os.urandom(1025 * 8192))
    full = chain.back_up()
    write_at(relation, 8192 * 100, os.urandom(8192))
    second = chain.back_up(full)
    said = json.loads(second.content(".kbackup/delta/base/16384/2619.1").splitlines()[0])
    assert said == {"size": 1025 * 8192, "block": 32 << 10, "blocks": [[25, 1]]}
    chain.check(second)


@pytest.mark.parametrize("moment", [1, 2])
def test_a_file_that_changes_while_its_blocks_are_taken(chain: Chain, moment: int) -> None:
    """After they were hashed, before they are stored, and in a block that is stored already: no row is of a content that the archive
    does not hold."""
    big = chain.source / "big"
    full = chain.back_up()
    write_at(big, 0, b"changed")
    write_at(big, SIZE - 10, b"changed")

    class Striking(Meddling):
        seeks = 0

        def seek(self, descriptor: int, offset: int, whence: int) -> int:
            if whence == os.SEEK_SET and os.fstat(descriptor).st_size == SIZE:
                Striking.seeks += 1
                if Striking.seeks == moment:
                    write_at(big, 100, os.urandom(1000))
            return super().seek(descriptor, offset, whence)

    Striking.seeks = 0
    second = chain.back_up(full, files=Striking(lambda _name, _count: None))
    assert Striking.seeks >= moment
    chain.check(second)
    chain.check(chain.back_up(second))


def test_many_large_files_in_order(chain: Chain) -> None:
    rng = random.Random(3)
    names = [f"{letter}/{number}" for letter in "cab" for number in range(2)]
    for name in names:
        (chain.source / name).parent.mkdir(exist_ok=True)
        (chain.source / name).write_bytes(rng.randbytes(SIZE))
    link: Link | None = chain.back_up()
    for _ in range(4):
        for name in rng.sample(names, 3):
            write_at(chain.source / name, rng.randrange(SIZE - 50_000), rng.randbytes(50_000))
        (chain.source / rng.choice(names)).write_bytes(rng.randbytes(100))
        assert link
        link = chain.back_up(link)
        chain.check(link)
