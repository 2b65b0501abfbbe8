"""Pieces of one stored object: every boundary, every damage, and nothing of another file."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from iot_backup.crypto.container import NO_HEADER_SHA256
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.ranged import RangedReader
from iot_backup.crypto.stream import CHUNK, SEALED, TAG
from iot_backup.errors import CorruptData, KeyMissing, StorageUnavailable, WrongKey

from .sealed import IDENTITY, File, sealed

CIPHERS = ("Age", "AES256")
SIZES = (0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 17)


class Asked:
    """A store's ranged read, that remembers what it was asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.ranges: list[tuple[int, int]] = []

    def __call__(self, start: int, length: int) -> bytes:
        self.ranges.append((start, length))
        return self.data[start : start + length]


def reader(file: File, cipher: str = "Age", *, data: bytes | None = None, identity: Identity = IDENTITY) -> RangedReader:
    """On `data` in the place of what the file's writer stored, and of that length."""
    stored = file.data if data is None else data
    return RangedReader(Asked(stored), len(stored), cipher, identity, file.header_sha256)


def edges(size: int) -> list[int]:
    return sorted({p for n in range(0, size + CHUNK, CHUNK) for p in (n - 1, n, n + 1) if 0 <= p <= size} | {size})


@pytest.mark.parametrize("cipher", [*CIPHERS, "None"])
@pytest.mark.parametrize("size", SIZES)
def test_every_range_between_chunk_boundaries(cipher: str, size: int) -> None:
    content = os.urandom(size)
    whole = reader(sealed(content, cipher), cipher)
    assert whole.size == size
    for start in edges(size):
        for end in edges(size):
            if start <= end:
                assert whole.read(start, end - start) == content[start:end]
        assert whole.read(start, 10 * CHUNK) == content[start:], "no more than there is"
    assert whole.read(size + 5, 1) == b""


@pytest.mark.parametrize("cipher", CIPHERS)
def test_one_fetch_of_just_the_chunks_that_are_needed(cipher: str) -> None:
    file = sealed(bytes(3 * CHUNK + 17), cipher)
    begin = len(file.header)
    asked = Asked(file.data)
    ranged = RangedReader(asked, len(file.data), cipher, IDENTITY, file.header_sha256)
    assert len(asked.ranges) == 1, "the header"
    for start, length, expected in (
        (0, 1, (begin, SEALED)),
        (CHUNK - 1, 2, (begin, 2 * SEALED)),
        (CHUNK, CHUNK, (begin + SEALED, SEALED)),
        (2 * CHUNK + 5, CHUNK, (begin + 2 * SEALED, SEALED + 17 + TAG)),
        (3 * CHUNK, 17, (begin + 3 * SEALED, 17 + TAG)),
    ):
        ranged = RangedReader(asked, len(file.data), cipher, IDENTITY, file.header_sha256)
        asked.ranges.clear()
        assert ranged.read(start, length) == bytes(length)
        assert asked.ranges == [expected]
    asked.ranges.clear()
    assert ranged.read(5, 0) == b""
    assert asked.ranges == []


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_read_that_goes_on_where_another_ended_does_not_fetch_their_chunk_again(cipher: str) -> None:
    content = bytes(range(256)) * (4 * CHUNK // 256) + b"the end"
    file = sealed(content, cipher)
    begin = len(file.header)
    asked = Asked(file.data)
    ranged = RangedReader(asked, len(file.data), cipher, IDENTITY, file.header_sha256)
    asked.ranges.clear()
    middle = 2 * CHUNK + 100
    assert ranged.read(10, middle - 10) + ranged.read(middle, len(content)) == content[10:]
    assert asked.ranges == [(begin, 3 * SEALED), (begin + 3 * SEALED, SEALED + 7 + TAG)]


def test_a_read_does_not_suffer_from_the_failure_of_the_one_before_it() -> None:
    content = bytes(4 * CHUNK)
    file = sealed(content, "Age")
    begin, waiting, failing = len(file.header), threading.Event(), threading.Event()

    def fetch(start: int, length: int) -> bytes:
        if start == begin and length == 2 * SEALED:
            failing.set()
            assert waiting.wait(60), "the second read never fetched its own"
            raise StorageUnavailable("the first read fails")
        if start == begin + 2 * SEALED:
            waiting.set()
        return file.data[start : start + length]

    ranged = RangedReader(fetch, len(file.data), "Age", IDENTITY, file.header_sha256)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ranged.read, 0, CHUNK + 5)
        assert failing.wait(60)
        second = pool.submit(ranged.read, CHUNK + 5, CHUNK)
        assert second.result(60) == bytes(CHUNK)
        with pytest.raises(StorageUnavailable, match="first read fails"):
            first.result(60)


