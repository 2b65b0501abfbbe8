"""What a thief of bucket credentials can put into a store, and that none of it is believed."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import pytest

from iot_backup.core import layout, signed
from iot_backup.core.manifest import StoredObject
from iot_backup.crypto import container
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.sealing import sealed_by, sealed_to
from iot_backup.crypto.signing import Purpose, SigningKey, WriterKey
from iot_backup.errors import CorruptData, IotBackupError, KeyMissing, Untrusted, WrongKey
from iot_backup.repository import opening, reading, records, writers
from iot_backup.repository.keyfiles import is_of
from iot_backup.repository.records import RepositoryRecord, WriterRecord
from iot_backup.repository.writers import Keys
from iot_backup.storage.memory import MemoryStore

from .world import MODES, NOW, PERSON, World, backed_up, begun, pin, restored, uploaded


def swapped(victim: World, thief: World) -> MemoryStore:
    """The victim's store with repo.json, keys and writers of the thief's own repository: consistent in itself."""
    thief.probe()
    objects = {k: v for k, v in victim.store.objects.items() if not k.startswith(("keys/", "writers/", "repo.json"))}
    store = MemoryStore()
    store.objects = objects | {k: v for k, v in thief.store.objects.items() if k.startswith(("keys/", "writers/", "repo.json"))}
    return store


@pytest.mark.parametrize("mode", MODES)
def test_a_consistent_swap_gets_nothing_encrypted_to_it(mode: str) -> None:
    world = World(mode)
    trust = pin(world.probe())
    backed_up(world.opened(trust))
    for thief in (World(mode), World(mode, passphrase=b"thief's own")):
        store = swapped(world, thief)
        before = dict(store.objects)
        cheated = replace(world, store=store)
        with pytest.raises(Untrusted, match="another repository"):
            cheated.opened(trust)
        with pytest.raises(Untrusted, match="another repository"):
            cheated.probe(fingerprint=trust.fingerprint)
        with pytest.raises(Untrusted, match="another repository"):
            cheated.restoring(trust)
        assert store.objects == before


@pytest.mark.parametrize("mode", MODES)
def test_a_consistent_swap_is_not_confirmed_when_the_resource_is_created_again(mode: str) -> None:
    world = World(mode)
    world.probe()
    cheated = replace(world, store=swapped(world, World(mode, passphrase=b"thief's own")))
    before = dict(cheated.store.objects)
    try:
        assert not cheated.probe().confirmed
    except WrongKey:
        assert mode in {"passphrase", "aes"}
    assert cheated.store.objects == before


def test_another_namespaces_repository_of_the_same_passphrase_is_not_confirmed() -> None:
    neighbour = World(namespace="other-team")
    neighbour.probe()
    copied = World(store=neighbour.store)
    with pytest.raises(Untrusted, match="belongs to another repository"):
        copied.probe()


def test_a_genuine_key_file_beside_anothers_repo_json_proves_nothing() -> None:
    world = World()
    standing = world.probe()
    forged = standing.record.model_copy(
        update={"root": SigningKey(os.urandom(32)).public.hex(), "repository_id": standing.record.repository_id}
    )
    body = signed.signable(forged.text())
    world.store.objects[layout.REPO] = (signed.closed(body, WriterKey(os.urandom(32)).signing.sign(Purpose.REPOSITORY, body)), NOW)
    with pytest.raises(Untrusted, match="belongs to another repository"):
        world.probe()


def test_repo_json_with_a_changed_byte_is_refused_everywhere() -> None:
    world = World()
    trust = pin(world.probe())
    good, when = world.store.objects[layout.REPO]
    for at in range(0, len(good), 7):
        bad = bytearray(good)
        bad[at] ^= 1
        world.store.objects[layout.REPO] = (bytes(bad), when)
        with pytest.raises(Untrusted):
            world.opened(trust)
        with pytest.raises((Untrusted, CorruptData)):
            world.restoring(trust)


def forged_writer(world: World, signer: SigningKey, **changes: str) -> bytes:
    record = writers.described(Keys(world.writer), repository_id=world.probe().record.repository_id, namespace=world.namespace, now=NOW)
    return writers.admission(record.model_copy(update=changes), signer)


def test_a_writer_admitted_with_bucket_credentials_alone_is_refused() -> None:
    world = World()
    trust = pin(world.probe())
    thief = replace(world, writer=WriterKey(os.urandom(32)))
    repository = thief.opened(trust)
    assert not repository.writer_admitted
    for signer in (thief.writer.signing, SigningKey(os.urandom(32))):
        record = writers.described(Keys(thief.writer), repository_id=trust.repository_id, namespace=thief.namespace, now=NOW)
        world.store.objects[layout.writer(thief.writer.id)] = (writers.admission(record, signer), NOW)
        repository = thief.opened(trust)
        assert not repository.writer_admitted
        assert "not signed by the root" in (repository.admission_problem or "")
        with pytest.raises(Untrusted, match="not signed by the root"):
            thief.probe(fingerprint=trust.fingerprint)
    committed = backed_up(thief.opened(trust))
    with pytest.raises(Untrusted, match="not signed by the root"):
        world.restoring(trust).find(committed.manifest.id)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"repository_id": "0" * 32}, "another repository"),
        ({"namespace": "other-team"}, "another repository"),
        ({"key_id": "0" * 16}, "another key"),
        ({"public_key": "0" * 64}, "another key"),
    ],
)
def test_a_genuine_admission_holds_for_its_own_place_only(changes: dict[str, str], match: str) -> None:
    """Signed by the right root, as an admission copied from elsewhere would be."""
    world = World()
    record = world.probe().record
    root = world.restoring(None).identity
    assert root is not None
    data = forged_writer(world, root.root, **changes)
    with pytest.raises(Untrusted, match=match):
        writers.judged(data, record, world.namespace, world.writer.id)


def test_every_changed_byte_of_an_admission_is_noticed() -> None:
    world = World()
    record = world.probe().record
    good = world.store.read(layout.writer(world.writer.id))
    writers.judged(good, record, world.namespace, world.writer.id)
    for at in range(len(good)):
        bad = bytearray(good)
        bad[at] ^= 1
        with pytest.raises((Untrusted, CorruptData)):
            writers.judged(bytes(bad), record, world.namespace, world.writer.id)


def test_an_unadmitted_writer_may_back_up_and_admission_makes_it_good() -> None:
    world = World("recipients")
    trust = pin(world.probe())
    newcomer = replace(world, writer=WriterKey(os.urandom(32)))
    committed = backed_up(newcomer.opened(trust))
    with pytest.raises(Untrusted, match="nobody admitted"):
        world.restoring(trust).find(committed.manifest.id)
    identity = world.restoring(trust).identity
    assert identity is not None
    record = writers.described(newcomer.keys, repository_id=trust.repository_id, namespace=world.namespace, now=NOW)
    writers.admit(world.store, world.probe().record, world.namespace, writers.admission(record, identity.root), newcomer.writer.id)
    assert restored(world.restoring(trust), committed.manifest.id) == b"archive" * 1000


def test_restore_without_a_pin_needs_the_identity_itself() -> None:
    world = World("recipients")
    trust = pin(world.probe())
    committed = backed_up(world.opened(trust))
    with pytest.raises(Untrusted, match="nobody vouches"):
        world.restoring(None)  # a person's key opens a key file, but anyone can seal one to a person
    identity = world.restoring(trust).identity
    repository = opening.open_for_restore(world.store, world.namespace, None, None, identity)
    assert restored(repository, committed.manifest.id)


def test_a_key_file_sealed_by_a_thief_to_our_people_gives_no_identity() -> None:
    world = World("recipients")
    trust = pin(world.probe())
    thief = Identity.generated()
    digest = records.decoded_signed(RepositoryRecord, world.store.read(layout.REPO), "x")[0].recipient_digest
    world.store.create(layout.key_file(digest, 9, "recipients"), sealed_to([PERSON.recipient], thief.text.encode()))
    assert is_of(world.restoring(trust).identity or thief, records.decoded(RepositoryRecord, world.store.read(layout.REPO), "x"))
    world.store.delete(layout.key_file(digest, 1, "recipients"))
    with pytest.raises(WrongKey, match="neither"):
        world.restoring(trust)


@pytest.mark.parametrize("junk", ["thief's identity", "no identity", "too long"])
@pytest.mark.parametrize("mode", ["passphrase", "recipients"])
def test_key_files_that_somebody_added_do_not_keep_us_out(mode: str, junk: str) -> None:
    world = World(mode)
    standing = world.probe()
    committed = backed_up(world.opened(pin(standing)))
    plain = Identity.generated().text.encode() if junk == "thief's identity" else b"rubbish"
    sealed = sealed_to([PERSON.recipient], plain) if mode == "recipients" else sealed_by(Passphrase(world.passphrase), plain)
    for serial in range(2, 9):
        name = layout.key_file(standing.record.recipient_digest, serial, {"passphrase": "scrypt"}.get(mode, mode))
        world.store.create(name, bytes(2 << 20) if junk == "too long" else sealed)
    assert restored(world.restoring(pin(standing)), committed.manifest.id)


@pytest.mark.parametrize(
    ("passphrase", "brought", "error"),
    [
        (None, None, KeyMissing),
        (Passphrase(b"wrong"), None, WrongKey),
        (None, Identity.generated(), WrongKey),
    ],
)
def test_restore_says_which_key_is_wrong_or_missing(
    passphrase: Passphrase | None, brought: Identity | None, error: type[IotBackupError]
) -> None:
    world = World()
    trust = pin(world.probe())
    with pytest.raises(error):
        opening.open_for_restore(world.store, world.namespace, trust, passphrase, brought)


def test_restore_from_an_empty_store_says_so() -> None:
    with pytest.raises(Untrusted, match="no repository"):
        World(store=MemoryStore()).restoring(None)


def test_a_plain_repository_needs_a_pin() -> None:
    world = World("none")
    trust = pin(world.probe())
    with pytest.raises(Untrusted, match="nobody vouches"):
        world.restoring(None)
    assert world.restoring(trust).identity is None


def test_in_a_plain_repository_nobody_can_admit_himself() -> None:
    world = World("none")
    trust = pin(world.probe())
    thief = replace(world, writer=WriterKey(os.urandom(32)))
    committed = backed_up(thief.opened(trust))
    ours = writers.described(Keys(thief.writer), repository_id=trust.repository_id, namespace=world.namespace, now=NOW)
    world.store.create(layout.writer(thief.writer.id), writers.admission(ours, thief.writer.signing))
    with pytest.raises(Untrusted, match="nobody admitted"):
        world.restoring(trust).find(committed.manifest.id)


@pytest.mark.parametrize("namespace", ["keys", "writers", "announce", "chains", "repo.json"])
def test_namespaces_may_have_the_names_of_our_folders(namespace: str) -> None:
    assert layout.root(namespace) == f"ns/{namespace}/"
    world = World(namespace=namespace)
    trust = pin(world.probe())
    committed = backed_up(world.opened(trust), chain=namespace)
    assert restored(world.restoring(trust), committed.manifest.id, namespace)


def test_the_order_must_agree_with_its_own_fingerprint() -> None:
    world = World()
    trust = pin(world.probe())
    with pytest.raises(Untrusted, match="worker's order"):
        world.opened(trust.model_copy(update={"recipient": PERSON.recipient}))


def test_a_run_that_was_opened_for_a_restore_cannot_write() -> None:
    world = World()
    trust = pin(world.probe())
    with pytest.raises(IotBackupError, match="writer key"):
        begun(world.restoring(trust))
    run = begun(world.opened(trust))
    run.announce()
    assert uploaded(world.opened(trust), run).archive.size > 0


def test_writer_records_say_whose_they_are() -> None:
    world = World()
    world.probe()
    record = records.decoded_signed(WriterRecord, world.store.read(layout.writer(world.writer.id)), "x")[0]
    assert record.passphrase_tag == world.keys.passphrase_tag
    assert record.namespace == world.namespace


@pytest.mark.parametrize("mode", MODES)
def test_the_creator_counts_as_admitted_before_its_record_is_written(mode: str) -> None:
    world = World(mode)
    trust = pin(world.probe())
    world.store.delete(layout.writer(world.writer.id))  # as after a crash right behind repo.json
    repository = world.opened(trust)
    assert repository.writer_admitted
    assert restored(world.restoring(trust), backed_up(repository).manifest.id)


@pytest.mark.parametrize(("mode", "other"), [("passphrase", "AES256"), ("aes", "Age"), ("passphrase", "None")])
def test_a_repository_whose_cipher_somebody_edited_restores_nothing(mode: str, other: str) -> None:
    """The identity vouches for recipient and root, not for the cipher; the manifests' signatures do."""
    world = World(mode)
    trust = pin(world.probe())
    committed = backed_up(world.opened(trust))
    forged = world.probe().record.model_copy(update={"cipher": other})
    body = signed.signable(forged.text())
    world.store.objects[layout.REPO] = (signed.closed(body, WriterKey(os.urandom(32)).signing.sign(Purpose.REPOSITORY, body)), NOW)
    with pytest.raises(Untrusted, match="another repository"):
        world.restoring(trust)
    with pytest.raises(CorruptData, match=r"manifest says|contradict"):
        world.restoring(None).find(committed.manifest.id)


@pytest.mark.parametrize(("mode", "other"), [("passphrase", "AES256"), ("aes", "Age")])
def test_an_archive_of_the_other_cipher_is_refused(mode: str, other: str) -> None:
    """By its header's hash; and had its writer itself signed that, by its first line."""
    world = World(mode)
    trust = pin(world.probe())
    manifest = backed_up(world.opened(trust)).manifest
    sealer = container.sealer(manifest.recipient, other)
    data = sealer.header + sealer.finish()
    world.store.objects[manifest.archive_key] = (data.ljust(manifest.archive.size, b"\0"), NOW)
    identity = world.restoring(trust).identity
    with pytest.raises(CorruptData, match="damaged or replaced"):
        reading.archive(world.store, manifest, identity)
    world.store.objects[manifest.archive_key] = (data, NOW)
    told = StoredObject(size=len(data), sha256=hashlib.sha256(data).hexdigest(), header_sha256=sealer.header_sha256)
    with pytest.raises(CorruptData, match="first line"):
        reading.archive(world.store, manifest.model_copy(update={"archive": told}), identity)
