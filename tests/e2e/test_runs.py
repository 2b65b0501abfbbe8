"""Runs that a person starts, stops, repeats or crosses with one another."""

from __future__ import annotations

import pytest

from tests.e2e import trees, volumes
from tests.e2e.apiserver import ApiServer, Refused
from tests.e2e.objects import Json
from tests.e2e.platform import Platform, condition
from tests.e2e.waiting import wait_for

ENDLESS_GIB, LONG_GIB = 2000, 4
"""Zeros: the first is never read to its end here, the second keeps a worker busy for some seconds."""


@pytest.fixture(scope="module")
def small(platform: Platform) -> str:
    """The BackupJob of a claim with one file."""
    volumes.filled(platform, "small", trees.SMALL)
    platform.apply(platform.backup_job("small", "small"))
    platform.wait_condition("BackupJob", "small", "Ready")
    return "small"


@pytest.fixture(scope="module")
def endless(platform: Platform) -> str:
    """A BackupJob whose runs do not end by themselves."""
    volumes.filled(platform, "endless", trees.large(ENDLESS_GIB))
    platform.apply(platform.backup_job("endless", "endless"))
    platform.wait_condition("BackupJob", "endless", "Ready")
    return "endless"


@pytest.fixture(scope="module")
def by_hand(platform: Platform, small: str) -> Json:
    """A completed Backup of it that a person made."""
    return platform.completed("Backup", platform.backup(small, "before-upgrade"))


def running(platform: Platform, kind: str, name: str) -> Json:
    """The object, once its worker works."""
    wait_for(lambda: platform.get(kind, name).get("status", {}).get("phase") == "Running", 60, what=f"{name} is running")
    return platform.get(kind, name)


def worker_reads(platform: Platform, name: str) -> None:
    """Return once the run has announced itself in the store: it is past its beginning."""
    running(platform, "Backup", name)
    wait_for(lambda: platform.keys("announce/"), 60, what=f"{name} is announced in the store")