def test_a_plain_object_is_fetched_as_it_is_asked_for() -> None:
    asked = Asked(b"0123456789")
    ranged = RangedReader(asked, 10, "None", None, NO_HEADER_SHA256)
    assert (ranged.read(3, 4), ranged.read(8, 100)) == (b"3456", b"89")
    assert asked.ranges == [(3, 4), (8, 2)]
    with pytest.raises(CorruptData, match="header of an encrypted one"):
        RangedReader(asked, 10, "None", None, "0" * 64)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_a_flipped_bit_fails_the_ranges_it_is_in_and_no_other(cipher: str) -> None:
    file = sealed(bytes(3 * CHUNK + 17), cipher)
    for chunk in range(4):
        for offset in (0, 9, len(file.chunk(chunk)) - 1):
            bad = bytearray(file.data)
            bad[len(file.header) + chunk * SEALED + offset] ^= 1
            ranged = reader(file, cipher, data=bytes(bad))
            for other in range(4):
                if other == chunk:
                    with pytest.raises(CorruptData, match=rf"damaged in chunk {chunk} "):
                        ranged.read(chunk * CHUNK + 3, 1)
                else:
                    assert ranged.read(other * CHUNK + 3, 1) == b"\0"
            with pytest.raises(CorruptData, match=rf"damaged in chunk {chunk} "):
                ranged.read(0, ranged.size)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_every_flipped_bit_of_the_header_is_noticed(cipher: str) -> None:
    file = sealed(b"content", cipher)
    for at in range(len(file.header)):
        for bit in range(8):
            bad = bytearray(file.data)
            bad[at] ^= 1 << bit
            with pytest.raises(CorruptData):
                reader(file, cipher, data=bytes(bad))


@pytest.mark.parametrize("cipher", CIPHERS)
def test_swapped_and_repeated_chunks_are_noticed(cipher: str) -> None:
    file = sealed(os.urandom(4 * CHUNK), cipher)
    for order in ((1, 0, 2, 3), (0, 2, 1, 3), (0, 0, 2, 3), (0, 1, 1, 3), (0, 1, 2, 2), (3, 1, 2, 3)):
        ranged = reader(file, cipher, data=file.with_chunks(*order))
        for place, number in enumerate(order):
            if place == number:
                ranged.read(place * CHUNK, CHUNK)
            else:
                with pytest.raises(CorruptData):
                    ranged.read(place * CHUNK, CHUNK)


def test_chunks_of_another_file_to_the_same_recipient_are_noticed() -> None:
    ours, other = sealed(bytes(2 * CHUNK)), sealed(bytes(2 * CHUNK))
    mixed = ours.header + ours.chunk(0) + other.chunk(1)
    ranged = reader(ours, data=mixed)
    assert ranged.read(0, CHUNK) == bytes(CHUNK)
    with pytest.raises(CorruptData, match="damaged in chunk 1 "):
        ranged.read(CHUNK, 1)


