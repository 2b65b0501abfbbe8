"""What counts as a backup, and what is only lying there."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from iot_backup.core import manifest as manifests
from iot_backup.core import signed
from iot_backup.core.layout import Member
from iot_backup.core.manifest import Manifest
from iot_backup.core.spec import Floor
from iot_backup.crypto.signing import Purpose, WriterKey
from iot_backup.errors import CorruptData, IotBackupError, SourceUnavailable, Untrusted
from iot_backup.repository import floor
from iot_backup.storage.memory import MemoryStore

from .world import NOW, World, backed_up, begun, pin, restored


@pytest.fixture
def world() -> World:
    return World()


def signed_by(writer: WriterKey, manifest: Manifest) -> bytes:
    body = manifests.signable(manifest)
    return signed.closed(body, writer.signing.sign(Purpose.MANIFEST, body))


def test_lists_chains_in_order_and_finds_by_id(world: World) -> None:
    trust = pin(world.probe())
    repository = world.opened(trust)
    made = [backed_up(repository, chain, hours=h).manifest for chain, h in (("b", 0), ("a", 1), ("b", 2))]
    readers = world.restoring(trust)
    assert [e.member.id for e in readers.catalogue.entries()] == [m.id for m in made]
    assert [e.member.id for e in readers.catalogue.entries("b")] == [made[0].id, made[2].id]
    assert [e.manifest.seq for e in readers.catalogue.entries("b") if e.manifest] == [1, 2]
    assert readers.find(made[1].id).manifest == made[1]
    assert readers.find(made[1].id, "b").manifest == made[1], "the chain is only where to look first"
    newest = readers.catalogue.newest("b")
    assert newest is not None
    assert newest.manifest == made[2]
    assert readers.catalogue.newest("c") is None


def test_a_backup_that_is_not_there_is_told_in_words(world: World) -> None:
    trust = pin(world.probe())
    backed_up(world.opened(trust))
    with pytest.raises(SourceUnavailable, match="no backup 0000000000000000 of namespace iot-system"):
        world.restoring(trust).find("0" * 16)


@pytest.mark.parametrize(
    "key", ["chains/x", "chains/a/b/c", "chains/../x.manifest.json", "chains/A/20261123t120000z-0000000000000000.manifest.json"]
)
def test_foreign_keys_in_the_listing_are_passed_over(world: World, key: str) -> None:
    trust = pin(world.probe())
    backed_up(world.opened(trust))
    world.store.objects[key] = (b"{}", NOW)
    assert len(world.restoring(trust).catalogue.entries()) == 1


def changed(**facts: Any) -> Callable[[Manifest, World], tuple[Member, bytes]]:
    """A manifest rightly signed by our writer, that says something else than its place."""

    def forge(manifest: Manifest, world: World) -> tuple[Member, bytes]:
        return manifest.member, signed_by(world.writer, manifest.model_copy(update=facts))

    return forge


def moved(manifest: Manifest, world: World) -> tuple[Member, bytes]:
    return replace(manifest.member, chain="other"), world.store.read(manifest.member.manifest)


def by_a_stranger(manifest: Manifest, world: World) -> tuple[Member, bytes]:
    stranger = WriterKey(os.urandom(32))
    return manifest.member, signed_by(stranger, manifest.model_copy(update={"writer": stranger.id}))


def in_our_name(manifest: Manifest, world: World) -> tuple[Member, bytes]:
    return manifest.member, signed_by(WriterKey(os.urandom(32)), manifest)


def for_another_purpose(manifest: Manifest, world: World) -> tuple[Member, bytes]:
    body = manifests.signable(manifest)
    return manifest.member, signed.closed(body, world.writer.signing.sign(Purpose.WRITER, body))


def cut(manifest: Manifest, world: World) -> tuple[Member, bytes]:
    return manifest.member, world.store.read(manifest.member.manifest)[:-5]


def edited(manifest: Manifest, world: World) -> tuple[Member, bytes]:
    return manifest.member, world.store.read(manifest.member.manifest).replace(b'"seq": 2', b'"seq": 9')


def too_long(manifest: Manifest, world: World) -> tuple[Member, bytes]:
    return manifest.member, b" " * 70_000


@pytest.mark.parametrize(
    ("forge", "error", "match"),
    [
        (changed(repository_id="0" * 32), Untrusted, "another repository"),
        (changed(namespace="other"), Untrusted, "another repository"),
        (changed(chain="other"), Untrusted, "moved or copied"),
        (changed(id="0" * 16), Untrusted, "moved or copied"),
        (changed(cipher="None", recipient=None), CorruptData, "the repository Age"),
        (changed(cipher="AES256"), CorruptData, "says AES256 .* the repository Age"),
        (changed(recipient="age1thief"), CorruptData, "age1thief"),
        (moved, Untrusted, "moved or copied"),
        (by_a_stranger, Untrusted, "nobody admitted"),
        (in_our_name, Untrusted, "no valid signature"),
        (for_another_purpose, Untrusted, "no valid signature"),
        (cut, CorruptData, "does not end with a signature"),
        (edited, Untrusted, "no valid signature"),
        (too_long, CorruptData, "more than"),
    ],
)
def test_a_manifest_counts_only_if_all_of_it_holds(
    world: World, forge: Callable[[Manifest, World], tuple[Member, bytes]], error: type[IotBackupError], match: str
) -> None:
    trust = pin(world.probe())
    repository = world.opened(trust)
    good = backed_up(repository, hours=-1).manifest
    victim = backed_up(repository).manifest
    member, data = forge(victim, world)
    del world.store.objects[victim.member.manifest]
    world.store.objects[member.manifest] = (data, NOW)
    readers = world.restoring(trust)
    with pytest.raises(error, match=match):
        readers.find(victim.id)
    problem = next(e.problem for e in readers.catalogue.entries() if e.member == member)
    assert isinstance(problem, error)
    newest = readers.catalogue.newest("database")
    assert newest is not None
    assert newest.manifest == good
    assert restored(readers, good.id)
    assert begun(world.opened(trust)).plan.seq == 2, "a forged seq moves nothing"


def test_every_changed_byte_of_a_manifest_is_noticed(world: World) -> None:
    trust = pin(world.probe())
    manifest = backed_up(world.opened(trust)).manifest
    good = world.store.read(manifest.member.manifest)
    catalogue = world.restoring(trust).catalogue
    assert catalogue.judged(manifest.member, good) == manifest
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1 << at % 8
        with pytest.raises((Untrusted, CorruptData)):
            catalogue.judged(manifest.member, bytes(bad))


def test_seq_goes_on_from_the_highest_even_after_hundreds_of_runs(world: World) -> None:
    trust = pin(world.probe())
    repository = world.opened(trust)
    template = backed_up(repository).manifest
    for n in range(2, 102):
        manifest = template.model_copy(
            update={"id": f"{n:016x}", "seq": n, "start_time": template.start_time.replace(minute=n // 60, second=n % 60)}
        )
        world.store.create(manifest.member.manifest, signed_by(world.writer, manifest))
    reads: list[str] = []

    class Counting(MemoryStore):
        def read(self, key: str, *, limit: int = 1 << 20) -> bytes:
            reads.append(key)
            return super().read(key, limit=limit)

    counting = Counting()
    counting.objects = world.store.objects
    assert begun(world.opened(trust, counting)).plan.seq == 102
    assert len(reads) < 40


def test_a_run_with_a_clock_at_1970_is_not_taken_for_a_store_that_was_set_back(world: World) -> None:
    """Names begin with the time, so the newest backup has the oldest name."""
    trust = pin(world.probe())
    made = [backed_up(world.opened(trust), hours=hours) for hours in range(33)]
    newest = backed_up(world.opened(trust), hours=-24 * 20000)
    remembered = Floor(seq=34, manifest_sha256=newest.manifest_sha256)
    catalogue = world.opened(trust).catalogue
    for known in (34, 0):
        floor.check("database", catalogue.recent("database", world.writer.id, known), remembered)
    assert catalogue.next_seq("database") == 35
    world.store.delete(made[0].manifest.member.manifest)  # as retention does
    floor.check("database", catalogue.recent("database", world.writer.id, 34), remembered)


@pytest.mark.parametrize("junk", [b"rubbish", bytes(2 << 20)], ids=["rubbish", "too long"])
def test_manifests_that_somebody_added_neither_hide_a_backup_nor_turn_seq_back(world: World, junk: bytes) -> None:
    trust = pin(world.probe())
    committed = backed_up(world.opened(trust)).manifest
    for chain, year in (("database", 2020), ("another", 2020), ("database", 2999)):
        world.store.create(f"chains/{chain}/{year}0101t000000z-{committed.id}.manifest.json", junk)
    for number in range(40):
        world.store.create(f"chains/database/29990101t000000z-{number:016x}.manifest.json", junk)
    assert restored(world.restoring(trust), committed.id, "database")
    assert restored(world.restoring(trust), committed.id)
    assert backed_up(world.opened(trust)).manifest.seq == committed.seq + 1


def test_own_runs_count_for_seq_before_anybody_admitted_us(world: World) -> None:
    trust = pin(world.probe())
    newcomer = replace(world, writer=WriterKey(os.urandom(32)))
    backed_up(newcomer.opened(trust))
    assert begun(newcomer.opened(trust), hours=1).plan.seq == 2
    assert begun(world.opened(trust), hours=1).plan.seq == 1
