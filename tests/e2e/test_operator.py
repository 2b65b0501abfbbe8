"""The operator as a process: quiet when nothing happens, honest to tools that read conditions, there again after its death."""

from __future__ import annotations

import json
import re
import time
from datetime import datetime

import pytest
from prometheus_client.parser import text_string_to_metric_families

from iot_backup import __version__
from tests.e2e import trees, volumes
from tests.e2e.deployment import Operator
from tests.e2e.objects import OURS, Json
from tests.e2e.platform import Platform, condition
from tests.e2e.waiting import wait_for

JOB = "sensor"
HEALTH_PORT, METRICS_PORT = 8080, 9090
QUIET_RUNS = 2
LONG_GIB = 4


@pytest.fixture(scope="module")
def ended(platform: Platform) -> dict[str, Json]:
    """A Backup and a RestoreJob that completed, and a Backup that failed."""
    volumes.filled(platform, "sensor", trees.SMALL)
    platform.apply(platform.backup_job(JOB, "sensor", schedule="30 2 * * *"))
    platform.apply(platform.backup_job("refused", "sensor", worker={"identity": "Root"}))
    platform.wait_condition("BackupJob", JOB, "Ready")
    good = platform.completed("Backup", platform.backup(JOB, "good"))
    source = {"backupRef": {"name": "good"}}
    back = platform.completed("RestoreJob", platform.restore("back", source, {"newClaim": {"name": "copy", "size": "64Mi"}}))
    bad = platform.wait_ended("Backup", platform.backup("refused", "bad"))
    # What follows an end: the Event, and what the BackupJob says.
    platform.wait_condition("BackupJob", JOB, "Healthy")
    platform.wait_condition("BackupJob", "refused", "Healthy", "False")
    for name, kind, reason in (("good", "Backup", "Completed"), ("back", "RestoreJob", "Completed"), ("bad", "Backup", "RootNotAllowed")):
        wait_for(lambda: reason in [e["reason"] for e in platform.events(name, kind)], what=f"the event of {name}'s end is there")  # noqa: B023
    return {"good": good, "back": back, "bad": bad}


def metrics(operator: Operator) -> dict[tuple[str, str], float]:
    """(sample, BackupJob) to value; of the histogram its count and sum."""
    text = operator.serves(METRICS_PORT, "metrics")
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    return {(s.name, f"{s.labels.get('namespace')}/{s.labels.get('job')}"): s.value for s in samples if "le" not in s.labels}


def versions(platform: Platform) -> dict[str, str]:
    """The resourceVersion of every object of ours in the namespace, and of what the operator keeps for them."""
    kinds = (*OURS, "CronJob")
    return {f"{kind}/{b['metadata']['name']}": b["metadata"]["resourceVersion"] for kind in kinds for b in platform.list(kind)}


def test_no_object_is_written_that_nothing_happened_to(platform: Platform, ended: dict[str, Json]) -> None:
    """While other runs come and go in the same namespace, what is idle keeps its resourceVersion."""
    platform.apply(platform.backup_job("busy", "sensor"))
    platform.wait_condition("BackupJob", "busy", "Ready")
    before = versions(platform)
    for _ in range(QUIET_RUNS):
        platform.completed("Backup", platform.backup("busy"))
    idle = {name: version for name, version in before.items() if not name.startswith("BackupJob/busy")}
    assert {name: version for name, version in versions(platform).items() if name in idle} == idle


def test_a_run_costs_a_handful_of_writes(platform: Platform, ended: dict[str, Json]) -> None:
    """One status for each transition: pending, running, completed, and never the same again."""
    name = platform.backup(JOB)
    platform.completed("Backup", name)
    writes = [f for f in platform.get("Backup", name)["metadata"]["managedFields"] if f["manager"] == "iot-backup-operator"]
    assert {f.get("subresource") for f in writes} == {"status"}

    def told() -> list[str]:
        return [e["reason"] for e in platform.events(name, "Backup")]

    wait_for(lambda: "Completed" in told(), 30, what=f"the event of {name}'s end is there")  # it is told after the status
    assert told() in (["Running", "Completed"], ["Completed"])


def test_events_tell_each_transition_once(platform: Platform, ended: dict[str, Json]) -> None:
    assert [e["reason"] for e in platform.events("bad", "Backup")] == ["RootNotAllowed"]
    for name, kind in (("good", "Backup"), ("back", "RestoreJob")):
        events = platform.events(name, kind)
        assert [e["reason"] for e in events][-1] == "Completed"
        assert len(events) <= 2
        assert {(e["type"], e["count"], e["source"]["component"]) for e in events} == {("Normal", 1, "iot-backup-operator")}


