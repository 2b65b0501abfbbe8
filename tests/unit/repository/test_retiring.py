"""Backups leave in an order that no crash and no run in between can turn into a loss."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from iot_backup.core import chains, layout
from iot_backup.core.chains import Known, Wanted
from iot_backup.core.manifest import Source
from iot_backup.core.retention import Policy
from iot_backup.core.spec import BackupType, Floor, Trust
from iot_backup.crypto import passphrase
from iot_backup.crypto.signing import Purpose
from iot_backup.errors import Busy, ChainBroken, CorruptData, IotBackupError, ParentGone, StorageUnavailable
from iot_backup.repository import copying, holds, inspection, notices, reading, removals
from iot_backup.repository.commit import Base, Committed, Run
from iot_backup.repository.holds import Held
from iot_backup.repository.lineage import lineage
from iot_backup.repository.opening import Repository
from iot_backup.repository.records import HoldRecord
from iot_backup.repository.retiring import Retired, Rules, retired
from iot_backup.repository.sweeping import PATIENCE, Swept, swept
from iot_backup.storage.memory import MemoryStore
from iot_backup.storage.store import Store

from .faults import KINDS, FaultyStore, Killed
from .world import NOW, World, begun, pin, uploaded

CHAIN = "database"
LATER = NOW + timedelta(days=20)
SOURCE = Source(claim="data", job="job")


def chosen(repository: Repository, type_: BackupType, hours: int) -> Run:
    """A backup on whatever it would build on, not yet announced."""
    catalogue, record = repository.catalogue, repository.record
    writer = repository.writer
    assert writer is not None
    known = [Known(e.manifest, e.manifest_sha256) for e in catalogue.recent(CHAIN, writer.id) if e.manifest]
    wanted = Wanted(type_, SOURCE, writer.id, True, record.cipher, record.recipient, record.generation, 30)
    choice = chains.chosen(known, wanted, catalogue.doomed())
    run = begun(repository, CHAIN, hours=hours)
    base = Base(choice.base.manifest.member, choice.base.sha256) if choice.base else None
    seq = max((k.manifest.seq for k in known), default=0) + 1
    run.plan = replace(run.plan, type=choice.type, base=base, seq=seq)
    return run


def finished(repository: Repository, run: Run) -> Committed:
    try:
        outcome = uploaded(repository, run)
        return run.commit(replace(outcome, completion_time=run.member.started))
    except IotBackupError as error:
        run.abandon(error)
        raise


def made(repository: Repository, type_: BackupType, hours: int) -> Committed:
    """One backup, as the worker makes it."""
    run = chosen(repository, type_, hours)
    run.announce()
    return finished(repository, run)


@dataclass
class Site:
    """A chain of five: a Full and two on it, a Full and one on it; ten days between the two, and it is ten days later now."""

    world: World
    trust: Trust
    made: list[Committed] = field(default_factory=list)

    def opened(self, store: Store | None = None) -> Repository:
        return self.world.opened(self.trust, store)

    def retire(self, policy: Policy, store: Store | None = None, wait: Callable[[], None] = lambda: None, **more: Any) -> Retired:
        """`primary`: the site that this one is a copy of."""
        primary = more.get("primary")
        rules = Rules({"job": policy}, UTC, more.get("floors", {}), primary.opened().catalogue if primary else None)
        return retired(self.opened(store), rules, LATER, wait)

    def left(self) -> set[int]:
        return {e.manifest.seq for e in self.opened().catalogue.entries() if e.manifest}

    def check(self, completed: Iterable[Committed]) -> None:
        """Every one of them that is there restores: it and all that it builds on is whole."""
        repository = self.world.restoring(self.trust)
        here = {e.member.id: e for e in repository.catalogue.entries()}
        for each in completed:
            if (entry := here.get(each.manifest.id)) is not None:
                for member in lineage(repository.catalogue, entry).whole():
                    reading.verify(repository.store, member.archive_key, member.archive)
                    reading.verify(repository.store, member.member.index, member.index)

    def tidy(self) -> None:
        """Nothing of what is gone is left, and every gap is explained."""
        keys = set(self.world.store.objects)
        assert not [k for k in keys if k.startswith(layout.DOOMED)]
        catalogue = self.opened().catalogue
        good = [e.manifest for e in catalogue.entries() if e.manifest]
        assert inspection.gaps(good, removals.numbers(catalogue)) == {}
        ids = {m.id for m in good}
        gone = {v.id for victims in removals.listed(catalogue).values() for v in victims}
        assert not ids & gone
        assert not [k for k in keys for id_ in gone if id_ in k]


def site() -> Site:
    world = World()
    found = Site(world, pin(world.probe()))
    for days, type_ in ((0, "Full"), (1, "Incremental"), (2, "Incremental"), (10, "Full"), (11, "Incremental")):
        world.store.clock = lambda days=days: NOW + timedelta(days=days)  # type: ignore[misc]
        found.made.append(made(found.opened(), type_, 24 * days))  # type: ignore[arg-type]
    world.store.clock = lambda: LATER
    return found


def again(start: Site) -> Site:
    """The same with a store of its own."""
    world = World()
    world.writer, world.passphrase = start.world.writer, start.world.passphrase
    world.store.objects, world.store.clock = dict(start.world.store.objects), start.world.store.clock
    return Site(world, start.trust, list(start.made))


@pytest.fixture(scope="module")
def start() -> Site:
    return site()


def test_what_goes_is_gone_with_all_its_objects_and_the_rest_restores(start: Site) -> None:
    here = again(start)
    done = here.retire(Policy(days=8))
    assert [marker.victim.seq for marker in done.removed] == [3, 2, 1]
    assert here.left() == {4, 5}
    here.check(here.made)
    here.tidy()
    before = dict(here.world.store.objects)
    assert here.retire(Policy(days=8)).removed == ()
    assert here.world.store.objects == before
    assert made(here.opened(), "Incremental", 24 * 20).manifest.seq == 6


@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_any_step_is_made_good_by_the_next_call(start: Site, kind: str) -> None:
    for at in range(400):
        here = again(start)
        faulty = FaultyStore(here.world.store, at, kind)
        with suppress(IotBackupError, Killed):
            here.retire(Policy(days=8), faulty)
        if not faulty.reached:
            break
        here.check(here.made)
        assert {4, 5} <= here.left(), faulty.calls[at]
        here.retire(Policy(days=8))
        assert here.left() == {4, 5}, (at, faulty.calls[at])
        here.check(here.made)
        here.tidy()
    assert at > 40


def test_after_a_crash_what_is_needed_again_is_spared(start: Site) -> None:
    here = again(start)

    def killed() -> None:
        raise Killed

    with pytest.raises(Killed):
        here.retire(Policy(days=8), wait=killed)
    assert sum(k.startswith(layout.DOOMED) for k in here.world.store.objects) == 3
    done = here.retire(Policy(days=100))
    assert (done.removed, len(done.spared)) == ((), 3)
    assert here.left() == {1, 2, 3, 4, 5}
    here.tidy()


def held(here: Site, number: int, reason: str) -> None:
    repository, manifest = here.opened(), here.made[number - 1].manifest
    record = HoldRecord(
        repository_id=repository.record.repository_id,
        namespace=repository.namespace,
        chain=CHAIN,
        writer=here.world.writer.id,
        time=LATER,
        id=manifest.id,
        reason=reason,  # type: ignore[arg-type]
    )
    here.world.store.create(layout.hold(manifest.id, reason), notices.encoded(record, here.world.writer, Purpose.HOLD))


@pytest.mark.parametrize(
    ("reason", "number", "left"), [("pinned", 2, {1, 2, 4, 5}), ("frozen", 5, {1, 2, 3, 4, 5}), ("last-good", 3, {1, 2, 3, 4, 5})]
)
def test_a_hold_keeps_also_one_that_comes_while_retention_waits(start: Site, reason: str, number: int, left: set[int]) -> None:
    here = again(start)
    here.retire(Policy(days=8), wait=lambda: held(here, number, reason))
    assert here.left() == left
    here.tidy()


class Meanwhile(FaultyStore):
    """Does something ahead of the first call of that name."""

    def __init__(self, inner: Any, name: str, act: Callable[[], object]) -> None:
        super().__init__(inner, 10**6, "refused")
        self.name, self.act, self.acted = name, act, False

    def _call(self, name: str, act: Callable[[], Any]) -> Any:
        if not self.acted and name == self.name:
            self.acted = True
            self.act()
        return super()._call(name, act)


@pytest.mark.parametrize(("last", "words"), [("manifest", "about to take"), ("doomed", "is gone")])
def test_a_pin_is_not_said_to_hold_what_retention_takes_a_moment_later(start: Site, last: str, words: str) -> None:
    here = again(start)
    manifest = here.made[0].manifest

    def pinned() -> None:
        with pytest.raises(Busy, match=words):
            holds.confirmed(here.opened(), here.world.writer, manifest.member, Held(CHAIN, manifest.id, holds.PINNED), LATER)

    store = Meanwhile(here.world.store, f"delete {getattr(manifest.member, last)}", pinned)
    here.retire(Policy(days=8), store)
    assert store.acted
    assert here.left() == {4, 5}


def test_a_pin_that_retention_sees_in_time_holds(start: Site) -> None:
    here = again(start)
    member = here.made[0].manifest.member
    holds.confirmed(here.opened(), here.world.writer, member, Held(CHAIN, member.id, holds.PINNED), LATER)
    here.retire(Policy(days=8))
    assert here.left() == {1, 4, 5}


@pytest.mark.parametrize(
    ("reason", "number", "left"), [("pinned", 2, {1, 2, 4, 5}), ("frozen", 5, {1, 2, 3, 4, 5}), ("damaged", 2, {4, 5})]
)
def test_what_is_held_in_the_primary_stays_in_a_copy(start: Site, reason: str, number: int, left: set[int]) -> None:
    """But for damage, which is of one store's bytes."""
    primary, copy = again(start), again(start)
    held(primary, number, reason)
    done = copy.retire(Policy(days=8), primary=primary)
    assert copy.left() == left
    assert any("frozen" in problem for problem in done.problems) == (reason == "frozen")


