"""Garbage goes only with proof: announced by us, long dead, and without a manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from typing import Any

from iot_backup.core import layout
from iot_backup.repository.sweeping import PATIENCE, Swept, swept

from .faults import FaultyStore
from .world import NOW, World, backed_up, begun, pin, restored, uploaded

DEAD = NOW + timedelta(hours=1) + PATIENCE + timedelta(seconds=1)


def test_what_a_dead_run_left_goes_a_day_after_its_deadline() -> None:
    world = World()
    trust = pin(world.probe())
    good = backed_up(world.opened(trust)).manifest.id
    before = set(world.store.objects)
    repository = world.opened(trust)
    run = begun(repository)
    run.announce()
    uploaded(repository, run)
    assert swept(repository.catalogue, world.writer.id, DEAD - timedelta(seconds=1)) == Swept((), ())
    assert set(world.store.objects) > before
    assert swept(repository.catalogue, "f" * 16, DEAD) == Swept((), ()), "others' are theirs"
    assert swept(repository.catalogue, world.writer.id, DEAD) == Swept((run.member.id,), ())
    assert set(world.store.objects) == before
    assert restored(world.restoring(trust), good)


def test_what_a_dead_run_had_not_uploaded_whole_is_abandoned_and_of_a_committed_one_nothing() -> None:
    world = World()
    trust = pin(world.probe())
    run = begun(world.opened(trust))
    run.announce()
    store = FaultyStore(world.store, 10**6, "")
    swept(world.opened(trust, store).catalogue, world.writer.id, DEAD)
    assert {call for call in store.calls if call.startswith("abandon")} == {
        f"abandon {key}" for key in (run.archive_key, run.index_key, run.state_key)
    }

    made = backed_up(world.opened(trust)).manifest
    run = begun(world.opened(trust))
    run.plan = replace(run.plan, member=made.member)
    run.announce()
    store.calls.clear()
    swept(world.opened(trust, store).catalogue, world.writer.id, DEAD)
    assert not [call for call in store.calls if call.startswith("abandon")]


def test_a_committed_backup_whose_announcement_stayed_loses_only_that() -> None:
    """Also where no listing shows its manifest."""
    world = World()
    trust = pin(world.probe())
    made = backed_up(world.opened(trust)).manifest
    run = begun(world.opened(trust))
    run.plan = replace(run.plan, member=made.member)
    run.announce()

    class Hiding(FaultyStore):
        def list(self, prefix: str) -> Iterator[Any]:
            return (info for info in self.inner.list(prefix) if info.key != made.member.manifest)

    hidden = world.opened(trust, Hiding(world.store, 10**6, ""))
    assert swept(hidden.catalogue, world.writer.id, DEAD) == Swept((), ())
    assert run.member.announcement not in world.store.objects
    assert restored(world.restoring(trust), made.id)


def test_what_nobody_claims_is_told_and_kept() -> None:
    world = World()
    trust = pin(world.probe())
    repository = world.opened(trust)
    run = begun(repository)
    uploaded(repository, run)
    strange = f"{layout.CHAINS}database/notes.txt"
    world.store.create(strange, b"")
    before = dict(world.store.objects)
    found = swept(repository.catalogue, world.writer.id, DEAD)
    assert set(found.orphaned) == {run.archive_key, run.index_key, run.state_key, strange}
    assert world.store.objects == before
