"""A backup exists wholly or not at all; a committed one restores; nothing that may be committed is deleted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from iot_backup.core import layout
from iot_backup.errors import (
    AccessDenied,
    Cancelled,
    CorruptData,
    Internal,
    IotBackupError,
    NotFound,
    ParentGone,
    StorageUnavailable,
    TookTooLong,
)
from iot_backup.repository.commit import Base, Run
from iot_backup.repository.opening import Repository
from iot_backup.storage.memory import MemoryStore

from .faults import KINDS, FaultyStore, Killed
from .world import MODES, NOW, World, backed_up, begun, pin, restored, uploaded

CONTENT = b"newer content" * 2000
POINTS = 60


def repository_of(world: World) -> Repository:
    return world.opened(pin(world.probe()))


@pytest.mark.parametrize("mode", MODES)
def test_a_backup_leaves_archive_index_state_and_manifest_and_no_announcement(mode: str) -> None:
    world = World(mode)
    repository = repository_of(world)
    before = set(world.store.objects)
    run = begun(repository)
    run.announce()
    announcement = json.loads(world.store.read(run.member.announcement))
    assert announcement["deadline"] == "2026-11-23T13:00:00Z"
    assert announcement["objects"] == [run.state_key, run.index_key, run.archive_key]
    committed = run.commit(uploaded(repository, run))
    assert set(world.store.objects) - before == {run.archive_key, run.index_key, run.state_key, run.member.manifest}
    assert committed.manifest_sha256 == hashlib.sha256(world.store.read(run.member.manifest)).hexdigest()
    assert committed.manifest.seq == 1
    assert committed.warnings == ()
    assert run.commit_sent


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", KINDS)
def test_a_fault_at_any_step_loses_no_backup_and_leaves_none_half(mode: str, kind: str) -> None:
    world = World(mode)
    trust = pin(world.probe())
    first = backed_up(world.opened(trust)).manifest.id
    objects = dict(world.store.objects)
    for at in range(POINTS):
        world.store.objects = dict(objects)
        faulty = FaultyStore(world.store, at, kind)
        committed = failure = None
        try:
            committed = backed_up(world.opened(trust, faulty), hours=1, content=CONTENT)
        except (IotBackupError, Killed) as error:
            failure = error
        if not faulty.reached:
            break
        what = (at, faulty.calls[at], failure)
        manifests = [m for m in map(layout.member_of_manifest, world.store.objects) if m and m.id != first]
        readers = world.restoring(trust)
        if committed:
            assert [m.id for m in manifests] == [committed.manifest.id], what
        for member in manifests:
            assert restored(readers, member.id) == CONTENT, what
        if not manifests and not isinstance(failure, Killed):
            left = {k for k in world.store.objects if k.startswith(layout.CHAINS)} - set(objects)
            assert not left or any(k.startswith(layout.ANNOUNCE) for k in world.store.objects), what
        assert restored(readers, first) == b"archive" * 1000, what
        again = backed_up(world.opened(trust), hours=2)
        assert again.manifest.seq == 2 + len(manifests), what
    else:
        pytest.fail("a backup makes more calls than were tried")
    assert at > 8


class Delayed(MemoryStore):
    """The manifest's PUT is not answered, and lands only later."""

    late: tuple[str, bytes] | None = None

    def create(self, key: str, body: bytes) -> None:
        if key.endswith(".manifest.json") and self.late is None:
            self.late = (key, body)
            raise StorageUnavailable("no answer")
        super().create(key, body)


def test_a_manifest_that_lands_after_the_run_gave_up_restores() -> None:
    store = Delayed(lambda: NOW)
    world = World(store=store)
    trust = pin(world.probe())
    with pytest.raises(StorageUnavailable):
        backed_up(world.opened(trust), content=CONTENT)
    assert store.late is not None
    store.create(*store.late)
    assert restored(world.restoring(trust), store.late[0][-30:-14]) == CONTENT


def test_after_an_unknown_commit_nothing_is_deleted() -> None:
    class Silent(MemoryStore):
        def create(self, key: str, body: bytes) -> None:
            if key.endswith(".manifest.json"):
                self.read = self._silent  # type: ignore[method-assign]
                raise StorageUnavailable("no answer")
            super().create(key, body)

        def _silent(self, key: str, *, limit: int = 0) -> bytes:
            raise StorageUnavailable("no answer either")

    world = World(store=Silent())
    repository = repository_of(world)
    run = begun(repository)
    run.announce()
    outcome = uploaded(repository, run)
    before = dict(world.store.objects)
    with pytest.raises(StorageUnavailable, match="nobody can tell"):
        run.commit(outcome)
    run.abandon(Cancelled("stop"))
    assert world.store.objects == before
    assert run.member.announcement in before