def test_a_hold_of_the_primary_that_cannot_be_read_stops_its_copies(start: Site) -> None:
    primary, copy = again(start), again(start)
    primary.world.store.create(layout.hold("a" * 16, "pinned"), b"{}")
    with pytest.raises(IotBackupError, match="holds/"):
        copy.retire(Policy(days=8), primary=primary)
    assert copy.left() == {1, 2, 3, 4, 5}


def test_a_number_that_nobody_accounts_for_is_told(start: Site) -> None:
    here = again(start)
    here.world.store.delete(here.made[1].manifest.member.manifest)
    done = here.retire(Policy(days=8))
    assert next(problem for problem in done.problems if "Missing" in problem).startswith(f"chain {CHAIN}: Missing: number 2 is gone")
    assert {1, 3, 4, 5} == here.left()


def test_a_hold_that_cannot_be_read_stops_everything(start: Site) -> None:
    here = again(start)
    held(here, 2, "pinned")
    (key,) = (k for k in here.world.store.objects if k.startswith(layout.HOLDS))
    body, when = here.world.store.objects[key]
    here.world.store.objects[key] = (body.replace(b"pinned", b"frozen"), when)
    with pytest.raises(IotBackupError, match="signature"):
        here.retire(Policy(days=8))
    assert here.left() == {1, 2, 3, 4, 5}


