"""The contract of storage/store.py, on every implementation."""

from __future__ import annotations

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from iot_backup.errors import AlreadyExists, CorruptData, Internal, NotFound
from tests.contract.payload import PART, blocks, payload

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iot_backup.storage.store import Chunk, Store

KEY = "chains/daily/20250102t030405z-0123456789abcdef.manifest.json"
OTHER = "chains/daily/20250102t030405z-fedcba9876543210.manifest.json"
SMALL_SIZES = [0, 1, 4095, 4096, 65_537]
STREAM_SIZES = [0, 1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 17]


class SourceDiedError(Exception):
    """What a pipeline's source may raise."""


@pytest.mark.parametrize("size", SMALL_SIZES)
def test_a_created_object_is_read_back_as_it_was(store: Store, size: int) -> None:
    store.create(KEY, payload(size))
    assert store.read(KEY) == payload(size)
    assert store.head(KEY).size == size


def test_a_second_create_is_refused_and_changes_nothing(store: Store) -> None:
    store.create(KEY, b"first")
    with pytest.raises(AlreadyExists, match=KEY):
        store.create(KEY, b"second")
    assert store.read(KEY) == b"first"


def test_a_second_stream_is_refused_and_changes_nothing(store: Store) -> None:
    store.create_stream(KEY, blocks(2 * PART))
    with pytest.raises(AlreadyExists, match=KEY):
        store.create_stream(KEY, [b"second"])
    with pytest.raises(AlreadyExists, match=KEY):
        store.create(KEY, b"third")
    assert digest(store.stream(KEY)) == digest(blocks(2 * PART))


@pytest.mark.parametrize("size", STREAM_SIZES)
def test_a_stream_comes_back_as_it_was(store: Store, size: int) -> None:
    store.create_stream(KEY, blocks(size, step=1_000_003), size_hint=size)
    assert store.head(KEY).size == size
    assert digest(store.stream(KEY)) == digest([payload(size)])


def test_a_stream_may_reuse_its_buffer(store: Store) -> None:
    buffer = bytearray(1 << 20)

    def refilled() -> Iterator[Chunk]:
        for number in range(20):
            buffer[:] = bytes([number]) * len(buffer)
            yield memoryview(buffer)
        buffer[:] = bytes(len(buffer))

    store.create_stream(KEY, refilled())
    assert digest(store.stream(KEY)) == digest(bytes([number]) * len(buffer) for number in range(20))


@pytest.mark.parametrize("chunks", [[], [b""], [b"", b""]], ids=["none", "one", "two"])
def test_a_stream_of_nothing_is_an_empty_object(store: Store, chunks: list[bytes]) -> None:
    store.create_stream(KEY, chunks)
    assert store.read(KEY) == b""
    assert list(store.stream(KEY)) == []
    assert store.read_range(KEY, 0, 10) == b""
    assert store.head(KEY).size == 0


@pytest.mark.parametrize("before", [0, 1, 3 * PART + 5])
@pytest.mark.parametrize("error", [SourceDiedError("gone"), OSError(28, "of the source"), KeyboardInterrupt()], ids=type)
def test_a_source_that_raises_publishes_nothing_and_its_own_exception_arrives(store: Store, before: int, error: BaseException) -> None:
    def dying() -> Iterator[Chunk]:
        yield from blocks(before)
        raise error

    with pytest.raises(type(error)) as caught:
        store.create_stream(KEY, dying())
    assert caught.value is error
    with pytest.raises(NotFound):
        store.head(KEY)
    assert list(store.list("")) == []
    store.create_stream(KEY, [b"next try"])
    assert store.read(KEY) == b"next try"


def test_nothing_is_visible_before_the_stream_has_ended(store: Store) -> None:
    seen: list[object] = []

    def look() -> None:
        seen.append(list(store.list("")))
        try:
            store.head(KEY)
        except NotFound as error:
            seen.append(error)

    def watched() -> Iterator[Chunk]:
        yield from blocks(2 * PART)
        # From another thread: obstore refuses calls from inside a source it is pulling from.
        with ThreadPoolExecutor(1) as pool:
            pool.submit(look).result()
        yield b"end"

    store.create_stream(KEY, watched())
    assert seen[0] == []
    assert isinstance(seen[1], NotFound)
    assert store.head(KEY).size == 2 * PART + 3


@pytest.mark.parametrize(
    ("start", "length", "expected"),
    [(0, 1, slice(0, 1)), (0, 1000, slice(0, 1000)), (10, 5, slice(10, 15)), (990, 100, slice(990, 1000)), (1000, 1, slice(0, 0)),
     (5000, 1, slice(0, 0)), (3, 0, slice(0, 0))],
)  # fmt: skip
def test_a_range_is_what_was_asked_for_and_ends_with_the_object(store: Store, start: int, length: int, expected: slice) -> None:
    body = payload(1000)
    store.create(KEY, body)
    assert store.read_range(KEY, start, length) == body[expected]


