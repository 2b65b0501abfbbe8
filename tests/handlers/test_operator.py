"""The operator as a process: it survives faults of the API server, looks again by itself, keeps to its namespaces and rights."""

from __future__ import annotations

import dataclasses
import json
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .apiserver import Refusal

if TYPE_CHECKING:
    from .conftest import World

RIGHTS = Path(__file__).parent / "rights.json"


def test_a_fault_of_the_api_server_is_tried_again(world: World) -> None:
    world.cluster.refuse += [("patch", "backupstorages", Refusal(500, "InternalError", "etcd is away"))] * 2
    world.ready_storage()


def test_a_change_that_no_watch_told_is_found_by_the_resync(idle: World) -> None:
    idle.settings = dataclasses.replace(idle.settings, resync=timedelta(seconds=0.2))
    idle.start()
    listeners, idle.cluster._listeners[:] = list(idle.cluster._listeners), [idle.kubelet._heard]
    try:
        idle.storage()
        idle.condition("backupstorages", "s3", "Ready", "True")
    finally:
        idle.cluster._listeners.extend(entry for entry in listeners if entry != idle.kubelet._heard)


def test_only_the_namespaces_it_was_told_are_looked_at(idle: World) -> None:
    idle.settings = dataclasses.replace(idle.settings, watch_namespaces=("default",), namespace="elsewhere")
    idle.start()
    idle.cluster.create("backupstorages", {"metadata": {"name": "other", "namespace": "beyond"}, "spec": _spec()})
    idle.ready_storage()
    assert (idle.cluster.get("backupstorages", "other", "beyond") or {}).get("status") is None
    asked = [r for r in idle.cluster.log if r.resource not in {"customresourcedefinitions", "namespaces"}]
    assert {r.namespace for r in asked} == {"default"}


def test_with_roles_only_no_volume_is_asked_for(idle: World) -> None:
    idle.settings = dataclasses.replace(idle.settings, watch_namespaces=("default",))
    idle.start()
    for claim in ("store", "data"):
        spec = {"accessModes": ["ReadWriteOnce"], "volumeName": f"pv-{claim}"}
        idle.cluster.create("persistentvolumeclaims", {"metadata": {"name": claim}, "spec": spec})
    local = {"volume": {"claimName": "store"}, "encryption": {"algorithm": "None"}}
    idle.cluster.create("backupstorages", {"metadata": {"name": "s3"}, "spec": local})
    idle.condition("backupstorages", "s3", "Ready", "True")
    idle.backup_job()
    idle.backup("now")
    idle.job("now")
    assert "persistentvolumes" not in {r.resource for r in idle.cluster.log}


def _spec() -> dict[str, object]:
    return {"s3": {"bucket": "backups", "credentialsSecretRef": {"name": "x"}}, "encryption": {"algorithm": "None"}}


def test_kopf_writes_nothing_on_any_object(world: World) -> None:
    world.ready_storage()
    world.claim()
    world.backup_job(schedule="@daily")
    world.condition("backupjobs", "daily", "Ready", "True")
    for kind in ("backupstorages", "backupjobs", "jobs", "pods"):
        for body in world.cluster.list(kind):
            assert "finalizers" not in body["metadata"]
            assert not [key for key in body["metadata"].get("annotations", {}) if "kopf" in key]


@pytest.mark.last
def test_every_right_in_the_list_is_used(request: pytest.FixtureRequest) -> None:
    """The list is what tests/packaging compares with the chart's roles; each test adds what it saw and fails on what is not listed."""
    modules = {item.path.name for item in request.session.items if item.path.parent == Path(__file__).parent}
    missing = {p.name for p in Path(__file__).parent.glob("test_*.py")} - modules
    if missing or request.session.testsfailed:
        pytest.skip(f"tells only after a whole good run of tests/handlers; not run or failed: {sorted(missing)}")
    used = request.config.stash[request.config.rights_key]  # type: ignore[attr-defined]
    assert sorted(used) == [tuple(entry) for entry in json.loads(RIGHTS.read_text())]