def test_an_announcement_that_cannot_be_read_stops_everything(start: Site) -> None:
    here = again(start)
    here.world.store.create(f"{layout.ANNOUNCE}{'a' * 16}", b"{")
    with pytest.raises(CorruptData, match="announce"):
        here.retire(Policy(days=8))
    assert here.left() == {1, 2, 3, 4, 5}


def dying(here: Site) -> None:
    """A retention that dies when all its markers are there."""

    def killed() -> None:
        raise Killed

    with pytest.raises(Killed):
        here.retire(Policy(days=8), wait=killed)


def rot(here: Site, key: str) -> None:
    body, when = here.world.store.objects[key]
    here.world.store.objects[key] = (body[:-20], when)


@pytest.mark.parametrize(("number", "removed", "left"), [(1, [3, 2], {1, 4, 5}), (2, [3], {1, 2, 4, 5}), (3, [], {1, 2, 3, 4, 5})])
def test_a_marker_that_rotted_holds_its_backup_and_what_that_builds_on(
    start: Site, number: int, removed: list[int], left: set[int]
) -> None:
    here = again(start)
    dying(here)
    key = here.made[number - 1].manifest.member.doomed
    rot(here, key)
    for expected in (removed, []):
        done = here.retire(Policy(days=8))
        assert [marker.victim.seq for marker in done.removed] == expected
        assert any(f"{key} is there" in problem for problem in done.problems)
        assert here.left() == left
        here.check(here.made)
    here.world.store.delete(key)
    assert here.retire(Policy(days=8)).problems == ()
    assert here.left() == {4, 5}
    here.tidy()


