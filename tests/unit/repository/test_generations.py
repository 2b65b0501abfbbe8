"""A renewed identity: taken only by who was told, old archives stay readable, and who has the old one gains nothing."""

from __future__ import annotations

import contextlib
import os
from dataclasses import replace

import pytest

from iot_backup.core import layout, signed
from iot_backup.core.manifest import Manifest
from iot_backup.core.spec import Trust
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.sealing import opened
from iot_backup.crypto.signing import Purpose, SigningKey, WriterKey
from iot_backup.errors import CorruptData, InvalidSpec, KeyMissing, StorageUnavailable, Untrusted, WrongKey
from iot_backup.repository import access, generations, keyfiles, opening, writers
from iot_backup.repository.access import Renewed
from iot_backup.repository.records import GenerationRecord
from iot_backup.repository.writers import Keys
from iot_backup.storage.memory import MemoryStore

from .faults import KINDS, FaultyStore, Killed
from .world import NOW, PERSON, World, backed_up, pin, restored

CONTENT = b"archive" * 1000
NEW = Passphrase(b"battery staple")


class Place:
    """A repository with a backup of its first generation, and what follows."""

    def __init__(self, mode: str = "passphrase") -> None:
        self.world = World(mode)
        self.trust = pin(self.world.probe())
        self.old = backed_up(self.world.opened(self.trust)).manifest
        identity = self.world.restoring(self.trust).identity
        assert identity is not None
        self.identity = identity

    def renew(self, store: FaultyStore | None = None, trust: Trust | None = None, identity: Identity | None = None) -> Renewed:
        before = trust or self.trust
        record = generations.pinned(self.world.store, self.world.store.read(layout.REPO), before)
        return access.renew(
            store or self.world.store,
            record,
            self.world.namespace,
            identity or self.identity,
            NEW if self.world.mode == "passphrase" else None,
            (PERSON.recipient,) if self.world.mode == "recipients" else (),
            fingerprint=before.fingerprint,
            now=NOW,
        )

    def told(self) -> World:
        """The storage whose Secret and spec follow a renewal."""
        return replace(self.world, passphrase=NEW.text)


def told(renewed: Renewed) -> Trust:
    record = renewed.record
    return Trust(repository_id=record.repository_id, fingerprint=renewed.fingerprint, recipient=record.recipient)


@pytest.mark.parametrize("mode", ["passphrase", "recipients"])
def test_new_archives_go_to_the_new_identity_and_old_ones_stay_readable(mode: str) -> None:
    place = Place(mode)
    before = dict(place.world.store.objects)
    renewed = place.renew()
    trust, world = told(renewed), place.told()
    assert before.items() <= place.world.store.objects.items(), "nothing was overwritten"
    standing = world.probe(fingerprint=renewed.fingerprint)
    assert (standing.confirmed, standing.writer_admitted, standing.fingerprint) == (True, True, renewed.fingerprint)
    assert pin(standing) == trust
    new = backed_up(world.opened(trust), hours=1).manifest
    assert (new.generation, new.recipient, new.seq) == (2, renewed.record.recipient, 2)
    assert place.identity.recipient != new.recipient == renewed.identity.recipient
    readers = world.restoring(trust)
    assert [restored(readers, one.id) for one in (place.old, new)] == [CONTENT, CONTENT]
    assert f"keys/{renewed.record.recipient_digest}-N" in new.restore
    third = place.renew(trust=trust, identity=readers.identity)
    last = backed_up(world.opened(told(third)), hours=2).manifest
    assert last.generation == 3
    readers = world.restoring(told(third))
    assert [restored(readers, one.id) for one in (place.old, new, last)] == [CONTENT] * 3


def test_who_was_not_told_goes_on_with_the_old_one_and_says_what_it_cannot_read() -> None:
    place = Place()
    renewed = place.renew()
    new = backed_up(place.told().opened(told(renewed)), hours=1).manifest
    assert backed_up(place.world.opened(place.trust), hours=2).manifest.generation == 1
    with pytest.raises(Untrusted, match=r"sealed to generation 2 .* set spec\.encryption\.fingerprint"):
        place.world.restoring(place.trust).find(new.id)
    assert restored(place.world.restoring(place.trust), place.old.id) == CONTENT


