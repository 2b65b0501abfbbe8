"""The sum that a first backup is compared with is of all bytes, and of real work."""

from __future__ import annotations

import os
from pathlib import Path

import zstandard

from tests.bench import bars, primitives


def test_every_byte_goes_through_every_primitive(tmp_path: Path) -> None:
    source, out = tmp_path / "source", tmp_path / "out"
    source.mkdir()
    blocks = [os.urandom(primitives.BUFFER), os.urandom(100_000), os.urandom(1)]
    (source / "large").write_bytes(blocks[0] + blocks[1])
    (source / "small").write_bytes(blocks[2])
    (source / "empty").touch()
    spent = primitives.measured(source, out)
    frames = [len(zstandard.ZstdCompressor(level=1).compress(block)) for block in blocks]
    assert out.stat().st_size == sum(size + primitives.TAG * -(-size // primitives.CHUNK) for size in frames)
    assert set(spent) == {
        "read",
        "content SHA-256",
        "zstd -1",
        "ChaCha20-Poly1305",
        "ciphertext SHA-256",
        "write",
        "fsync",
        bars.WAITED,
    }