def test_a_victim_whose_manifest_rots_stops_its_own_chain_alone_and_is_told(start: Site) -> None:
    here = again(start)
    others = []
    for seq, days in enumerate((0, 10, 11), 1):
        here.world.store.clock = lambda days=days: NOW + timedelta(days=days)  # type: ignore[misc]
        run = begun(here.opened(), "zeta", hours=24 * days)
        run.plan = replace(run.plan, seq=seq)
        run.announce()
        others.append(finished(here.opened(), run).manifest)
    here.world.store.clock = lambda: LATER
    dying(here)
    rot(here, others[0].member.manifest)
    done = here.retire(Policy(days=8))
    assert [(marker.chain, marker.victim.seq) for marker in done.removed] == [(CHAIN, 3), (CHAIN, 2), (CHAIN, 1)]
    assert any(f"chain zeta: {others[0].member.manifest}, which is marked to go, is still there" in problem for problem in done.problems)
    assert others[0].archive_key in here.world.store.objects


def test_a_clock_that_is_wrong_by_more_than_an_hour_stops_everything(start: Site) -> None:
    here = again(start)
    done = retired(here.opened(), Rules({"job": Policy(days=8)}, UTC, {}), LATER + timedelta(hours=2), lambda: None)
    assert done.problems[0].startswith("ClockSkew")
    assert here.left() == {1, 2, 3, 4, 5}


class Hiding(FaultyStore):
    """Its listings lack one key, which is there."""

    def __init__(self, inner: MemoryStore, key: str) -> None:
        super().__init__(inner, 10**6, "refused")
        self.key = key

    def list(self, prefix: str) -> Iterator[Any]:
        return (info for info in self.inner.list(prefix) if info.key != self.key)


@pytest.mark.parametrize("victim", ["manifest", "archive"])
def test_a_listing_that_hides_something_makes_what_it_may_need_stay(start: Site, victim: str) -> None:
    """Number 3 is pinned and hidden: 1 and 2, which it builds on, must stay."""
    here = again(start)
    hidden = here.made[2].manifest
    key = hidden.member.manifest if victim == "manifest" else hidden.archive_key
    here.retire(Policy(days=8), Hiding(here.world.store, key))
    assert here.left() == {1, 2, 3, 4, 5}


def test_a_copys_listing_that_hides_what_the_primary_removed_loses_no_base(start: Site) -> None:
    """Number 3 is pinned in the copy and hidden there; that the primary removed its own says nothing of the copy's."""
    primary, copy = again(start), again(start)
    primary.retire(Policy(days=8))
    assert primary.left() == {4, 5}
    held(copy, 3, "pinned")
    hiding = Hiding(copy.world.store, copy.made[2].manifest.member.manifest)
    done = copy.retire(Policy(days=8), hiding, primary=primary)
    assert "Missing: number 3" in done.problems[0]
    assert copy.left() == {1, 2, 3, 4, 5}
    copy.check(copy.made)


def test_what_the_primary_removed_before_it_was_copied_is_not_missing_in_the_copy(start: Site) -> None:
    primary, copy = again(start), again(start)
    primary.retire(Policy(days=8))
    for key in [key for key in copy.world.store.objects if copy.made[2].manifest.id in key]:
        copy.world.store.delete(key)
    done = copy.retire(Policy(days=8), primary=primary)
    assert done.problems == ()
    assert copy.left() == {4, 5}