def test_a_storage_made_anew_takes_none_of_several_without_being_told() -> None:
    place = Place()
    renewed = place.renew()
    with pytest.raises(Untrusted, match=f"renewed 1 times.*{renewed.fingerprint}"):
        place.told().probe()
    assert place.told().probe(fingerprint=renewed.fingerprint).confirmed


def test_without_a_pin_each_identity_proves_its_own_generation() -> None:
    place = Place()
    renewed = place.renew()
    new = backed_up(place.told().opened(told(renewed)), hours=1).manifest
    for passphrase, brought in ((NEW, None), (None, renewed.identity)):
        repository = opening.open_for_restore(place.world.store, place.world.namespace, None, passphrase, brought)
        assert [restored(repository, one.id) for one in (place.old, new)] == [CONTENT, CONTENT]
    for passphrase, brought in ((Passphrase(place.world.passphrase), None), (None, place.identity)):
        repository = opening.open_for_restore(place.world.store, place.world.namespace, None, passphrase, brought)
        assert restored(repository, place.old.id) == CONTENT
        with pytest.raises(Untrusted, match="generation 2"):
            repository.find(new.id)
    with pytest.raises(WrongKey):
        opening.open_for_restore(place.world.store, place.world.namespace, None, Passphrase(b"wrong"))


def test_the_old_identity_opens_old_archives_of_a_renewed_repository() -> None:
    place = Place()
    renewed = place.renew()
    new = backed_up(place.told().opened(told(renewed)), hours=1).manifest
    repository = opening.open_for_restore(place.world.store, place.world.namespace, told(renewed), None, place.identity)
    assert restored(repository, place.old.id) == CONTENT
    with pytest.raises(WrongKey, match="sealed to other recipients"):
        restored(repository, new.id)
    with pytest.raises((WrongKey, KeyMissing)):
        opening.open_for_restore(place.world.store, place.world.namespace, told(renewed), Passphrase(place.world.passphrase))


def test_a_thief_of_the_old_identity_cannot_admit_a_writer_any_more() -> None:
    place = Place()
    thief = replace(place.world, writer=WriterKey(os.urandom(32)))
    trust = told(place.renew())
    record = writers.described(Keys(thief.writer), repository_id=trust.repository_id, namespace=thief.namespace, now=NOW)
    admission = writers.admission(record, place.identity.root)
    for edition in (1, 2, 3):
        place.world.store.create(layout.writer(thief.writer.id, edition), admission)
    forged = backed_up(thief.opened(place.trust), hours=1).manifest
    assert restored(place.world.restoring(place.trust), forged.id) == CONTENT, "who still trusts the old root is cheated"
    with pytest.raises(Untrusted, match="nobody admitted"):
        place.told().restoring(trust).find(forged.id)


def test_a_thief_of_the_old_identity_makes_no_generation_that_anybody_takes() -> None:
    place = Place()
    own = place.renew()
    trust = told(own)
    del place.world.store.objects[layout.generation(2)]
    thiefs = place.renew()
    with pytest.raises(Untrusted, match="another repository"):
        place.told().opened(trust)
    with pytest.raises(Untrusted, match="another repository"):
        place.told().restoring(trust)
    with pytest.raises(Untrusted, match="another repository"):
        place.told().probe(fingerprint=trust.fingerprint)
    assert place.world.opened(place.trust).record.generation == 1
    assert thiefs.fingerprint != own.fingerprint


