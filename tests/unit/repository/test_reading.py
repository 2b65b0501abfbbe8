"""Archives on their way back: whatever was done to them in the store is noticed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from iot_backup.core.manifest import Manifest, StoredObject
from iot_backup.crypto.ranged import RangedReader
from iot_backup.errors import CorruptData, KeyMissing
from iot_backup.repository import reading
from iot_backup.storage.memory import MemoryStore

from .world import NOW, World, backed_up, pin, restored, sealed, whole

CONTENT = bytes(range(256)) * 1500


def flipped(at: int) -> Callable[[bytes], bytes]:
    def damage(data: bytes) -> bytes:
        bad = bytearray(data)
        bad[at] ^= 1
        return bytes(bad)

    return damage


DAMAGE = {
    "first byte": flipped(0),
    "middle byte": lambda data: flipped(len(data) // 2)(data),
    "last byte": flipped(-1),
    "cut": lambda data: data[:-1],
    "cut to a chunk": lambda data: data[: len(data) - len(data) % 65536],
    "longer": lambda data: data + b"\0",
    "empty": lambda data: b"",
}


@pytest.mark.parametrize("mode", ["passphrase", "aes", "none"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_archive_or_index_is_noticed_by_verifying(mode: str, damage: str) -> None:
    world = World(mode)
    trust = pin(world.probe())
    manifest = backed_up(world.opened(trust), content=CONTENT).manifest
    for key, expected in ((manifest.archive_key, manifest.archive), (manifest.member.index, manifest.index)):
        damaged(world, key, damage)
        with pytest.raises(CorruptData):
            reading.verify(world.store, key, expected)


@pytest.mark.parametrize("mode", ["passphrase", "aes", "none"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_index_is_noticed_by_reading(mode: str, damage: str) -> None:
    world = World(mode)
    trust = pin(world.probe())
    manifest = backed_up(world.opened(trust), content=CONTENT).manifest
    damaged(world, manifest.member.index, damage)
    repository = world.restoring(trust)
    with pytest.raises(CorruptData):
        reading.index(world.store, manifest, repository.identity).read()


@pytest.mark.parametrize("mode", ["passphrase", "aes"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_nothing_but_what_was_written_is_read_from_a_damaged_archive(mode: str, damage: str) -> None:
    """Not even where nobody verified it before."""
    world = World(mode)
    trust = pin(world.probe())
    manifest = backed_up(world.opened(trust), content=CONTENT).manifest
    damaged(world, manifest.archive_key, damage)
    identity = world.restoring(trust).identity
    with pytest.raises(CorruptData):
        whole(reading.archive(world.store, manifest, identity))


def damaged(world: World, key: str, damage: str) -> None:
    body, when = world.store.objects[key]
    world.store.objects[key] = (DAMAGE[damage](body), when)


def test_an_archive_of_equal_size_by_another_hand_is_refused_at_its_first_bytes() -> None:
    world = World()
    trust = pin(world.probe())
    repository = world.opened(trust)
    manifest = backed_up(repository, content=CONTENT).manifest
    other, facts = sealed(repository, bytes(len(CONTENT)))
    assert facts.size == manifest.archive.size
    world.store.objects[manifest.archive_key] = (other, NOW)
    identity = world.restoring(trust).identity
    with pytest.raises(CorruptData, match="damaged or replaced"):
        reading.archive(world.store, manifest, identity)
    with pytest.raises(CorruptData, match="not what its manifest signs"):
        reading.verify(world.store, manifest.archive_key, manifest.archive)


@pytest.mark.parametrize("mode", ["passphrase", "aes"])
def test_a_range_of_an_archive_by_another_hand_is_not_read(mode: str) -> None:
    world = World(mode)
    trust = pin(world.probe())
    repository = world.opened(trust)
    manifest = backed_up(repository, content=CONTENT).manifest
    identity = world.restoring(trust).identity

    def ranged() -> RangedReader:
        fetch = partial(world.store.read_range, manifest.archive_key)
        return RangedReader(fetch, manifest.archive.size, manifest.cipher, identity, manifest.archive.header_sha256)

    assert ranged().read(100_000, 70_000) == CONTENT[100_000:170_000]
    other, facts = sealed(repository, bytes(len(CONTENT)))
    assert facts.size == manifest.archive.size
    world.store.objects[manifest.archive_key] = (other, NOW)
    with pytest.raises(CorruptData, match="damaged or replaced"):
        ranged()


def test_a_missing_archive_is_told_in_words() -> None:
    world = World()
    trust = pin(world.probe())
    manifest = backed_up(world.opened(trust)).manifest
    world.store.delete(manifest.archive_key)
    for look in (lambda: reading.verify(world.store, manifest.archive_key, manifest.archive), lambda: opened(world, manifest)):
        with pytest.raises(CorruptData, match="somebody deleted it"):
            look()


def opened(world: World, manifest: Manifest) -> None:
    reading.archive(world.store, manifest, world.restoring(None).identity)


def test_no_key_is_said() -> None:
    world = World()
    manifest = backed_up(world.opened(pin(world.probe()))).manifest
    with pytest.raises(KeyMissing, match="no key was given"):
        reading.archive(world.store, manifest, None)


@pytest.mark.parametrize("size", [1, 7, 65_536, 1_000_000])
def test_whatever_pieces_the_store_gives_the_content_is_the_same(size: int) -> None:
    class Pieces(MemoryStore):
        def stream(self, key: str) -> Iterator[bytes]:
            body = self.read(key)
            return (body[at : at + size] for at in range(0, len(body), size))

    world = World(store=Pieces(lambda: NOW))
    trust = pin(world.probe())
    committed = backed_up(world.opened(trust), content=b"x" * 3000 if size == 1 else CONTENT)
    assert restored(world.restoring(trust), committed.manifest.id) == (b"x" * 3000 if size == 1 else CONTENT)


def test_verifying_can_be_stopped_at_each_block() -> None:
    class Stopped(Exception):
        pass

    def stop() -> None:
        raise Stopped

    world = World()
    manifest = backed_up(world.opened(pin(world.probe())), content=CONTENT).manifest
    with pytest.raises(Stopped):
        reading.verify(world.store, manifest.archive_key, manifest.archive, stop)


def collect(blocks: Iterator[bytes], into: bytearray) -> None:
    for block in blocks:
        into.extend(block)


def test_a_store_that_changes_its_answer_after_the_check_is_told() -> None:
    store, key, data = MemoryStore(lambda: NOW), "chains/a/object", os.urandom(10 << 20)
    store.create(key, data)
    expected = StoredObject(size=len(data), sha256=hashlib.sha256(data).hexdigest(), header_sha256="0" * 64)
    verified = reading.verify(store, key, expected)
    assert b"".join(reading.again((data[at : at + 7777] for at in range(0, len(data), 7777)), verified)) == data
    for other in (data[:-1], data + b"x", data[: 8 << 20], data[: 9 << 20] + b"x" + data[(9 << 20) + 1 :], b""):
        got = bytearray()
        with pytest.raises(CorruptData, match="verified a moment ago"):
            collect(reading.again([other], verified), got)
        assert data.startswith(bytes(got))


@pytest.mark.parametrize(
    ("damage", "match"), [("cut", r"ends after \d+ of \d+ bytes"), ("longer", "is longer than the"), ("last byte", "SHA-256 is")]
)
def test_a_plain_index_is_judged_at_its_end_in_words(damage: str, match: str) -> None:
    world = World("none")
    trust = pin(world.probe())
    manifest = backed_up(world.opened(trust), content=CONTENT).manifest
    damaged(world, manifest.member.index, damage)
    with pytest.raises(CorruptData, match=match):
        reading.index(world.store, manifest, None).read()


def test_a_plain_archive_that_was_cut_is_told() -> None:
    world = World("none")
    trust = pin(world.probe())
    manifest = backed_up(world.opened(trust), content=CONTENT).manifest
    damaged(world, manifest.archive_key, "cut")
    with pytest.raises(CorruptData, match="cut off"):
        whole(reading.archive(world.store, manifest, None))


def test_an_object_without_end_is_not_read_on() -> None:
    class Endless(MemoryStore):
        def stream(self, key: str) -> Iterator[bytes]:
            while True:
                given.append(1)
                yield bytes(1 << 16)

    given: list[int] = []
    world = World("none", store=Endless(lambda: NOW))
    trust = pin(world.probe())
    manifest = backed_up(world.opened(trust), content=CONTENT).manifest
    with pytest.raises(CorruptData, match="longer"):
        reading.index(world.store, manifest, None).read()
    assert len(given) < 10