def test_a_manifest_of_other_bytes_under_our_name_is_a_failure_not_a_success() -> None:
    world = World()
    repository = repository_of(world)
    run = begun(repository)
    run.announce()
    outcome = uploaded(repository, run)
    world.store.create(run.member.manifest, b"somebody else's")
    with pytest.raises(CorruptData, match="not committed"):
        run.commit(outcome)
    assert world.store.read(run.archive_key)


def test_a_refused_manifest_says_why() -> None:
    class ReadOnly(MemoryStore):
        def create(self, key: str, body: bytes) -> None:
            if key.endswith(".manifest.json"):
                raise AccessDenied("these credentials may not write manifests")
            super().create(key, body)

    world = World(store=ReadOnly())
    with pytest.raises(AccessDenied, match="may not write"):
        backed_up(repository_of(world))


def test_nothing_is_committed_after_the_deadline() -> None:
    world = World()
    repository = repository_of(world)
    time = [0.0]
    run = begun(repository, clock=lambda: time[0])
    run.announce()
    outcome = uploaded(repository, run)
    time[0] = 100.0
    with pytest.raises(TookTooLong, match="timeout"):
        run.commit(outcome)
    assert not run.commit_sent
    assert run.member.manifest not in world.store.objects


def test_the_flag_is_up_before_the_commit_leaves() -> None:
    seen = []

    class Watching(MemoryStore):
        def create(self, key: str, body: bytes) -> None:
            if runs:
                seen.append((key.rpartition("/")[2].partition("-")[2][16:], runs[0].commit_sent))
            super().create(key, body)

    runs: list[Run] = []
    world = World(store=Watching())
    repository = repository_of(world)
    run = begun(repository)
    runs.append(run)
    run.announce()
    run.commit(uploaded(repository, run))
    assert seen == [("", False), (".full.tar.zst.age", False), (".index", False), (".state", False), (".manifest.json", True)]
    with pytest.raises(Internal, match="twice"):
        run.commit(uploaded(repository, replace_plan(run)))


def replace_plan(run: Run) -> Run:
    """The same run under another id, to upload for it once more."""
    return Run(run.store, run.namespace, run.record, run.writer, replace(run.plan, member=replace(run.member, id="f" * 16)))


def damaged(world: World, run: Run, victim: str, damage: str) -> None:
    key = {"archive": run.archive_key, "index": run.index_key, "state": run.state_key}[victim]
    body, when = world.store.objects.pop(key)
    if damage == "shorter":
        world.store.objects[key] = (body[:-1], when)


@pytest.mark.parametrize("victim", ["archive", "index", "state"])
@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_an_upload_that_the_store_has_not_is_not_committed(victim: str, damage: str) -> None:
    """A store may say that it took an object, and not have it: a manifest upon that would be a backup that nobody can restore."""
    world = World()
    run = begun(repository_of(world))
    run.announce()
    outcome = uploaded(repository_of(world), run)
    damaged(world, run, victim, damage)
    with pytest.raises(
        StorageUnavailable, match=r"(is gone|not the \d+ that were uploaded), and the store said that it has it: nothing was"
    ):
        run.commit(outcome)
    assert not run.commit_sent
    assert run.member.manifest not in world.store.objects
    assert run.member.announcement in world.store.objects


@pytest.mark.parametrize("victim", ["archive", "index", "state"])
@pytest.mark.parametrize("damage", ["gone", "shorter"])
def test_an_upload_that_goes_while_it_is_committed_is_noticed(monkeypatch: pytest.MonkeyPatch, victim: str, damage: str) -> None:
    world = World()
    repository = repository_of(world)
    run = begun(repository)
    run.announce()
    outcome = uploaded(repository, run)
    create = world.store.create

    def meanwhile(key: str, body: bytes) -> None:
        if key == run.member.manifest:
            damaged(world, run, victim, damage)
        create(key, body)

    monkeypatch.setattr(world.store, "create", meanwhile)
    with pytest.raises(CorruptData, match=r"is gone|not the \d+ that were uploaded"):
        run.commit(outcome)
    assert run.member.announcement in world.store.objects


def incremental(world: World, repository: Repository) -> tuple[Run, Base]:
    base = backed_up(repository)
    on = Base(base.manifest.member, base.manifest_sha256)
    run = begun(repository, hours=1)
    run.plan = replace(run.plan, type="Incremental", base=on)
    run.announce()
    return run, on


