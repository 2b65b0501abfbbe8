"""A repository comes into being whole or not at all, whatever happens on the way."""

from __future__ import annotations

import contextlib
import json
import os
from dataclasses import replace

import pytest

from iot_backup.core import layout
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.sealing import opened
from iot_backup.crypto.signing import WriterKey
from iot_backup.errors import CorruptData, InvalidSpec, KeyMissing, StorageUnavailable, Untrusted, WrongKey
from iot_backup.storage.memory import MemoryStore

from .faults import KINDS, FaultyStore, Killed
from .world import MODES, PERSON, World, backed_up, pin, restored

POINTS = 40
"""More calls than a creation makes; the tests prove that they met the end."""


@pytest.mark.parametrize("mode", MODES)
def test_a_probe_creates_confirms_and_admits(mode: str) -> None:
    world = World(mode)
    first = world.probe()
    again = world.probe(fingerprint=first.fingerprint)
    assert (first.created, first.confirmed, first.writer_admitted) == (True, True, True)
    assert (again.created, again.confirmed, again.writer_admitted) == (False, True, True)
    assert again.record == first.record
    assert (first.record.recipient is None) == (mode == "none")
    assert restored(world.restoring(pin(first)), backed_up(world.opened(pin(first))).manifest.id) == b"archive" * 1000


def test_key_files_open_with_stock_contents() -> None:
    world = World("recipients")
    record = world.probe().record
    plain = opened(world.store.read(layout.key_file(record.recipient_digest, 1, "recipients")), PERSON)
    assert Identity.parsed(plain.decode()).recipient == record.recipient


def test_repo_json_is_for_people_and_holds_no_secret() -> None:
    world = World()
    world.probe()
    text = world.store.read(layout.REPO).decode()
    assert json.loads(text)["format"] == "iot-backup-operator/repository/v1"
    assert "SECRET" not in text
    assert world.passphrase.decode() not in text


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("mode", MODES)
def test_a_fault_at_any_step_leaves_no_repository_or_a_whole_one(mode: str, kind: str) -> None:
    for at in range(POINTS):
        world = World(mode)
        faulty = FaultyStore(world.store, at, kind)
        first = None
        with contextlib.suppress(StorageUnavailable, Killed):
            first = world.probe(faulty)
        if not faulty.reached:
            break
        left = world.store.objects.get(layout.REPO)
        second = world.probe(fingerprint=first.fingerprint if first else None)
        assert second.confirmed, (at, faulty.calls[at])
        assert second.writer_admitted, (at, faulty.calls[at])
        assert left is None or world.store.objects[layout.REPO] == left
        assert second.created == (left is None)
        assert layout.writer(world.writer.id) in world.store.objects
        assert restored(world.restoring(pin(second)), backed_up(world.opened(pin(second))).manifest.id)
    else:
        pytest.fail("creation makes more calls than were tried")
    assert at > 3


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("same_cluster", [True, False])
def test_two_creators_end_with_one_repository(mode: str, same_cluster: bool) -> None:
    for at in range(POINTS):
        world = World(mode)
        other = world if same_cluster else replace(world, writer=WriterKey(os.urandom(32)))
        theirs = []
        store = FaultyStore(world.store, at, "", before=lambda: theirs.append(other.probe()))  # noqa: B023
        ours = world.probe(store)
        if not store.reached:
            break
        assert ours.fingerprint == theirs[0].fingerprint, (at, store.calls[at])
        assert ours.created + theirs[0].created == 1
        for probed, who in ((ours, world), (theirs[0], other)):
            knows = probed.created or same_cluster or mode in {"passphrase", "aes"}
            assert (probed.confirmed, probed.writer_admitted) == (knows, knows), (at, store.calls[at])
            committed = backed_up(who.opened(pin(probed)))
            readers = who.restoring(pin(probed))
            if probed.writer_admitted:
                assert restored(readers, committed.manifest.id)
    else:
        pytest.fail("creation makes more calls than were tried")


def test_a_write_that_lands_late_wins_over_the_retry_and_can_be_opened() -> None:
    class Late(FaultyStore):
        def create(self, key: str, body: bytes) -> None:
            if key == layout.REPO and not late:
                late.append(body)
                raise StorageUnavailable("no answer")
            if key == layout.REPO:
                self.inner.create(key, late[0])
            super().create(key, body)

    late: list[bytes] = []
    world = World()
    store = Late(world.store, 999, "")
    with pytest.raises(StorageUnavailable):
        world.probe(store)
    standing = world.probe(store)
    assert world.store.read(layout.REPO) == late[0]
    assert (standing.created, standing.confirmed, standing.writer_admitted) == (False, True, True)
    assert restored(world.restoring(pin(standing)), backed_up(world.opened(pin(standing))).manifest.id)


