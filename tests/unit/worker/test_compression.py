"""Frames: each alone, readable by anybody, and read back where we do not trust the level."""

from __future__ import annotations

import io
import os
import subprocess

import pytest
import zstandard

from iot_backup.errors import CorruptData, Internal
from iot_backup.worker import compression
from iot_backup.worker.compression import Decompressed, FramePool


def frames(level: int | None, *plains: bytes) -> list[bytes]:
    with FramePool(level) as pool:
        return [future.result() for future in [pool.submit(memoryview(plain)) for plain in plains]]


@pytest.mark.parametrize("level", [1, 2, 3, 6, 19])
def test_each_frame_stands_alone_and_says_its_plain_size(level: int) -> None:
    plains = [os.urandom(1000), b"text" * 50_000, b"x"]
    for plain, frame in zip(plains, frames(level, *plains), strict=True):
        assert zstandard.get_frame_parameters(frame).content_size == len(plain)
        assert zstandard.ZstdDecompressor().decompress(frame) == plain


def test_stock_zstd_reads_them_as_one_stream() -> None:
    plains = [os.urandom(70_000), b"", b"text" * 50_000]
    done = subprocess.run(["zstd", "-dc"], input=b"".join(frames(1, *plains)), capture_output=True, check=True)
    assert done.stdout == b"".join(plains)


def test_without_a_level_frames_stay_as_they_are() -> None:
    assert frames(None, b"abc", b"") == [b"abc", b""]


def test_a_frame_of_an_untried_level_that_does_not_read_back_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    class Wrong:
        def decompress(self, stored: bytes) -> bytes:
            return b"other"

    monkeypatch.setattr(compression.zstandard, "ZstdDecompressor", Wrong)
    with pytest.raises(Internal, match="level 19"):
        frames(19, b"content")
    frames(1, b"content")


def test_pulling_gives_all_frames() -> None:
    plains = [os.urandom(100_000), b"text" * 500_000]
    assert Decompressed(io.BytesIO(b"".join(frames(1, *plains)))).readall() == b"".join(plains)


@pytest.mark.parametrize("stored", [b"nonsense", b"\x28\xb5\x2f\xfd" + b"\xff" * 50])
def test_what_is_no_frame_is_corrupt(stored: bytes) -> None:
    with pytest.raises(CorruptData):
        Decompressed(io.BytesIO(stored)).readall()


def test_a_frame_that_asks_for_too_much_memory_is_refused() -> None:
    params = zstandard.ZstdCompressionParameters.from_level(3, window_log=27)
    compressor = zstandard.ZstdCompressor(compression_params=params).compressobj()
    bomb = compressor.compress(bytes(1 << 20)) + compressor.flush()
    with pytest.raises(CorruptData, match="cannot be decompressed"):
        Decompressed(io.BytesIO(bomb)).readall()