@pytest.mark.parametrize("which", ["signature", "number", "previous", "repository", "rubbish", "flipped"])
def test_a_generation_file_that_does_not_follow_is_passed_over(which: str) -> None:
    place = Place()
    renewed = place.renew()
    good = place.world.store.read(layout.generation(2))
    assert len(generations.all_of(place.world.store, place.world.store.read(layout.REPO))) == 2
    generation = GenerationRecord.model_validate_json(good)
    signer = SigningKey(os.urandom(32)) if which == "signature" else place.identity.root
    changes = {"number": {"number": 3}, "previous": {"previous": "0" * 64}, "repository": {"repository_id": "0" * 32}}
    body = signed.signable(generation.model_copy(update=changes.get(which, {})).text())
    bad = signed.closed(body, signer.sign(Purpose.GENERATION, body))
    if which == "rubbish":
        bad = b"rubbish"
    if which == "flipped":
        bad = good.replace(b'"number": 2', b'"number": 9')
    place.world.store.objects[layout.generation(2)] = (bad, NOW)
    assert len(generations.all_of(place.world.store, place.world.store.read(layout.REPO))) == 1
    with pytest.raises(Untrusted, match="another repository"):
        place.told().opened(told(renewed))


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"generation": 1}, CorruptData, "the repository Age to"),
        ({"generation": 3}, Untrusted, "generation 3"),
    ],
)
def test_a_manifest_names_the_recipient_of_its_own_generation(changes: dict[str, int], error: type[Exception], match: str) -> None:
    from iot_backup.repository import trust as judging

    place = Place()
    renewed = place.renew()
    new: Manifest = backed_up(place.told().opened(told(renewed)), hours=1).manifest
    judging.check_manifest_cipher(renewed.record, new)
    judging.check_manifest_cipher(renewed.record, place.old)
    with pytest.raises(error, match=match):
        judging.check_manifest_cipher(renewed.record, new.model_copy(update=changes))


def test_a_way_in_is_not_made_of_an_identity_that_lacks_the_older_ones() -> None:
    place = Place()
    renewed = place.renew()
    with pytest.raises(WrongKey, match="lacks the lines of earlier generations"):
        access.add(place.world.store, renewed.record, place.world.namespace, renewed.identity.alone, NEW)
    added = access.add(place.world.store, renewed.record, place.world.namespace, renewed.identity, [PERSON.recipient])
    assert added.serial == 2
    repository = opening.open_for_restore(place.world.store, place.world.namespace, told(renewed), None, PERSON)
    assert restored(repository, place.old.id) == CONTENT


def test_a_newcomer_to_a_renewed_repository_is_admitted_by_its_probe_and_by_a_person() -> None:
    place = Place()
    trust = told(place.renew())
    newcomer = replace(place.told(), writer=WriterKey(os.urandom(32)))
    assert newcomer.probe(fingerprint=trust.fingerprint).writer_admitted
    assert newcomer.opened(trust).writer_admitted
    asker = Keys(WriterKey(os.urandom(32)))
    record = newcomer.opened(trust).record
    writers.apply(place.world.store, record, place.world.namespace, asker, NOW)
    identity = place.told().restoring(trust).identity
    assert identity is not None
    access.admit(place.world.store, record, place.world.namespace, identity, asker.writer.id, NOW)
    assert writers.admitted(place.world.store, record, place.world.namespace, asker.writer.id) is not None


def test_an_admission_that_a_listing_hides_is_found_by_name() -> None:
    class Blind(MemoryStore):
        def list(self, prefix: str):  # type: ignore[no-untyped-def]
            return iter(())

    place = Place()
    trust = told(place.renew())
    blind = Blind(lambda: NOW)
    blind.objects = place.world.store.objects
    assert place.told().opened(trust, blind).writer_admitted


def test_only_the_newest_generation_is_followed_by_another() -> None:
    place = Place()
    place.renew()
    before = dict(place.world.store.objects)
    with pytest.raises(InvalidSpec, match="generations/2 is there already"):
        place.renew()
    assert place.world.store.objects == before


def test_of_two_who_renew_at_once_one_is_told_and_leaves_the_others_in_place() -> None:
    place = Place()
    theirs: list[Renewed] = []
    last = next(n for n, call in enumerate(calls_of(place)) if call == f"create {layout.generation(2)}")
    place = Place()
    store = FaultyStore(place.world.store, last, "", before=lambda: theirs.append(place.renew()))
    with pytest.raises(StorageUnavailable, match="is there already"):
        place.renew(store)
    assert place.told().opened(told(theirs[0])).writer_admitted
    assert restored(place.told().restoring(told(theirs[0])), place.old.id) == CONTENT


def calls_of(place: Place) -> list[str]:
    """What a renewal asks of its store, in order."""
    counting = FaultyStore(place.world.store, 999, "")
    place.renew(counting)
    return counting.calls


OLD = Passphrase(World().passphrase)