def test_an_archive_of_equal_geometry_by_another_hand_is_refused_at_its_header() -> None:
    """Who knows the recipient can seal to it. What he cannot do is sign his header."""
    ours, forged = sealed(bytes(2 * CHUNK)), sealed(b"\1" * 2 * CHUNK)
    assert len(ours.data) == len(forged.data)
    with pytest.raises(CorruptData, match="does not begin with the bytes that its manifest signs"):
        reader(ours, data=forged.data)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_the_last_chunk_must_carry_the_flag_and_no_other_may(cipher: str) -> None:
    file = sealed(bytes(3 * CHUNK), cipher)
    shorter = reader(file, cipher, data=file.with_chunks(0, 1))
    assert shorter.size == 2 * CHUNK
    with pytest.raises(CorruptData, match="cut off after chunk 1 "):
        shorter.read(CHUNK, 1)
    longer = reader(file, cipher, data=file.data + bytes(100))
    with pytest.raises(CorruptData, match="appended to the encrypted stream after chunk 2 "):
        longer.read(2 * CHUNK, 1)


@pytest.mark.parametrize("content", [0, 1, CHUNK, CHUNK + 1, 3 * CHUNK])
def test_no_size_is_taken_that_no_writer_makes(content: int) -> None:
    file = sealed(bytes(content))
    begin = len(file.header)
    for size in [*range(begin, begin + TAG), *range(begin + SEALED, begin + SEALED + TAG + 1), begin + 2 * SEALED + TAG]:
        if size <= len(file.data) and size != begin + SEALED:
            with pytest.raises(CorruptData, match="no encrypted stream has"):
                reader(file, data=file.data[:size])
    for size in range(0, begin, 7):
        with pytest.raises(CorruptData, match="cut off"):
            reader(file, data=file.data[:size])


@pytest.mark.parametrize("cipher", [*CIPHERS, "None"])
def test_an_object_shorter_than_signed_is_called_cut_off(cipher: str) -> None:
    file = sealed(bytes(3 * CHUNK), cipher)
    cut = file.data[: len(file.header) + SEALED + 5]
    ranged = RangedReader(Asked(cut), len(file.data), cipher, IDENTITY, file.header_sha256)
    assert ranged.read(0, CHUNK) == bytes(CHUNK)
    with pytest.raises(CorruptData, match=rf"ends after {len(cut)} of the {len(file.data)} bytes"):
        ranged.read(0, 2 * CHUNK)


def test_a_store_that_gives_more_than_it_was_asked_for_is_no_answer() -> None:
    file = sealed(bytes(3 * CHUNK))
    with pytest.raises(StorageUnavailable, match="does not keep to ranges"):
        RangedReader(lambda start, _: file.data[start:], len(file.data), "Age", IDENTITY, file.header_sha256)


def test_what_the_store_says_passes_through() -> None:
    file = sealed(bytes(10))

    def unreachable(start: int, length: int) -> bytes:
        raise StorageUnavailable("no route")

    with pytest.raises(StorageUnavailable, match="no route"):
        RangedReader(unreachable, len(file.data), "Age", IDENTITY, file.header_sha256)


@pytest.mark.parametrize(("written", "read"), [("Age", "AES256"), ("AES256", "Age"), ("Age", "None"), ("None", "Age"), ("Age", "Rot13")])
def test_one_cipher_never_stands_in_for_another(written: str, read: str) -> None:
    with pytest.raises(CorruptData, match=r"first line|header of an encrypted one|no cipher"):
        reader(sealed(bytes(100), written), read)


def test_another_key_and_none() -> None:
    file = sealed(b"content")
    with pytest.raises(WrongKey, match="sealed to other recipients"):
        reader(file, identity=Identity.generated())
    with pytest.raises(KeyMissing, match="no key was given"):
        RangedReader(Asked(file.data), len(file.data), "Age", None, file.header_sha256)


@pytest.mark.parametrize(("start", "length"), [(-1, 5), (0, -1)])
def test_a_range_that_is_none_is_a_defect(start: int, length: int) -> None:
    with pytest.raises(ValueError, match="range"):
        reader(sealed(b"content")).read(start, length)


@pytest.mark.parametrize("cipher", CIPHERS)
def test_many_threads_read_at_once(cipher: str) -> None:
    content = os.urandom(8 * CHUNK + 99)
    ranged = reader(sealed(content, cipher), cipher)
    ranges = [(at, 50_000) for at in range(0, len(content), 9_973)] * 4
    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda wanted: ranged.read(*wanted), ranges))
    assert got == [content[start : start + length] for start, length in ranges]