def copied(primary: Site) -> Site:
    """An empty copy of it."""
    world = World()
    world.writer, world.passphrase, world.store = primary.world.writer, primary.world.passphrase, MemoryStore(lambda: LATER)
    copying.adopt(primary.opened(), primary.trust, world.store, lambda _: None)
    return Site(world, primary.trust, list(primary.made))


def harmed(here: Site, number: int) -> None:
    """Of the archive of that backup one bit is another."""
    key = here.made[number - 1].manifest.archive_key
    body, when = here.world.store.objects[key]
    here.world.store.objects[key] = (body[:-1] + bytes([body[-1] ^ 1]), when)


def test_what_is_damaged_in_the_primary_and_so_not_copied_is_not_missing_in_the_copy(start: Site) -> None:
    primary = again(start)
    harmed(primary, 3)  # nothing builds on it
    copy = copied(primary)
    result = copying.copy_backups(primary.opened(), copy.world.store, lambda _: None)
    assert [each.manifest.seq for each in result.done] == [1, 2, 4, 5]
    assert len(result.problems) == 1
    done = copy.retire(Policy(days=8), primary=primary)
    assert done.problems == ()
    assert copy.left() == {4, 5}


def test_what_neither_the_primary_nor_its_record_has_is_missing_in_the_copy(start: Site) -> None:
    primary, copy = again(start), again(start)
    for here in (primary, copy):
        here.world.store.delete(here.made[2].manifest.member.manifest)
    assert "Missing: number 3" in copy.retire(Policy(days=8), primary=primary).problems[0]
    assert copy.left() == {1, 2, 4, 5}


def test_a_backup_whose_base_was_gone_when_it_ended_is_neither_copied_nor_missing_in_the_copy(start: Site) -> None:
    primary = again(start)
    run = chosen(primary.opened(), "Incremental", 24 * 20)  # on number 5, and announced too late for retention to see it
    made(primary.opened(), "Full", 24 * 20)
    primary.retire(Policy(keep_last=1))
    run.plan = replace(run.plan, seq=7)
    run.announce()
    with pytest.raises(ParentGone):
        finished(primary.opened(), run)
    made(primary.opened(), "Full", 24 * 20 + 1)
    assert primary.left() == {6, 7, 8}
    copy = copied(primary)
    for _ in range(2):
        assert copying.copy_backups(primary.opened(), copy.world.store, lambda _: None).problems == []
        assert copy.retire(Policy(keep_last=1), primary=primary).problems == ()
        assert copy.left() == {8}


def interrupted(primary: Site) -> Site:
    """A copy that stopped when number 1 had an archive, and nothing else, there."""
    copy = copied(primary)

    def stopped(_: int) -> None:
        if any(key.endswith(".age") for key in copy.world.store.objects):
            raise Killed

    with pytest.raises(Killed):
        copying.copy_backups(primary.opened(), copy.world.store, stopped)
    assert copy.made[0].manifest.archive_key in copy.world.store.objects
    return copy


def chained(here: Site) -> set[str]:
    """Keys of its chains that hold the first backup's id."""
    return {key for key in here.world.store.objects if key.startswith(layout.CHAINS) and here.made[0].manifest.id in key}


def test_what_an_interrupted_copy_left_is_no_strangers_upload_and_goes_a_day_after_the_primary_removed_it(start: Site) -> None:
    primary = again(start)
    copy = interrupted(primary)
    left = chained(copy)
    assert copy.retire(Policy(days=8), primary=primary).problems == (), "the next copy completes it"
    primary.retire(Policy(days=8))
    copying.copy_backups(primary.opened(), copy.world.store, lambda _: None)
    assert copy.left() == {4, 5}
    for late, expected in ((PATIENCE, left), (PATIENCE + timedelta(seconds=1), set())):
        copy.world.store.clock = lambda late=late: LATER + late  # type: ignore[misc]
        rules = Rules({"job": Policy(days=8)}, UTC, {}, primary.opened().catalogue)
        assert retired(copy.opened(), rules, LATER + late, lambda: None).problems == ()
        assert chained(copy) == expected
    assert copy.left() == {4, 5}
    copy.check(copy.made)