def test_a_backup_on_a_standing_base_names_it() -> None:
    world = World()
    repository = repository_of(world)
    run, base = incremental(world, repository)
    assert json.loads(world.store.read(run.member.announcement))["parent"] == base.member.id
    parent = run.commit(uploaded(repository, run)).manifest.parent
    assert parent is not None
    assert (parent.id, parent.manifest_sha256) == (base.member.id, base.manifest_sha256)


@pytest.mark.parametrize("fate", ["deleted", "doomed", "replaced", "we are doomed"])
def test_a_base_that_goes_meanwhile_makes_the_run_fail(fate: str) -> None:
    world = World()
    repository = repository_of(world)
    run, base = incremental(world, repository)
    outcome = uploaded(repository, run)
    if fate == "deleted":
        world.store.delete(base.member.manifest)
    elif fate == "doomed":
        world.store.create(base.member.doomed, b"")
    elif fate == "replaced":
        world.store.objects[base.member.manifest] = (b"{}", NOW)
    else:
        world.store.create(run.member.doomed, b"")
    with pytest.raises(ParentGone, match="Full"):
        run.commit(outcome)
    assert run.member.announcement in world.store.objects


def test_abandoning_removes_what_was_uploaded_and_then_the_announcement() -> None:
    world = World()
    repository = repository_of(world)
    before = dict(world.store.objects)
    run = begun(repository)
    run.announce()
    uploaded(repository, run)
    run.abandon(Cancelled("stop"))
    assert world.store.objects == before


def test_abandoning_after_an_unclear_upload_keeps_the_announcement() -> None:
    world = World()
    repository = repository_of(world)
    run = begun(repository)
    run.announce()
    uploaded(repository, run)
    run.abandon(StorageUnavailable("the upload's end was not answered: it may appear later"))
    assert run.archive_key not in world.store.objects
    assert run.member.announcement in world.store.objects


def test_abandoning_without_the_right_to_delete_keeps_the_announcement() -> None:
    class NoDelete(MemoryStore):
        def delete(self, key: str) -> None:
            raise AccessDenied(key)

    world = World(store=NoDelete())
    repository = repository_of(world)
    run = begun(repository)
    run.announce()
    uploaded(repository, run)
    run.abandon(Cancelled("stop"))
    assert run.member.announcement in world.store.objects


def test_an_announcement_that_cannot_be_removed_is_a_warning() -> None:
    class NoDelete(MemoryStore):
        def delete(self, key: str) -> None:
            raise AccessDenied(key)

    committed = backed_up(repository_of(World(store=NoDelete())))
    assert [w.reason for w in committed.warnings] == ["AnnouncementLeft"]


def test_a_taken_announcement_stops_the_run_before_it_uploads() -> None:
    world = World()
    run = begun(repository_of(world))
    world.store.create(run.member.announcement, b"another's")
    with pytest.raises(StorageUnavailable, match="nothing was uploaded"):
        run.announce()


def test_two_runs_at_once_both_end_well() -> None:
    world = World()
    repository = repository_of(world)
    runs = [begun(repository), begun(repository)]
    for run in runs:
        run.announce()
    outcomes = [uploaded(repository, run, CONTENT) for run in runs]
    for run, outcome in zip(runs, outcomes, strict=True):
        run.commit(outcome)
    assert runs[0].member.id != runs[1].member.id
    for run in runs:
        assert restored(world.restoring(pin(world.probe())), run.member.id) == CONTENT
    assert begun(repository).plan.seq == 2


def test_the_manifest_says_what_was_uploaded_and_how_to_read_it() -> None:
    world = World()
    repository = repository_of(world)
    manifest = backed_up(repository).manifest
    assert world.store.head(manifest.archive_key).size == manifest.archive.size
    assert manifest.writer == world.writer.id
    assert manifest.recipient == repository.record.recipient
    assert f"keys/{repository.record.recipient_digest}-N.scrypt" in manifest.restore
    assert manifest.start_time == NOW


def test_started_goes_into_names_and_manifest_alike() -> None:
    world = World()
    repository = repository_of(world)
    run = repository.begin(
        "c",
        started=NOW + timedelta(microseconds=999_999),
        deadline=begun(repository).plan.deadline,
        tool="t",
        source=begun(repository).plan.source,
        rng=bytes,
    )
    run.announce()
    assert run.commit(uploaded(repository, run)).manifest.member == run.member
    with pytest.raises(NotFound):
        world.store.read("chains/c/nothing")
