"""Which blocks changed, and what a content is made of afterwards: by hand, and against plain bytes."""

from __future__ import annotations

import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_backup.worker import deltas
from iot_backup.worker.deltas import DIGEST, BlockHashes, Blocks
from iot_backup.worker.index import HOLE, Part
from iot_backup.worker.sparse import Extent

MB = 1 << 20


@pytest.mark.parametrize(
    ("path", "size", "block"),
    [
        (b"a", 8 * MB - 1, 0),
        (b"a", 8 * MB, 64 << 10),
        (b"base/5/16384", 8 * MB, 32 << 10),
        (b"pgdata/base/5/16384.12", 1024 * MB, 32 << 10),
        (b"pgdata/base/5/16384_fsm", 8 * MB, 32 << 10),
        (b"pgdata/global/1262", 8 * MB, 32 << 10),
        (b"space/PG_15_202209061/5/16384", 8 * MB, 32 << 10),
        (b"base/5/16384", 8 * MB + 1, 64 << 10),
        (b"database/5/16384", 8 * MB, 64 << 10),
        (b"base/5/notes.txt", 8 * MB, 64 << 10),
        (b"a", 8192 * MB, 64 << 10),
        (b"a", 8192 * MB + 1, 128 << 10),
        (b"a", 1 << 40, 8 << 20),
    ],
)
def test_the_size_of_blocks(path: bytes, size: int, block: int) -> None:
    assert deltas.block_size(path, size) == block
    assert block == 0 or -(-size // block) <= deltas.MOST_BLOCKS


def tag(block: bytes | bytearray | memoryview) -> bytes:
    return hashlib.sha256(block).digest()[:DIGEST]


def hashed(content: bytes, size: int) -> Blocks:
    return Blocks(size, b"".join(tag(content[at : at + size]) for at in range(0, len(content), size)))


@given(st.lists(st.one_of(st.binary(max_size=50), st.integers(0, 60)), max_size=12), st.integers(1, 16))
def test_hashes_do_not_depend_on_how_the_content_comes(pieces: list[bytes | int], size: int) -> None:
    found, content = BlockHashes(size, tag), b""
    for piece in pieces:
        if isinstance(piece, int):
            found.zeros(piece)
            content += bytes(piece)
        else:
            found.update(piece)
            content += piece
    assert found.blocks() == hashed(content, size)


@given(st.binary(max_size=200), st.binary(max_size=200), st.integers(0, 200), st.integers(1, 16))
def test_a_delta_gives_the_new_content(old: bytes, other: bytes, kept: int, size: int) -> None:
    new = old[:kept] + other
    delta = deltas.between(hashed(old, size), hashed(new, size), len(new))
    if delta is None:
        return
    said = json.loads(delta.head)
    assert (said["size"], said["block"], len(delta.head) % 512) == (len(new), size, 0)
    own = b"#" * 7 + b"".join(new[run.start : run.end] for run in delta.runs)
    content = deltas.parts([Part(0, 0, len(old))] if old else [], delta, len(new), 1, 7)
    made = b"".join((old, own)[part.archive][part.position : part.position + part.length] for part in content)
    assert made == new
    assert all(part.length > 0 for part in content)


def test_parts_are_cut_and_merged() -> None:
    old = [Part(HOLE, 0, 10), Part(0, 100, 20), Part(1, 500, 10)]
    delta = deltas.Delta(b"", (Extent(12, 4), Extent(30, 4)), b"")
    assert deltas.parts(old, delta, 44, 2, 1000) == (
        Part(HOLE, 0, 10),
        Part(0, 100, 2),
        Part(2, 1000, 4),
        Part(0, 106, 14),
        Part(2, 1004, 4),
        Part(1, 504, 6),
    )
    assert deltas.parts(old, deltas.Delta(b"", (), b""), 25, 2, 0) == (Part(HOLE, 0, 10), Part(0, 100, 15))
    neighbours = [Part(0, 0, 5), Part(0, 5, 5), Part(HOLE, 0, 1), Part(HOLE, 0, 2)]
    assert deltas.parts(neighbours, deltas.Delta(b"", (), b""), 13, 2, 0) == (Part(0, 0, 10), Part(HOLE, 0, 3))


def test_half_of_a_file_is_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = bytes(100), b"\1" * 50 + bytes(50)
    assert deltas.between(hashed(old, 10), hashed(new, 10), 100) is not None
    assert deltas.between(hashed(old, 10), hashed(b"\1" * 51 + bytes(49), 10), 100) is None
    alternating = b"".join(bytes([n % 4 == 0] * 10) for n in range(20))
    assert deltas.between(hashed(bytes(200), 10), hashed(alternating, 10), 200) is not None
    monkeypatch.setattr(deltas, "MOST_PARTS", 4)
    assert deltas.between(hashed(bytes(200), 10), hashed(alternating, 10), 200) is None