class RenewedPlace(Place):
    """A repository that was renewed under the passphrase that it had: each generation has a key file for it."""

    def __init__(self) -> None:
        super().__init__()
        record = generations.pinned(self.world.store, self.world.store.read(layout.REPO), self.trust)
        self.renewed = access.renew(
            self.world.store, record, self.world.namespace, self.identity, OLD, (), fingerprint=self.trust.fingerprint, now=NOW
        )
        self.new = backed_up(self.world.opened(told(self.renewed)), hours=1).manifest

    def rotate(self, store: FaultyStore | None = None) -> access.Rotated:
        return access.rotate(
            store or self.world.store, self.renewed.record, self.world.namespace, OLD, NEW, writer=self.world.writer, now=NOW
        )

    def opened_by(self, passphrase: Passphrase) -> list[bool]:
        """Whether the passphrase alone restores the first backup, and the second one; on a machine that remembers nothing."""
        try:
            repository = opening.open_for_restore(self.world.store, self.world.namespace, None, passphrase)
        except (WrongKey, KeyMissing):
            return [False, False]
        answers = []
        for backup in (self.old, self.new):
            try:
                answers.append(restored(repository, backup.id) == CONTENT)
            except Untrusted:
                answers.append(False)
        return answers

    def ways(self) -> list[str]:
        return [file.name for file in access.ways(self.world.store, self.renewed.record)]


def test_a_passphrase_that_is_rotated_out_opens_no_earlier_generation() -> None:
    place = RenewedPlace()
    assert place.ways() == ["1.scrypt", "1.scrypt@1"]
    rotated = place.rotate()
    assert (rotated.added.name, [file.name for file in rotated.removed]) == ("2.scrypt", ["1.scrypt@1", "1.scrypt"])
    assert place.ways() == ["2.scrypt"]
    assert place.opened_by(OLD) == [False, False]
    assert place.opened_by(NEW) == [True, True]


def test_what_an_earlier_rotation_left_of_an_old_passphrase_is_taken_away_by_another_one() -> None:
    place = RenewedPlace()
    first = place.world.store.objects[f"keys/{place.renewed.record.recipient_digest}-1.scrypt"]
    del place.world.store.objects[f"keys/{place.renewed.record.recipient_digest}-1.scrypt"]
    before = dict(place.world.store.objects)
    with pytest.raises(WrongKey, match="earlier generations only"):
        place.rotate()
    assert place.world.store.objects == before
    place.world.store.objects[f"keys/{place.renewed.record.recipient_digest}-1.scrypt"] = first
    access.add(place.world.store, place.renewed.record, place.world.namespace, place.renewed.identity, NEW)
    del place.world.store.objects[f"keys/{place.renewed.record.recipient_digest}-1.scrypt"]
    assert place.opened_by(OLD) == [True, False]
    assert [file.name for file in place.rotate().removed] == ["1.scrypt@1"]
    assert place.opened_by(OLD) == [False, False]
    with pytest.raises(WrongKey, match=r"the new one opens 2\.scrypt already: if this is a repeat, the old one is gone"):
        place.rotate()


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_any_step_of_a_rotation_over_generations_leaves_a_way_in_and_a_repeat_ends_it(kind: str) -> None:
    for at in range(80):
        place = RenewedPlace()
        faulty = FaultyStore(place.world.store, at, kind)
        with contextlib.suppress(StorageUnavailable, Killed):
            place.rotate(faulty)
        if not faulty.reached:
            break
        assert [True, True] in (place.opened_by(OLD), place.opened_by(NEW)), (at, faulty.calls[at])
        with contextlib.suppress(WrongKey, KeyMissing):  # where the old one went already, all is done
            place.rotate()
        assert (place.opened_by(OLD), place.opened_by(NEW)) == ([False, False], [True, True]), (at, faulty.calls[at])
    else:
        pytest.fail("a rotation makes more calls than were tried")
    assert at > 10