def test_every_object_speaks_the_language_of_kstatus(platform: Platform, ended: dict[str, Json]) -> None:
    """Flux, Helm and Argo CD see at once what is done, under way, or beyond help."""
    found = {f"{kind}/{b['metadata']['name']}": b for kind in OURS for b in platform.list(kind)}
    assert len(found) >= 6
    for name, body in found.items():
        status, generation = body["status"], body["metadata"]["generation"]
        assert status["observedGeneration"] == generation, name
        types = [c["type"] for c in status["conditions"]]
        assert len(types) == len(set(types)), name
        for entry in status["conditions"]:
            assert entry["observedGeneration"] == generation, name
            assert re.fullmatch(r"[A-Z][A-Za-z0-9]+", entry["reason"]), name
            assert datetime.fromisoformat(entry["lastTransitionTime"]).tzinfo, name
        # Both are abnormal: they are there only while they are true.
        assert {condition(body, t).get("status", "True") for t in ("Reconciling", "Stalled")} == {"True"}, name
        ready = condition(body, "Ready")["status"]
        assert (ready == "True") == (not condition(body, "Reconciling") and not condition(body, "Stalled")), name


def test_a_failed_run_is_stalled_not_awaited(ended: dict[str, Json]) -> None:
    bad = ended["bad"]
    words = {c["type"]: (c["status"], c["reason"]) for c in bad["status"]["conditions"]}
    reason = "RootNotAllowed"
    assert words == {"Succeeded": ("False", reason), "Ready": ("False", reason), "Stalled": ("True", reason)}


def test_metrics_have_the_five_names_with_the_values_of_the_objects(platform: Platform, operator: Operator, ended: dict[str, Json]) -> None:
    job = f"{platform.namespace}/{JOB}"
    before = metrics(operator)
    latest = platform.completed("Backup", platform.backup(JOB))["status"]
    after = wait_for(
        lambda: (now := metrics(operator))["backup_jobs_total", job] > before["backup_jobs_total", job] and now, what="the run is counted"
    )
    assert after["backup_jobs_total", job] == before["backup_jobs_total", job] + 1
    assert after["backup_jobs_failed_total", job] == before["backup_jobs_failed_total", job]
    assert after["backup_duration_seconds_count", job] == before["backup_duration_seconds_count", job] + 1
    wait_for(
        lambda: metrics(operator)["last_backup_timestamp", job] == datetime.fromisoformat(latest["completionTime"]).timestamp(),
        what="the gauges are those of the newest run",
    )
    assert metrics(operator)["backup_size_bytes", job] == latest["sizeBytes"]
    refused = f"{platform.namespace}/refused"
    assert (after["backup_jobs_total", refused], after["backup_jobs_failed_total", refused]) == (1, 1)


def test_the_build_says_its_version(operator: Operator) -> None:
    assert f'iot_backup_build_info{{version="{__version__}"}} 1.0' in operator.serves(METRICS_PORT, "metrics")


def test_the_series_of_a_backup_job_go_with_it(platform: Platform, operator: Operator) -> None:
    series = f'job="short-lived",namespace="{platform.namespace}"'
    platform.apply(platform.backup_job("short-lived", "sensor"))
    wait_for(lambda: series in operator.serves(METRICS_PORT, "metrics"), what="its counters begin at 0")
    platform.delete("BackupJob", "short-lived")
    wait_for(lambda: series not in operator.serves(METRICS_PORT, "metrics"), what="its series are gone")


def test_liveness_answers_with_the_age_of_the_last_echo(operator: Operator) -> None:
    answer = json.loads(operator.serves(HEALTH_PORT, "healthz"))
    assert 0 <= answer["heartbeat-age-seconds"] < 90


def test_a_run_survives_the_operators_death(platform: Platform, operator: Operator) -> None:
    """Killed while the worker works: the new one takes the same run up, and counts it once."""
    volumes.filled(platform, "long", trees.large(LONG_GIB))
    platform.apply(platform.backup_job("long", "long"))
    platform.wait_condition("BackupJob", "long", "Ready")
    name = platform.backup("long", "long-1")
    wait_for(lambda: platform.get("Backup", name).get("status", {}).get("phase") == "Running", 60, what="the run has begun")
    killed = time.time()
    operator.kill()
    body = platform.completed("Backup", name)
    operator.wait_ready()
    assert datetime.fromisoformat(body["status"]["completionTime"]).timestamp() >= killed - 1
    assert (body["status"]["attempts"], body["status"]["jobName"]) == (1, name)
    assert len(platform.list("Job", "backup.iot-system.io/owner-name=long")) == 1
    assert len([k for k in platform.keys("chains/long/") if k.endswith(".manifest.json")]) == 1
