"""Ways in are added, taken away and changed, and at every step somebody gets in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from dataclasses import replace

import pytest

from iot_backup.core import layout
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.sealing import opened, sealed_by
from iot_backup.crypto.signing import Purpose, SigningKey, WriterKey
from iot_backup.errors import Busy, InvalidSpec, KeyMissing, StorageUnavailable, Untrusted, WrongKey
from iot_backup.repository import access, keyfiles, opening, writers
from iot_backup.repository.keyfiles import RECIPIENTS, SCRYPT, KeyFile
from iot_backup.repository.records import RepositoryRecord
from iot_backup.repository.writers import Keys
from iot_backup.storage.memory import MemoryStore

from .faults import KINDS, FaultyStore, Killed
from .world import NOW, PERSON, World, backed_up, pin, restored

OLD, NEW = Passphrase(b"correct horse"), Passphrase(b"battery staple")
FRIEND = Identity.generated()


class Place:
    """A repository with one backup, its identity, and what a person calls on it."""

    def __init__(self, mode: str = "passphrase") -> None:
        self.world = World(mode)
        self.standing = self.world.probe()
        self.trust = pin(self.standing)
        self.archive = backed_up(self.world.opened(self.trust)).manifest.id
        self.store = self.world.store
        self.record: RepositoryRecord = self.standing.record
        identity = self.world.restoring(self.trust).identity
        assert identity is not None
        self.identity = identity

    def opens(self, key: Passphrase | Identity) -> bool:
        """Whether this key alone restores the backup."""
        passphrase, brought = (key, None) if isinstance(key, Passphrase) else (None, key)
        try:
            repository = opening.open_for_restore(self.store, self.world.namespace, self.trust, passphrase, brought)
        except (WrongKey, KeyMissing):
            return False
        return restored(repository, self.archive) == b"archive" * 1000

    def ways(self) -> list[str]:
        return [f"{file.serial}.{file.way}" for file in access.ways(self.store, self.record)]

    def add(self, opener: Passphrase | list[str], store: MemoryStore | FaultyStore | None = None) -> KeyFile:
        return access.add(store or self.store, self.record, self.world.namespace, self.identity, opener)

    def remove(self, serial: int, way: keyfiles.Way, remaining: Passphrase | Identity) -> None:
        access.remove(self.store, self.record, self.world.namespace, keyfiles.named(self.record, serial, way), remaining)

    def rotate(
        self, old: Passphrase = OLD, new: Passphrase = NEW, store: FaultyStore | None = None, *, told: bool = True
    ) -> access.Rotated:
        writer = self.world.writer if told else None
        return access.rotate(store or self.store, self.record, self.world.namespace, old, new, writer=writer, now=NOW)


@pytest.mark.parametrize("mode", ["passphrase", "recipients"])
def test_a_way_that_was_added_opens_what_was_there_before(mode: str) -> None:
    place = Place(mode)
    before = dict(place.store.objects)
    added = [place.add(NEW), place.add([FRIEND.recipient, PERSON.recipient])]
    first = "1.scrypt" if mode == "passphrase" else "1.recipients"
    assert place.ways() == [first, "2.scrypt", "3.recipients"]
    assert [file.serial for file in added] == [2, 3]
    assert all(place.opens(key) for key in (NEW, FRIEND, PERSON))
    assert place.opens(OLD) == (mode == "passphrase")
    assert before.items() <= place.store.objects.items(), "nothing was overwritten"
    assert not place.opens(Passphrase(b"another"))


def test_a_key_file_is_what_age_takes() -> None:
    place = Place()
    key = place.add(NEW).key
    assert opened(place.store.read(key), NEW) == opened(place.store.read(key.replace("-2.", "-1.")), OLD)


def test_another_identity_adds_and_admits_nothing() -> None:
    place = Place()
    place.identity = Identity.generated()
    before = dict(place.store.objects)
    with pytest.raises(WrongKey, match="is not the repository's"):
        place.add(NEW)
    with pytest.raises(WrongKey, match="is not the repository's"):
        access.admit(place.store, place.record, place.world.namespace, place.identity, "0" * 16, NOW)
    assert place.store.objects == before


@pytest.mark.parametrize("opener", [[], ["age1nobody"], [PERSON.text]])
def test_unusable_recipients_are_refused_before_anything_is_written(opener: list[str]) -> None:
    place = Place()
    before = dict(place.store.objects)
    with pytest.raises(InvalidSpec):
        place.add(opener)
    assert place.store.objects == before


def test_more_ways_than_are_looked_at_are_not_made() -> None:
    place = Place()
    for number in range(keyfiles.MOST[SCRYPT] - 1):
        place.add(Passphrase(b"%d" % number))
    assert all(place.opens(Passphrase(b"%d" % number)) for number in range(keyfiles.MOST[SCRYPT] - 1))
    with pytest.raises(InvalidSpec, match="32 key files"):
        place.add(NEW)
    place.add([FRIEND.recipient])


def test_a_serial_that_a_listing_hides_is_not_overwritten() -> None:
    class Blind(MemoryStore):
        def list(self, prefix: str):  # type: ignore[no-untyped-def]
            return iter(())

    place = Place()
    blind = Blind(lambda: NOW)
    blind.objects = place.store.objects
    assert place.add(NEW, blind).serial == 2
    assert place.add([FRIEND.recipient], blind).serial == 1
    assert all(place.opens(key) for key in (OLD, NEW, FRIEND))


def test_no_name_is_taken_that_would_not_be_found_again() -> None:
    """As after a thief took the highest ones: a passphrase must not go into a file that nobody looks at, and the old one away."""
    place = Place()
    place.store.create(layout.key_file(place.record.recipient_digest, layout.LAST, SCRYPT), b"rubbish")
    place.store.create(layout.writer(place.world.writer.id, layout.LAST), b"rubbish")
    for change in (place.rotate, lambda: place.add(NEW)):
        with pytest.raises(StorageUnavailable, match="hold the last one"):
            change()
    assert place.opens(OLD)
    with pytest.raises(StorageUnavailable, match="hold the last one"):
        writers.renew(place.store, place.record, place.world.namespace, b"", place.world.writer.id)


def test_rubbish_around_a_later_key_file_does_not_keep_us_out() -> None:
    place = Place()
    place.rotate()
    junk = sealed_by(NEW, Identity.generated().text.encode())
    for serial in (1, *range(3, 40)):
        place.store.create(layout.key_file(place.record.recipient_digest, serial, SCRYPT), junk)
    assert place.opens(NEW)


def test_a_way_is_taken_away_once_another_is_seen_to_work() -> None:
    place = Place()
    place.add(NEW)
    place.remove(1, SCRYPT, NEW)
    assert place.ways() == ["2.scrypt"]
    assert place.opens(NEW)
    assert not place.opens(OLD)
    assert place.world.opened(place.trust).writer_admitted, "backups go on"


@pytest.mark.parametrize(
    ("serial", "way", "remaining", "error", "match"),
    [
        (1, SCRYPT, OLD, InvalidSpec, r"opens no key file but 1\.scrypt"),
        (1, SCRYPT, Passphrase(b"wrong"), WrongKey, "another one"),
        (1, SCRYPT, FRIEND, WrongKey, "sealed to other recipients"),
        (2, RECIPIENTS, PERSON, InvalidSpec, r"opens no key file but 2\.recipients"),
        (7, SCRYPT, OLD, InvalidSpec, "no key file 7.scrypt"),
    ],
)
def test_the_last_way_that_is_seen_to_work_stays(
    serial: int, way: keyfiles.Way, remaining: Passphrase | Identity, error: type[Exception], match: str
) -> None:
    place = Place()
    place.add([PERSON.recipient])
    before = dict(place.store.objects)
    with pytest.raises(error, match=match):
        place.remove(serial, way, remaining)
    assert place.store.objects == before


def test_a_key_file_that_a_thief_added_is_no_way_that_remains() -> None:
    place = Place()
    forged = layout.key_file(place.record.recipient_digest, 2, SCRYPT)
    place.store.create(forged, sealed_by(OLD, Identity.generated().text.encode()))
    with pytest.raises(InvalidSpec, match=r"opens no key file but 1\.scrypt"):
        place.remove(1, SCRYPT, OLD)


def _meanwhile(place: Place, act: Callable[[], object]) -> FaultyStore:
    """The store, in which somebody else acts just before our first deletion."""

    class Between(FaultyStore):
        def delete(self, key: str) -> None:
            if self.before is not None:
                self.before, before = None, self.before
                before()
            super().delete(key)

    return Between(place.store, 999, "", before=act)


def test_two_who_each_remove_what_the_other_counts_on_leave_a_way_in() -> None:
    place = Place()
    theirs = place.add(NEW)
    store = _meanwhile(place, lambda: place.store.delete(theirs.key))
    with pytest.raises(Busy, match=r"2\.scrypt was removed by somebody else while 1\.scrypt was"):
        access.remove(store, place.record, place.world.namespace, keyfiles.named(place.record, 1, SCRYPT), NEW)
    assert place.ways() == ["1.scrypt"]
    assert place.opens(OLD)


def test_a_rotation_whose_new_file_is_removed_meanwhile_keeps_the_old_one() -> None:
    place = Place()
    store = _meanwhile(place, lambda: place.store.delete(keyfiles.named(place.record, 2, SCRYPT).key))
    with pytest.raises(Busy, match="put back"):
        place.rotate(store=store)
    assert (place.ways(), place.opens(OLD)) == (["1.scrypt"], True)


@pytest.mark.parametrize("first", [True, False])
def test_what_else_is_in_a_persons_identity_file_reaches_no_key_file(first: bool) -> None:
    place = Place()
    theirs = Identity.generated()
    ring = Identity.parsed("\n".join([place.identity.text, theirs.text] if first else [theirs.text, place.identity.text]))
    found, proves = keyfiles.by_identity(place.store, place.record, ring)
    assert (found, proves) == (place.identity, True), "whatever the order"
    place.identity = ring
    for opener in (NEW, [FRIEND.recipient]):
        sealed = place.store.read(place.add(opener).key)
        assert theirs.text.encode() not in opened(sealed, NEW if opener is NEW else FRIEND)
    assert place.opens(NEW)
    assert place.opens(FRIEND)


def test_a_persons_identity_opens_a_key_file_wherever_it_stands_in_their_file() -> None:
    place = Place()
    place.add([FRIEND.recipient])
    ring = Identity(os.urandom(32), older=(FRIEND,))
    assert keyfiles.by_identity(place.store, place.record, ring) == (place.identity, False)
    strangers = Identity(os.urandom(32), older=(Identity.generated(),))
    with pytest.raises(WrongKey, match="sealed to other recipients"):
        keyfiles.by_identity(place.store, place.record, strangers)


def test_a_locked_key_file_is_not_said_to_be_gone() -> None:
    class Locked(MemoryStore):
        def delete(self, key: str) -> None:
            pass

    place = Place()
    place.add(NEW)
    locked = Locked(lambda: NOW)
    locked.objects = place.store.objects
    place.store = locked
    with pytest.raises(StorageUnavailable, match="still opens the repository"):
        place.remove(1, SCRYPT, NEW)


@pytest.mark.parametrize("told", [True, False])
def test_a_rotated_passphrase_is_the_only_one_and_the_probe_agrees(told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place()
    rotated = place.rotate(told=told)
    assert (rotated.added.serial, [file.serial for file in rotated.removed]) == (2, [1])
    assert place.ways() == ["2.scrypt"]
    assert (place.opens(OLD), place.opens(NEW)) == (False, True)
    with pytest.raises(WrongKey, match="another one"):
        place.world.probe(fingerprint=place.trust.fingerprint)
    changed = replace(place.world, passphrase=NEW.text)
    assert changed.probe(fingerprint=place.trust.fingerprint).writer_admitted
    editions = {key for key in place.store.objects if key.startswith(layout.writer(place.world.writer.id))}
    assert editions == {layout.writer(place.world.writer.id), layout.writer(place.world.writer.id, 2)}
    monkeypatch.setattr("iot_backup.crypto.passphrase._scrypt", lambda *_: pytest.fail("scrypt was run"))
    assert changed.probe(fingerprint=place.trust.fingerprint).writer_admitted, "the hourly probe knows the passphrase"


def test_another_clusters_old_passphrase_is_noticed_by_its_next_probe_and_its_record_told_anew() -> None:
    place = Place()
    other = replace(place.world, writer=WriterKey(os.urandom(32)))
    assert other.probe(fingerprint=place.trust.fingerprint).writer_admitted
    place.rotate()
    with pytest.raises(WrongKey, match="another one"):
        other.probe(fingerprint=place.trust.fingerprint)
    other = replace(other, passphrase=NEW.text)
    assert other.probe(fingerprint=place.trust.fingerprint).writer_admitted
    first = writers.admitted(place.store, place.record, other.namespace, other.writer.id)
    assert first is not None
    assert writers.latest(place.store, place.record, other.namespace, first).passphrase_tag == other.keys.passphrase_tag


def test_later_editions_that_somebody_added_change_nothing() -> None:
    place = Place()
    first = writers.admitted(place.store, place.record, place.world.namespace, place.world.writer.id)
    assert first is not None
    forged = writers.admission(first.model_copy(update={"passphrase_tag": "0" * 64}), SigningKey(os.urandom(32)))
    for edition, junk in ((2, b"rubbish"), (3, forged)):
        place.store.create(layout.writer(first.key_id, edition), junk)
    assert writers.latest(place.store, place.record, place.world.namespace, first) == first
    place.rotate()
    assert layout.writer(first.key_id, 4) in place.store.objects
    assert writers.latest(place.store, place.record, place.world.namespace, first).passphrase_serial == 2


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_any_step_of_a_rotation_leaves_a_way_in_and_a_repeat_ends_it(kind: str) -> None:
    for at in range(60):
        place = Place()
        faulty = FaultyStore(place.store, at, kind)
        with contextlib.suppress(StorageUnavailable, Killed):
            place.rotate(store=faulty)
        if not faulty.reached:
            break
        assert place.opens(OLD) or place.opens(NEW), (at, faulty.calls[at])
        with contextlib.suppress(WrongKey, KeyMissing):  # where the old one went already, all is done
            place.rotate()
        assert (place.opens(OLD), place.opens(NEW)) == (False, True), (at, faulty.calls[at])
        standing = replace(place.world, passphrase=NEW.text).probe(fingerprint=place.trust.fingerprint)
        assert standing.writer_admitted
    else:
        pytest.fail("a rotation makes more calls than were tried")
    assert at > 5


def test_a_rotation_begins_with_the_right_passphrase_and_another_new_one() -> None:
    place = Place()
    before = dict(place.store.objects)
    with pytest.raises(WrongKey, match="another one"):
        place.rotate(old=Passphrase(b"wrong"))
    with pytest.raises(InvalidSpec, match="the old one"):
        place.rotate(new=OLD)
    assert place.store.objects == before


def test_a_repository_without_encryption_has_no_ways_in() -> None:
    world = World("none")
    record = world.probe().record
    with pytest.raises(InvalidSpec, match="not encrypted"):
        access.ways(world.store, record)
    with pytest.raises(InvalidSpec, match="not encrypted"):
        access.add(world.store, record, world.namespace, PERSON, NEW)


def test_a_newcomer_asks_and_a_person_admits_it() -> None:
    place = Place("recipients")
    newcomer = replace(place.world, writer=WriterKey(os.urandom(32)))
    assert not newcomer.probe(fingerprint=place.trust.fingerprint).writer_admitted
    before = dict(place.store.objects)
    assert not newcomer.probe(fingerprint=place.trust.fingerprint).writer_admitted
    assert place.store.objects == before, "it asks once"
    committed = backed_up(newcomer.opened(place.trust))
    with pytest.raises(Untrusted, match="nobody admitted"):
        place.world.restoring(place.trust).find(committed.manifest.id)
    wishes = writers.applicants(place.store, place.record, place.world.namespace)
    assert [wish.key_id for wish in wishes] == [newcomer.writer.id]
    access.admit(place.store, place.record, place.world.namespace, place.identity, newcomer.writer.id, NOW)
    assert restored(place.world.restoring(place.trust), committed.manifest.id) == b"archive" * 1000
    assert newcomer.probe(fingerprint=place.trust.fingerprint).writer_admitted
    assert writers.applicants(place.store, place.record, place.world.namespace) == []
    listed = writers.listed(place.store, place.record, place.world.namespace)
    assert {record.key_id for record in listed} == {place.world.writer.id, newcomer.writer.id}


def test_an_application_admits_nobody_by_itself_and_a_forged_one_is_not_taken() -> None:
    place = Place("recipients")
    asker, thief = WriterKey(os.urandom(32)), WriterKey(os.urandom(32))
    writers.apply(place.store, place.record, place.world.namespace, Keys(asker), NOW)
    asked = place.store.read(layout.applicant(asker.id))
    place.store.create(layout.writer(asker.id), asked)
    with pytest.raises(Untrusted, match="not signed by the root"):
        writers.admitted(place.store, place.record, place.world.namespace, asker.id)
    place.store.create(layout.applicant(thief.id), asked)
    with pytest.raises(Untrusted, match="no application of that key"):
        access.admit(place.store, place.record, place.world.namespace, place.identity, thief.id, NOW)
    with pytest.raises(InvalidSpec, match="did not ask"):
        access.admit(place.store, place.record, place.world.namespace, place.identity, "0" * 16, NOW)
    with pytest.raises(Untrusted, match="no application"):
        writers.applicant(place.store, place.record, "other-team", asker.id)
    assert Purpose.APPLICANT.bound(b"x") != Purpose.WRITER.bound(b"x")


@pytest.mark.parametrize(
    "key",
    ["writers/x", "writers/0123456789abcdef.1", "writers/0123456789abcdef.02", "writers/0123456789abcdef.2.3", "writers/0123456789ABCDEF"],
)
def test_foreign_names_among_the_writers_are_passed_over(key: str) -> None:
    assert layout.writer_parts(key) is None
    assert layout.applicant_id(key) is None


def test_names_of_writers_parse_back() -> None:
    id_ = "0123456789abcdef"
    for serial in (1, layout.LAST):
        assert layout.key_file_parts(layout.key_file(id_, serial, SCRYPT)) == (id_, serial, SCRYPT)
    assert layout.key_file_parts(layout.key_file(id_, layout.LAST + 1, SCRYPT)) is None
    assert layout.writer_parts(layout.writer(id_, layout.LAST + 1)) is None
    for edition in (1, 2, 10, layout.LAST):
        assert layout.writer_parts(layout.writer(id_, edition)) == (id_, edition)
    assert layout.applicant_id(layout.applicant(id_)) == id_
    assert layout.writer_parts(layout.applicant(id_)) is None