def test_a_way_into_an_earlier_generation_is_removed_by_who_opens_the_newest() -> None:
    place = RenewedPlace()
    store, record, name = place.world.store, place.renewed.record, place.world.namespace
    wanted = access.ways(store, record)[1]
    assert wanted == keyfiles.named(record, 1, "scrypt", 1)
    access.remove(store, record, name, wanted, OLD)
    assert (place.ways(), place.opened_by(OLD)) == (["1.scrypt"], [True, True])
    with pytest.raises(InvalidSpec, match=r"no key file 1\.scrypt@1"):
        access.remove(store, record, name, wanted, OLD)

    place = RenewedPlace()
    record = place.renewed.record
    del place.world.store.objects[keyfiles.named(record, 1, "scrypt").key]
    access.add(place.world.store, record, name, place.renewed.identity, NEW)
    with pytest.raises(WrongKey):  # the old one opens an earlier generation alone: that is no way that remains
        access.remove(place.world.store, record, name, keyfiles.named(record, 1, "scrypt"), OLD)
    assert place.ways() == ["1.scrypt", "1.scrypt@1"]


def test_the_newest_identity_in_a_persons_file_counts_and_nothing_of_theirs_is_sealed() -> None:
    place = RenewedPlace()
    record, theirs = place.renewed.record, Identity.generated()
    ring = Identity(theirs.secret, older=(place.identity, place.renewed.identity.alone))
    assert keyfiles.by_identity(place.world.store, record, ring) == (place.renewed.identity, True)
    assert keyfiles.own(record, theirs) is None
    first = Identity(theirs.secret, older=(place.identity,))
    assert keyfiles.by_identity(place.world.store, record, first) == (place.identity, False)
    third = access.renew(place.world.store, record, place.world.namespace, ring, NEW, (), fingerprint=place.renewed.fingerprint, now=NOW)
    assert third.identity.older == (place.renewed.identity.alone, place.identity)
    held = opened(place.world.store.read(keyfiles.named(third.record, 1, "scrypt").key), NEW)
    assert theirs.text.encode() not in held


def test_a_fingerprint_of_before_a_renewal_leads_back_and_a_later_one_does_not() -> None:
    place = RenewedPlace()
    store, old, new = place.world.store, place.trust, told(place.renewed)
    repo_json = store.read(layout.REPO)
    assert generations.goes_back(store, repo_json, new, old.fingerprint)
    assert not generations.goes_back(store, repo_json, old, new.fingerprint)
    assert not generations.goes_back(store, repo_json, new, new.fingerprint)
    another = old.model_copy(update={"repository_id": "0" * 32})
    assert not generations.goes_back(store, repo_json, another, old.fingerprint)
    with pytest.raises(Untrusted, match="another repository"):
        generations.goes_back(store, repo_json, new, "0" * 64)
    del store.objects[layout.generation(2)]
    assert generations.goes_back(store, repo_json, new, old.fingerprint), "whoever hides the renewal does not undo it"


def test_a_renewal_that_is_there_already_is_told_by_its_fingerprint() -> None:
    place = Place()
    renewed = place.renew()
    with pytest.raises(InvalidSpec, match=f"fingerprint to {renewed.fingerprint}"):
        place.renew()


def test_nothing_is_renewed_where_nothing_is_encrypted() -> None:
    plain = World("none")
    record = plain.probe().record
    with pytest.raises(InvalidSpec, match="not encrypted"):
        access.renew(plain.store, record, plain.namespace, PERSON, NEW, (), fingerprint="0" * 64, now=NOW)


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_any_step_leaves_the_old_generation_or_a_whole_new_one(kind: str) -> None:
    for at in range(60):
        place = Place()
        faulty = FaultyStore(place.world.store, at, kind)
        with contextlib.suppress(StorageUnavailable, Killed):
            place.renew(faulty)
        if not faulty.reached:
            break
        assert restored(place.world.restoring(place.trust), place.old.id) == CONTENT
        assert place.world.opened(place.trust).writer_admitted
        (record, fingerprint), *_ = generations.all_of(place.world.store, place.world.store.read(layout.REPO))
        if record.generation == 2:
            trust = Trust(repository_id=record.repository_id, fingerprint=fingerprint, recipient=record.recipient)
            assert restored(place.told().restoring(trust), place.old.id) == CONTENT, (at, faulty.calls[at])
            assert place.told().opened(trust).writer_admitted
        else:
            place.renew()
    else:
        pytest.fail("a renewal makes more calls than were tried")
    assert at > 5