def test_a_store_that_overwrites_is_noticed() -> None:
    class Overwriting(MemoryStore):
        def create(self, key: str, body: bytes) -> None:
            self.objects.pop(key, None)
            super().create(key, b"other" if key == layout.REPO else body)

    with pytest.raises(CorruptData, match=r"repo\.json"):
        World(store=Overwriting()).probe()


def test_a_vanished_repository_is_never_replaced() -> None:
    world = World()
    standing = world.probe()
    empty = replace(world, store=MemoryStore())
    with pytest.raises(Untrusted, match="not in the store"):
        empty.probe(fingerprint=standing.fingerprint)
    with pytest.raises(Untrusted, match="must not create"):
        empty.probe(create=False)
    assert empty.store.objects == {}


def test_no_key_and_no_leave_to_do_without_is_refused_before_anything_is_written() -> None:
    world = World("recipients")
    order = world.order()
    bare = order.model_copy(
        update={
            "repository": order.repository.model_copy(
                update={"encryption": order.repository.encryption.model_copy(update={"recipients": ()})}
            )
        }
    )
    from iot_backup.repository.creation import probe

    with pytest.raises(KeyMissing, match=r"spec\.encryption"):
        probe(world.store, bare, world.keys, world.store.now(), os.urandom)
    assert world.store.objects == {}


def test_a_repository_made_before_is_confirmed_by_its_passphrase_only() -> None:
    world = World()
    made = world.probe()
    newcomer = replace(world, writer=WriterKey(os.urandom(32)))
    standing = newcomer.probe()
    assert (standing.created, standing.confirmed, standing.writer_admitted) == (False, True, True)
    assert standing.fingerprint == made.fingerprint
    with pytest.raises(WrongKey, match="another one"):
        replace(newcomer, passphrase=b"guess", writer=WriterKey(os.urandom(32))).probe()


@pytest.mark.parametrize("mode", ["recipients", "none"])
def test_without_a_passphrase_only_the_fingerprint_confirms_anothers_repository(mode: str) -> None:
    world = World(mode)
    made = world.probe()
    newcomer = replace(world, writer=WriterKey(os.urandom(32)))
    before = dict(world.store.objects)
    assert not newcomer.probe().confirmed
    assert world.store.objects == before
    standing = newcomer.probe(fingerprint=made.fingerprint)
    assert standing.confirmed
    assert not standing.writer_admitted


def test_an_edited_passphrase_is_noticed_within_the_hour() -> None:
    world = World()
    standing = world.probe()
    with pytest.raises(WrongKey, match="another one"):
        replace(world, passphrase=b"edited by mistake").probe(fingerprint=standing.fingerprint)


def test_the_hourly_probe_does_not_open_key_files(monkeypatch: pytest.MonkeyPatch) -> None:
    world = World()
    standing = world.probe()
    from iot_backup.crypto import passphrase

    monkeypatch.setattr(passphrase, "_scrypt", lambda *_: pytest.fail("scrypt was run"))
    assert world.probe(fingerprint=standing.fingerprint).writer_admitted


@pytest.mark.parametrize("mode", ["passphrase", "recipients"])
def test_lost_key_files_stop_probe_and_backups(mode: str) -> None:
    world = World(mode)
    standing = world.probe()
    for key in [k for k in world.store.objects if k.startswith(layout.KEYS)]:
        del world.store.objects[key]
    with pytest.raises(KeyMissing, match="no key file"):
        world.probe(fingerprint=standing.fingerprint)
    with pytest.raises(KeyMissing, match="no key file"):
        world.opened(pin(standing))


@pytest.mark.parametrize(
    ("found", "wanted", "error"),
    [
        ("none", "passphrase", Untrusted),
        ("none", "aes", Untrusted),
        ("passphrase", "none", InvalidSpec),
        ("passphrase", "aes", InvalidSpec),
        ("aes", "passphrase", InvalidSpec),
        ("aes", "none", InvalidSpec),
    ],
)
def test_a_cipher_never_stands_in_for_another(found: str, wanted: str, error: type[Exception]) -> None:
    world = World(found)
    world.probe()
    before = dict(world.store.objects)
    with pytest.raises(error, match="encrypt"):
        replace(world, mode=wanted).probe()
    assert world.store.objects == before


def test_junk_among_key_files_is_passed_over() -> None:
    world = World()
    standing = world.probe()
    digest = standing.record.recipient_digest
    for serial in range(2, 40):
        world.store.create(layout.key_file(digest, serial, "scrypt"), b"junk")
    world.store.create(f"keys/{digest}-1.backup", b"junk")
    assert replace(world, writer=WriterKey(os.urandom(32))).probe().confirmed


def test_a_key_file_hidden_from_the_listing_is_found_by_name() -> None:
    class Blind(MemoryStore):
        def list(self, prefix: str):  # type: ignore[no-untyped-def]
            return iter(())

    world = World(store=Blind())
    standing = world.probe()
    assert world.opened(pin(standing)).writer_admitted
    assert replace(world, writer=WriterKey(os.urandom(32))).probe().confirmed
