"""A copy that is interrupted at any step of the other store is completed by the next, and never shows a backup that is not whole."""

from __future__ import annotations

from contextlib import suppress

import pytest

from iot_backup.core import layout
from iot_backup.core.spec import Trust
from iot_backup.errors import CorruptData, IotBackupError, Untrusted
from iot_backup.repository import copying
from iot_backup.repository.opening import Repository, open_to_look
from iot_backup.storage.memory import MemoryStore
from iot_backup.storage.store import Store

from .faults import KINDS, FaultyStore, Killed
from .world import MODES, World, backed_up, pin, restored

OWN = (layout.ANNOUNCE, layout.DOOMED)
"""What stays each store's own."""


def nothing(_bytes: int) -> None:
    """Watches nothing."""


def copied(primary: Repository, trust: Trust, target: Store) -> copying.Copied:
    copying.adopt(primary, trust, target, nothing)
    return copying.copy_backups(primary, target, nothing)


def content(store: MemoryStore) -> dict[str, bytes]:
    return {key: body for key, (body, _) in store.objects.items() if not key.startswith(OWN)}


@pytest.fixture(params=MODES)
def world(request: pytest.FixtureRequest) -> World:
    return World(request.param)


@pytest.fixture
def trust(world: World) -> Trust:
    return pin(world.probe())


@pytest.fixture
def primary(world: World, trust: Trust) -> Repository:
    repository = world.opened(trust)
    for hours in range(2):
        backed_up(repository, hours=hours)
    return repository


def test_a_copy_is_the_same_repository(world: World, trust: Trust, primary: Repository) -> None:
    target = MemoryStore()
    assert [copy.manifest.seq for copy in copied(primary, trust, target).done] == [1, 2]
    assert content(target) == content(world.store)
    assert copied(primary, trust, target).done == []
    world.store = target
    for entry in world.restoring(trust).catalogue.entries():
        assert restored(world.restoring(trust), entry.member.id) == b"archive" * 1000


@pytest.mark.parametrize("kind", KINDS)
def test_an_interruption_at_any_step_is_made_good_by_the_next_copy(world: World, trust: Trust, primary: Repository, kind: str) -> None:
    step = 0
    while True:
        target = MemoryStore()
        faulty = FaultyStore(target, step, kind)
        with suppress(IotBackupError, Killed):
            copied(primary, trust, faulty)
        if layout.REPO in target.objects:
            for entry in open_to_look(target, primary.namespace, trust).catalogue.entries():
                assert entry.manifest is not None
                assert {entry.manifest.archive_key, entry.member.index} <= target.objects.keys()
        assert copied(primary, trust, target).problems == []
        assert content(target) == content(world.store)
        if not faulty.reached:
            break
        step += 1
    assert step > 10


def test_a_damaged_backup_is_left_out_and_told(world: World, trust: Trust, primary: Repository) -> None:
    first, second = primary.catalogue.entries()
    assert first.manifest is not None
    key = first.manifest.archive_key
    body, stored = world.store.objects[key]
    world.store.objects[key] = (bytes([body[0] ^ 1]) + body[1:], stored)
    target = MemoryStore()
    found = copied(primary, trust, target)
    assert [copy.manifest.id for copy in found.done] == [second.member.id]
    assert [type(problem) for problem in found.problems] == [CorruptData]
    assert not {key, first.member.manifest} & target.objects.keys()


def test_a_backup_that_retention_takes_away_meanwhile_is_no_problem(
    world: World, trust: Trust, primary: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = primary.catalogue.entries()
    assert first.manifest is not None
    taken = (first.member.manifest, first.manifest.archive_key)

    def meanwhile(*_: object) -> None:
        for key in taken:
            world.store.delete(key)

    monkeypatch.setattr(copying, "_base", meanwhile)

    target = MemoryStore()
    copying.adopt(primary, trust, target, nothing)
    found = copying.copy_backups(primary, target, nothing)
    assert [copy.manifest.id for copy in found.done] == [second.member.id]
    assert found.problems == []


def test_a_backup_that_the_primary_takes_away_before_its_manifest_is_copied_gets_none(
    world: World, trust: Trust, primary: Repository
) -> None:
    first, second = primary.catalogue.entries()
    target = MemoryStore()
    copying.adopt(primary, trust, target, nothing)

    def watch(moved: int) -> None:
        if moved == 0 and first.member.manifest not in target.objects:
            world.store.delete(first.member.manifest)

    found = copying.copy_backups(primary, target, watch)
    assert [copy.manifest.id for copy in found.done] == [second.member.id]
    assert found.problems == []
    assert first.member.manifest not in target.objects


def test_what_is_about_to_be_deleted_is_not_copied(world: World, trust: Trust, primary: Repository) -> None:
    first, second = primary.catalogue.entries()
    target = MemoryStore()
    world.store.create(first.member.doomed, b"")
    assert [copy.manifest.id for copy in copied(primary, trust, target).done] == [second.member.id]


def test_another_repository_is_refused_and_left_as_it_is(trust: Trust, primary: Repository) -> None:
    target = MemoryStore()
    target.create(layout.REPO, b"{}")
    with pytest.raises(Untrusted, match="another repository than the primary"):
        copied(primary, trust, target)
    assert target.objects.keys() == {layout.REPO}


def test_another_archive_under_the_same_name_is_neither_taken_nor_overwritten(trust: Trust, primary: Repository) -> None:
    first, second = primary.catalogue.entries()
    assert first.manifest is not None
    target = MemoryStore()
    target.create(first.manifest.archive_key, b"not ours")
    found = copied(primary, trust, target)
    assert [copy.manifest.id for copy in found.done] == [second.member.id]
    assert "nothing is overwritten" in str(found.problems[0])
    assert target.read(first.manifest.archive_key) == b"not ours"
    assert first.member.manifest not in target.objects
