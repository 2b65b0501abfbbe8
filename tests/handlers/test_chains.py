"""Backups that build on each other: which type a run takes, what it became, and what a store must still show."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from iot_backup.core.report import Failure
from iot_backup.core.spec import Floor

if TYPE_CHECKING:
    from .conftest import Json, World

WEEK = [{"name": "weekly", "schedule": "0 3 * * SUN", "type": "Full"}, {"name": "nightly", "schedule": "0 2 * * *"}]


@pytest.fixture
def ready(world: World) -> World:
    """A BackupJob of type Incremental, in place."""
    world.ready_storage()
    world.claim()
    world.backup_job(type="Incremental", schedules=WEEK)
    world.condition("backupjobs", "daily", "Ready", "True")
    return world


def _backup(world: World, name: str, job: str = "daily", *, spec: Json | None = None, **result: Any) -> Json:
    world.backup(name, job, **(spec or {}))
    return _finish(world, name, **result)


def _finish(world: World, name: str, **result: Any) -> Json:
    job = world.job(name)
    world.kubelet.run(job)
    world.kubelet.backed_up(job, **result)
    world.kubelet.job_complete(job)
    return world.condition("backups", name, "Succeeded", "True")


def _newest(world: World, job: str = "daily") -> Json:
    body = world.cluster.get("backupjobs", job)
    return ((body or {}).get("status") or {}).get("newest") or {}


def _until_noted(world: World, seq: int, job: str = "daily") -> None:
    world.until(lambda: _newest(world, job).get("seq") == seq, f"BackupJob {job} remembers {seq}")


def _floor(world: World, name: str) -> Floor | None:
    found: Floor | None = world.kubelet.order(world.job(name)).floor
    return found


def test_each_schedule_has_its_type(ready: World) -> None:
    types = {}
    for cron_job in ready.cluster.list("cronjobs"):
        template = {"spec": {"template": cron_job["spec"]["jobTemplate"]["spec"]["template"]}}
        order = ready.kubelet.order(template)
        types[order.schedule] = order.type
    assert types == {"weekly": "Full", "nightly": "Incremental"}
    body = ready.cluster.get("backupjobs", "daily")
    assert body is not None
    assert body["status"]["schedule"] == "weekly: 0 3 * * SUN (Full), nightly: 0 2 * * *"


def test_the_record_of_a_scheduled_run_says_what_its_schedule_asked_for(ready: World) -> None:
    weekly = next(c for c in ready.cluster.list("cronjobs") if c["metadata"]["name"].startswith("daily-weekly"))
    name = ready.kubelet.fire(weekly)["metadata"]["name"]
    assert ready.until(lambda: ready.cluster.get("backups", name))["spec"]["type"] == "Full"


def test_a_status_tells_what_a_run_became_not_what_was_asked_for(ready: World) -> None:
    first = _backup(ready, "first", type="Full")["status"]
    assert ready.kubelet.order(ready.job("first")).type == "Incremental"
    assert (first["type"], first["seq"], "parent" in first) == ("Full", 1, False)
    second = _backup(ready, "second", parent=first["archive"])["status"]
    assert (second["type"], second["seq"], second["parent"]) == ("Incremental", 2, first["archive"])
    wanted = {"name": "second", "phase": "Completed", "type": "Incremental"}
    ready.until(lambda: wanted.items() <= _last(ready).items(), "lastBackup")


def _last(world: World) -> Json:
    body = world.cluster.get("backupjobs", "daily")
    return ((body or {}).get("status") or {}).get("lastBackup") or {}


@pytest.mark.parametrize(
    ("asked", "type_"), [({}, "Incremental"), ({"type": "Full"}, "Full"), ({"type": "Configuration"}, "Configuration")]
)
def test_a_backup_made_by_hand_may_ask_for_another_type(ready: World, asked: Json, type_: str) -> None:
    assert _backup(ready, "now", spec=asked)["status"]["type"] == type_
    assert ready.kubelet.order(ready.job("now")).type == type_


def test_what_a_job_says_of_its_source_reaches_the_worker(ready: World) -> None:
    source = {"volume": {"claimName": "data", "include": ["/etc/"], "exclude": ["*.tmp"], "oneFileSystem": True}}
    ready.backup_job("part", source=source, maxChainLength=3)
    ready.backup("now", job="part")
    order = ready.kubelet.order(ready.job("now"))
    assert (order.include, order.exclude, order.one_file_system, order.max_chain_length) == (("/etc/",), ("*.tmp",), True, 3)


def test_a_run_is_told_what_the_store_must_still_show(ready: World) -> None:
    first = _backup(ready, "first")["status"]
    assert _floor(ready, "first") is None
    _until_noted(ready, 1)
    ready.backup("second")
    assert _floor(ready, "second") == Floor(seq=1, manifest_sha256=first["manifestSha256"])


def test_deleting_backups_does_not_lower_what_is_remembered(ready: World) -> None:
    _backup(ready, "first")
    kept = _backup(ready, "second")["status"]
    _until_noted(ready, 2)
    for name in ("first", "second"):
        ready.cluster.delete("backups", name)
    ready.backup("third")
    assert _floor(ready, "third") == Floor(seq=2, manifest_sha256=kept["manifestSha256"])


def test_jobs_that_share_a_chain_share_what_is_remembered(ready: World) -> None:
    ready.backup_job("full", chain="daily")
    _backup(ready, "base", job="full")
    _until_noted(ready, 1, "full")
    ready.backup("now")
    assert _floor(ready, "now") == Floor(seq=1, manifest_sha256=f"{1:064x}")
    ready.backup_job("apart")
    ready.backup("alone", job="apart")
    assert _floor(ready, "alone") is None


def test_a_member_that_does_not_count_yet_is_not_asked_for(ready: World) -> None:
    assert "repositoryId" not in _backup(ready, "stranger", writer_admitted=False)["status"]
    ready.backup("now")
    assert _floor(ready, "now") is None


def test_who_knows_better_may_go_on_without(ready: World) -> None:
    _backup(ready, "first")
    ready.backup("now", acceptNewest=True)
    assert _floor(ready, "now") is None


def test_a_finished_run_does_not_rewrite_its_cronjobs(ready: World) -> None:
    before = {c["metadata"]["name"]: c["metadata"]["resourceVersion"] for c in ready.cluster.list("cronjobs")}
    _backup(ready, "first")
    _backup(ready, "second")
    _until_noted(ready, 2)
    assert {c["metadata"]["name"]: c["metadata"]["resourceVersion"] for c in ready.cluster.list("cronjobs")} == before


def test_a_scheduled_run_that_was_not_shown_the_newest_backup_is_told(ready: World) -> None:
    _backup(ready, "first")
    _backup(ready, "second")
    _until_noted(ready, 2)
    nightly = next(c for c in ready.cluster.list("cronjobs") if c["metadata"]["name"].startswith("daily-nightly"))
    name = ready.kubelet.fire(nightly)["metadata"]["name"]
    later = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=1)
    times: Json = {"start_time": later, "completion_time": later, "snapshot_time": later}
    status = _finish(ready, name, seq=2, manifest_sha256="f" * 64, **times)["status"]
    assert status["warnings"] == 1
    assert status["warningMessages"][0].startswith("RolledBack: the store did not show this run backup 2 of chain daily")
    ready.until(lambda: "RolledBack" in ready.told(name), "the Event")
    again = _backup(ready, "after", seq=3, **times)["status"]
    assert again["warnings"] == 0


def test_a_run_that_refuses_an_older_store_says_so(ready: World) -> None:
    _backup(ready, "first")
    ready.backup("now")
    job = ready.job("now")
    ready.kubelet.run(job)
    ready.kubelet.fail(job, Failure(reason="RolledBack", message="backup 1 of chain daily is not there", exit_code=77))
    body = ready.condition("backups", "now", "Succeeded", "False", "RolledBack")
    assert body["status"]["failure"] == {"class": "RolledBack", "message": "backup 1 of chain daily is not there", "exitCode": 77}
