"""Archives read from anywhere, by their table of frames."""

from __future__ import annotations

import os
import random
from array import array
from collections.abc import Sequence

import pytest
import zstandard

from iot_backup.errors import CorruptData
from iot_backup.worker.archive import Archive
from iot_backup.worker.compression import FRAME_SIZE, seek_table


class Stored:
    """A container's content in memory, which remembers what was read of it."""

    def __init__(self, data: bytes) -> None:
        self.data, self.reads = data, list[tuple[int, int]]()

    @property
    def size(self) -> int:
        return len(self.data)

    def read(self, start: int, length: int) -> bytes:
        self.reads.append((start, length))
        return self.data[start : start + length]


def compressed(frames: Sequence[bytes]) -> bytes:
    stored = [zstandard.compress(frame) for frame in frames]
    sizes = array("I", [n for frame, plain in zip(stored, frames, strict=True) for n in (len(frame), len(plain))])
    return b"".join(stored) + seek_table(sizes)


FRAMES = [os.urandom(1000), bytes(FRAME_SIZE), b"x", os.urandom(70_000)]
PLAIN = b"".join(FRAMES)


def test_each_position_is_in_its_frame() -> None:
    archive = Archive(Stored(compressed(FRAMES)), compressed=True)
    assert (archive.size, archive.frames) == (len(PLAIN), 4)
    begin = 0
    for number, frame in enumerate(FRAMES):
        assert archive.begin(number) == begin
        for position in (begin, begin + len(frame) // 2, begin + len(frame) - 1):
            assert archive.frame_at(position) == number
        begin += len(frame)
    assert archive.begin(4) == archive.size
    for position in (-1, archive.size, 1 << 62):
        with pytest.raises(CorruptData, match="refers to byte"):
            archive.frame_at(position)


@pytest.mark.parametrize("is_compressed", [True, False])
def test_frames_are_read_by_one_read_and_nothing_beside_them(is_compressed: bool) -> None:
    plain = os.urandom(3 * FRAME_SIZE + 5)
    frames = [plain[at : at + FRAME_SIZE] for at in range(0, len(plain), FRAME_SIZE)]
    stored = Stored(compressed(frames) if is_compressed else plain)
    archive = Archive(stored, compressed=is_compressed)
    assert (archive.size, archive.frames) == (len(plain), 4)
    for first in range(4):
        for count in range(1, 5 - first):
            stored.reads.clear()
            assert [bytes(frame) for frame in archive.load(first, count)] == frames[first : first + count]
            ((_, length),) = stored.reads
            assert length == sum(archive.stored_size(number) for number in range(first, first + count))


def test_an_archive_without_content_has_no_frames() -> None:
    for stored, is_compressed in ((Stored(b""), False), (Stored(seek_table(array("I"))), True)):
        archive = Archive(stored, compressed=is_compressed)
        assert (archive.size, archive.frames) == (0, 0)


def test_a_long_table_takes_two_reads_and_a_short_one_one() -> None:
    for count, reads in ((10, 1), (20_000, 2)):
        stored = Stored(compressed([b"%d" % number for number in range(count)]))
        archive = Archive(stored, compressed=True)
        assert (archive.frames, len(stored.reads)) == (count, reads)
        stored.reads.clear()
        assert archive.load(count - 1, 1) == [b"%d" % (count - 1)]


def test_any_damage_of_the_table_is_told_or_harmless() -> None:
    """What is read is what was written, or CorruptData: a file's hash tells the rest."""
    good = compressed(FRAMES)
    chance = random.Random(3)
    told = 0
    for _ in range(300):
        bad = bytearray(good)
        bad[len(good) - 1 - chance.randrange(8 + 8 * 4 + 9)] ^= 1 << chance.randrange(8)
        try:
            archive = Archive(Stored(bytes(bad)), compressed=True)
            read = b"".join(archive.load(0, archive.frames))
        except CorruptData:
            told += 1
        else:
            assert read == PLAIN
    assert told > 250