@pytest.mark.parametrize(
    "call",
    [
        lambda store: store.read(KEY),
        lambda store: store.head(KEY),
        lambda store: next(store.stream(KEY)),
        lambda store: store.read_range(KEY, 0, 1),
        lambda store: store.read_range(KEY, 0, 0),
    ],
    ids=["read", "head", "stream", "range", "empty range"],
)
def test_what_is_not_there_is_not_found(store: Store, call: Callable[[Store], object]) -> None:
    store.create(OTHER, b"x")
    with pytest.raises(NotFound, match=KEY):
        call(store)


def test_an_object_longer_than_the_limit_is_not_read(store: Store) -> None:
    store.create(KEY, bytes(1001))
    assert len(store.read(KEY, limit=1001)) == 1001
    with pytest.raises(CorruptData, match="1001 bytes"):
        store.read(KEY, limit=1000)


def test_a_listing_holds_what_begins_with_the_prefix(store: Store) -> None:
    for key in ("repo.json", "keys/a-1.scrypt", "chains/a/x", "chains/ab/y", "chains/ab/z"):
        store.create(key, key.encode())
    assert {info.key for info in store.list("")} == {"repo.json", "keys/a-1.scrypt", "chains/a/x", "chains/ab/y", "chains/ab/z"}
    assert {info.key for info in store.list("chains/")} == {"chains/a/x", "chains/ab/y", "chains/ab/z"}
    assert {info.key for info in store.list("chains/a")} == {"chains/a/x", "chains/ab/y", "chains/ab/z"}
    assert {info.key for info in store.list("chains/ab/z")} == {"chains/ab/z"}
    assert list(store.list("nothing/")) == []
    assert {(info.key, info.size) for info in store.list("keys/")} == {("keys/a-1.scrypt", 15)}


def test_a_listing_is_complete_beyond_one_page(store: Store) -> None:
    wanted = {f"announce/{number:04}" for number in range(1100)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda key: store.create(key, b""), wanted))
    assert {info.key for info in store.list("announce/")} == wanted


def test_what_was_deleted_is_gone_and_deleting_again_is_no_error(store: Store) -> None:
    store.create(KEY, b"x")
    store.delete(KEY)
    store.delete(KEY)
    with pytest.raises(NotFound):
        store.head(KEY)
    assert list(store.list("")) == []
    store.create(KEY, b"again")


def test_what_is_abandoned_is_no_object(store: Store) -> None:
    store.create(KEY, b"whole")
    for key in (KEY, OTHER):
        store.abandon(key)
    assert [(info.key, store.read(info.key)) for info in store.list("")] == [(KEY, b"whole")]


def test_of_many_writers_of_one_key_exactly_one_wins(exclusive_store: Store) -> None:
    start = threading.Barrier(8)

    def write(number: int) -> int | None:
        start.wait()
        try:
            exclusive_store.create(KEY, bytes([number]) * 1000)
        except AlreadyExists:
            return None
        return number

    with ThreadPoolExecutor(8) as pool:
        winners = [number for number in pool.map(write, range(8)) if number is not None]
    assert len(winners) == 1
    assert exclusive_store.read(KEY) == bytes(winners) * 1000


def test_streams_do_not_get_mixed_up(store: Store) -> None:
    def write(number: int) -> None:
        store.create_stream(f"chains/a/{number}", (bytes([number]) * (1 << 20) for _ in range(9)))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, range(4)))
    for number in range(4):
        assert digest(store.stream(f"chains/a/{number}")) == digest(bytes([number]) * (1 << 20) for _ in range(9))


def test_times_are_the_stores_and_in_utc(store: Store) -> None:
    before = store.now()
    store.create(KEY, b"x")
    after = store.now()
    # S3 knows whole seconds only.
    second = timedelta(seconds=1)
    assert before - second <= store.head(KEY).modified <= after + second
    assert {info.modified.replace(microsecond=0) for info in store.list("")} == {store.head(KEY).modified.replace(microsecond=0)}
    assert store.now().utcoffset() == timedelta(0)
    assert abs(store.now() - datetime.now(UTC)) < timedelta(seconds=10)
    assert {info.key for info in store.list("")} == {KEY}


@pytest.mark.parametrize("key", ["", "/abs", "a//b", "../up", "a/../b", "a/.", ".hidden", "a/.x.partial", "a\0b", "a\nb", "a/"])
def test_keys_no_layout_builds_are_refused_before_anything_is_touched(store: Store, key: str) -> None:
    calls = (store.read, store.head, store.delete, lambda k: next(store.stream(k)), lambda k: store.create(k, b""))
    for call in calls:
        with pytest.raises(Internal, match="not a relative path"):
            call(key)
    with pytest.raises(Internal, match="not a relative path"):
        store.create_stream(key, [b""])
    assert list(store.list("")) == []


def digest(chunks: Iterator[bytes] | list[bytes]) -> str:
    found = hashlib.sha256()
    for chunk in chunks:
        found.update(chunk)
    return found.hexdigest()