def test_a_backup_made_by_hand_runs_once_under_its_own_name(platform: Platform, by_hand: Json) -> None:
    name, status = "before-upgrade", by_hand["status"]
    assert (status["origin"], status["jobName"], status["attempts"]) == ("Manual", name, 1)
    (owner,) = platform.get("Job", name)["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["name"], owner["controller"]) == ("Backup", name, True)


def test_only_the_operator_makes_a_backup_with_a_run(platform: Platform, small: str, api: ApiServer) -> None:
    """So a dump of objects, applied again, is refused instead of running: nothing starts."""
    recorded = {"jobRef": {"name": small}, "run": {"jobName": "small-1", "jobUID": "0c3b"}}
    body = {"apiVersion": "backup.iot-system.io/v1alpha1", "kind": "Backup", "spec": recorded}
    with pytest.raises(Refused, match=r"spec\.run is set by the operator alone"):
        api.create({**body, "metadata": {"name": "small-1", "namespace": platform.namespace}})


def test_a_completed_backup_applied_again_runs_nothing(platform: Platform, small: str, by_hand: Json) -> None:
    """Applying a manifest that is there already changes nothing."""
    name = by_hand["metadata"]["name"]
    platform.apply({"kind": "Backup", "metadata": {"name": name}, "spec": {"jobRef": {"name": small}}})
    platform.completed("Backup", platform.backup(small))  # the operator has seen the change by now: it came before
    assert platform.get("Backup", name)["status"] == by_hand["status"]
    assert len([j for j in platform.list("Job") if j["metadata"]["name"].startswith(name)]) == 1


def test_a_cancelled_backup_stops_and_publishes_nothing(platform: Platform, endless: str) -> None:
    name = platform.backup(endless)
    worker_reads(platform, name)
    platform.patch("Backup", name, {"spec": {"cancel": True}})
    body = platform.wait_ended("Backup", name, 60)
    assert (body["status"]["phase"], condition(body, "Succeeded")["reason"]) == ("Cancelled", "Cancelled")
    assert condition(body, "Succeeded")["status"] == "False"
    assert "archive" not in body["status"]
    assert platform.keys(f"chains/{endless}/") == []
    assert platform.keys("announce/") == []


def test_a_cancelled_run_is_no_failure(platform: Platform, endless: str) -> None:
    """It does not make its BackupJob unhealthy."""
    name = platform.backup(endless)
    platform.patch("Backup", name, {"spec": {"cancel": True}})
    platform.wait_ended("Backup", name, 60)
    wait_for(
        lambda: platform.get("BackupJob", endless)["status"].get("lastBackup", {}).get("name") == name, what="the BackupJob tells of it"
    )
    body = platform.get("BackupJob", endless)
    assert body["status"]["consecutiveFailures"] == 0
    assert condition(body, "Healthy")["reason"] == "NoRuns"


def test_a_cancelled_run_cannot_be_taken_up_again(platform: Platform, endless: str) -> None:
    name = platform.backup(endless)
    platform.patch("Backup", name, {"spec": {"cancel": True}})
    with pytest.raises(Exception, match="cancel"):
        platform.patch("Backup", name, {"spec": {"cancel": False}})
    platform.wait_ended("Backup", name, 60)


@pytest.fixture(scope="module")
def long_backup(platform: Platform) -> Json:
    """A Backup that takes a while to read and to restore; and the one that was asked for while it ran."""
    volumes.filled(platform, "long", trees.large(LONG_GIB))
    platform.apply(platform.backup_job("long", "long"))
    platform.wait_condition("BackupJob", "long", "Ready")
    first = platform.backup("long", "long-first")
    worker_reads(platform, first)
    second = platform.backup("long", "long-second")
    held = platform.wait_condition("Backup", second, "Succeeded", "Unknown", reason="AnotherRunActive")
    return {"held": held, "first": platform.completed("Backup", first), "second": platform.completed("Backup", second)}


def test_with_forbid_the_second_of_two_runs_waits_for_the_first(platform: Platform, long_backup: Json) -> None:
    """It says for whom, has no Job meanwhile, and then runs by itself."""
    held = condition(long_backup["held"], "Succeeded")
    assert held["message"] == "waiting for long-first to end (concurrencyPolicy: Forbid)"
    assert "jobName" not in long_backup["held"]["status"]
    assert long_backup["second"]["status"]["startTime"] >= long_backup["first"]["status"]["completionTime"]


def test_each_of_two_runs_has_an_archive_of_its_own(platform: Platform, long_backup: Json) -> None:
    assert long_backup["first"]["status"]["archive"] != long_backup["second"]["status"]["archive"]
    assert len([k for k in platform.keys("chains/long/") if k.endswith(".manifest.json")]) == 2


def test_a_cancelled_restore_stops(platform: Platform, long_backup: Json) -> None:
    name = platform.restore("cancelled", {"backupRef": {"name": "long-first"}}, {"newClaim": {"name": "partly", "size": "64Mi"}})
    running(platform, "RestoreJob", name)
    platform.patch("RestoreJob", name, {"spec": {"cancel": True}})
    body = platform.wait_ended("RestoreJob", name, 60)
    assert (body["status"]["phase"], condition(body, "Succeeded")["reason"]) == ("Cancelled", "Cancelled")
    jobs = platform.list("Pod", "backup.iot-system.io/operation=restore")
    assert [p for p in jobs if p["status"]["phase"] == "Running"] == []


def test_two_restores_into_one_claim_take_turns(platform: Platform, small: str, by_hand: Json) -> None:
    source = {"backupJobRef": {"name": small}, "latest": True}
    names = [platform.restore(f"turn-{n}", source, "small") for n in (1, 2)]
    first, second = (platform.completed("RestoreJob", name) for name in names)
    spans = sorted((b["status"]["startTime"], b["status"]["completionTime"]) for b in (first, second))
    assert spans[1][0] >= spans[0][1]