@pytest.mark.parametrize("hidden", [False, True])
def test_a_backup_that_is_whole_in_the_copy_is_never_what_an_interrupted_copy_left(start: Site, hidden: bool) -> None:
    primary, copy = again(start), again(start)
    primary.retire(Policy(days=8))
    copy.world.store.clock = lambda: LATER + 2 * PATIENCE
    store = Hiding(copy.world.store, copy.made[0].manifest.member.manifest) if hidden else copy.world.store
    found = swept(copy.opened(store).catalogue, copy.world.writer.id, LATER + 2 * PATIENCE, primary.opened().catalogue)
    assert found == Swept((), ())
    assert copy.left() == {1, 2, 3, 4, 5}
    copy.check(copy.made)


def test_what_another_writer_removed_from_the_primary_is_left_to_it_in_the_copy(start: Site) -> None:
    primary = again(start)
    copy = interrupted(primary)
    primary.retire(Policy(days=8))
    left = chained(copy)
    found = swept(copy.opened().catalogue, "f" * 16, LATER + 2 * PATIENCE, primary.opened().catalogue)
    assert found == Swept((), ())
    assert chained(copy) == left


def test_in_a_copy_too_what_nobody_claims_is_told_and_kept(start: Site) -> None:
    primary, copy = again(start), again(start)
    strange = copy.made[0].manifest.archive_key.replace(copy.made[0].manifest.id, "f" * 16)
    copy.world.store.create(strange, b"")
    done = copy.retire(Policy(days=8), primary=primary)
    assert done.problems == (f"Orphaned: {strange} belongs to no backup and no run; it is kept",)
    assert strange in copy.world.store.objects


@pytest.mark.parametrize("inside", ["copy", "retention"])
def test_a_backup_copied_while_retention_takes_its_base_from_the_copy_restores_or_is_told(start: Site, inside: str) -> None:
    """Another machine copies number 3 late; retention of the copy takes 1 and 2, on which it builds, if it does not see it."""
    fates = set()
    for at in range(400):
        primary, copy = again(start), again(start)
        for key in [key for key in copy.world.store.objects if copy.made[2].manifest.id in key]:
            copy.world.store.delete(key)
        told: list[int] = []

        def copies(store: Store, primary: Site = primary, told: list[int] = told) -> None:
            result = copying.copy_backups(primary.opened(), store, lambda _: None)
            told.extend(each.manifest.seq for each in result.done)
            assert all(isinstance(each, ChainBroken) for each in result.problems)

        def retires(store: Store, primary: Site = primary, copy: Site = copy) -> None:
            copy.retire(Policy(days=8), store, primary=primary)

        outer, inner = (copies, retires) if inside == "retention" else (retires, copies)
        faulty = FaultyStore(copy.world.store, at, "", lambda inner=inner, copy=copy: inner(copy.world.store))
        with suppress(StorageUnavailable):  # retention took the manifest before it could be read back
            outer(faulty)
        if not faulty.reached:
            break
        if told:
            copy.check(copy.made)
        fates.add(bool(told))
        assert copy.left() >= {4, 5}
    assert fates == {True, False}
    assert at > 10


def test_a_chain_that_shows_less_than_is_remembered_loses_nothing(start: Site) -> None:
    here = again(start)
    done = here.retire(Policy(days=8), floors={CHAIN: Floor(seq=6, manifest_sha256="0" * 64)})
    assert "RolledBack" in done.problems[0]
    assert here.left() == {1, 2, 3, 4, 5}


@pytest.mark.parametrize("distance", [0, 1, 2, 5, 12, 40])
def test_a_backup_whose_base_becomes_superfluous_meanwhile_restores_or_does_not_count(start: Site, distance: int) -> None:
    """It chose the newest as its base; then a Full was made. It announces itself before any call of retention, and ends so many calls later."""
    fates = set()
    for at in range(400):
        here = again(start)
        run = chosen(here.opened(), "Incremental", 24 * 20)
        here.made.append(made(here.opened(), "Full", 24 * 20))
        fates_before = len(here.made)
        outer = FaultyStore(here.world.store, at, "", run.announce)

        def ends(here: Site = here, run: Run = run) -> None:
            with suppress(ParentGone):
                here.made.append(finished(here.opened(), run))

        inner = FaultyStore(outer, at + distance, "", ends)  # type: ignore[arg-type]
        here.retire(Policy(keep_last=1), inner)
        if not inner.reached:
            break
        here.check(here.made)
        # Both have the number 6: either may be the one that is kept. What is not there was removed by the rules.
        catalogue = here.opened().catalogue
        there = {e.member.id for e in catalogue.entries()} | {v.id for v in removals.listed(catalogue)[CHAIN]}
        assert {each.manifest.id for each in here.made} <= there
        fates.add(len(here.made) - fates_before)
        here.retire(Policy(keep_last=1))
        here.check(here.made)
    assert fates == {0, 1}
    assert at > 30


class Turns:
    """Whose call to the store is next: as the order says, then one after the other."""

    def __init__(self, order: list[int], actors: int) -> None:
        self.order, self.alive, self.changed = order, set(range(actors)), threading.Condition()

    def next(self) -> int:
        while self.order and self.order[0] not in self.alive:
            self.order.pop(0)
        return self.order[0] if self.order else min(self.alive)

    def take(self, actor: int, act: Callable[[], Any]) -> Any:
        with self.changed:
            assert self.changed.wait_for(lambda: self.next() == actor, timeout=30)
            if self.order:
                self.order.pop(0)
            try:
                return act()
            finally:
                self.changed.notify_all()

    def ended(self, actor: int) -> None:
        with self.changed:
            self.alive.discard(actor)
            self.changed.notify_all()


class Taking(FaultyStore):
    """One actor's store: each call waits for its turn, and at one of them the actor dies."""

    def __init__(self, inner: Any, turns: Turns, actor: int, dies_at: int) -> None:
        super().__init__(inner, dies_at, "killed after")
        self.turns, self.actor = turns, actor

    def _call(self, name: str, act: Callable[[], Any]) -> Any:
        return self.turns.take(self.actor, lambda: super(Taking, self)._call(name, act))

    def list(self, prefix: str) -> Iterator[Any]:
        return iter(self._call(f"list {prefix}", lambda: list(self.inner.list(prefix))))


@settings(max_examples=150, deadline=None)
@given(
    blocks=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 40)), max_size=20),
    deaths=st.tuples(*[st.one_of(st.just(10**6), st.integers(0, 60))] * 3),
    first=st.sampled_from(["Incremental", "Differential"]),
)
def test_whatever_runs_between_two_calls_every_completed_backup_restores(
    start: Site, blocks: list[tuple[int, int]], deaths: tuple[int, ...], first: BackupType
) -> None:
    """A backup on the newest, a Full that makes all before it superfluous, and retention that keeps one: any interleaving, any deaths."""
    here = again(start)
    turns = Turns([actor for actor, calls in blocks for _ in range(calls)], 3)
    completed: list[Committed] = []
    problems: list[BaseException] = []

    def act(actor: int, store: Store) -> None:
        try:
            if actor == 2:
                here.retire(Policy(keep_last=1), store)
            else:
                completed.append(made(here.opened(store), (first, "Full")[actor], 24 * 20))
        except (IotBackupError, Killed):
            pass
        except BaseException as error:  # noqa: BLE001 - told below, in the test's own thread
            problems.append(error)
        finally:
            turns.ended(actor)

    threads = [threading.Thread(target=act, args=(n, Taking(here.world.store, turns, n, deaths[n]))) for n in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
    ids = {e.member.id for e in here.opened().catalogue.entries()}
    assert all(each.manifest.id in ids for each in completed if each.manifest.seq >= 7), "the newest stays"
    here.check([*here.made, *completed])
    here.retire(Policy(keep_last=1))
    here.check([*here.made, *completed])
    assert here.left()


@pytest.fixture(autouse=True, scope="module")
def _cheap_scrypt_for_the_module() -> Iterator[None]:
    import hashlib

    patch = pytest.MonkeyPatch()
    patch.setattr(passphrase, "_scrypt", lambda text, salt, log_n: hashlib.sha256(text + b"\0" + salt + bytes([log_n])).digest())
    yield
    patch.undo()
