"""Metrics: counters move on transitions that were seen, gauges come from the objects, series go with their BackupJob."""

from __future__ import annotations

import urllib.request
from typing import TYPE_CHECKING

import pytest
from prometheus_client.parser import text_string_to_metric_families

from iot_backup.core.report import Failure

if TYPE_CHECKING:
    from .conftest import World

DAILY = {"namespace": "default", "job": "daily"}


@pytest.fixture
def measured(idle: World, unused_port: int) -> World:
    idle.measure(unused_port)
    idle.start()
    idle.ready_storage()
    idle.claim()
    idle.backup_job()
    idle.condition("backupjobs", "daily", "Ready", "True")
    return idle


def _value(world: World, name: str, labels: dict[str, str]) -> float | None:
    with urllib.request.urlopen(f"http://127.0.0.1:{world.settings.metrics_port}/metrics", timeout=5) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    samples = [s for f in families for s in f.samples if s.name == name and labels.items() <= s.labels.items()]
    return samples[0].value if samples else None


def _run(world: World, name: str, *, good: bool) -> None:
    world.backup(name)
    job = world.job(name)
    world.kubelet.run(job)
    if good:
        world.kubelet.backed_up(job)
    else:
        world.kubelet.fail(job, Failure(reason="AccessDenied", message="no", exit_code=77))
        world.kubelet.job_failed(job)
    world.condition("backups", name, "Succeeded", "True" if good else "False")


def test_runs_are_counted_once_and_measured(measured: World) -> None:
    assert _value(measured, "backup_jobs_total", DAILY) == 0
    _run(measured, "good", good=True)
    _run(measured, "bad", good=False)
    measured.until(lambda: _value(measured, "backup_jobs_total", DAILY) == 2)
    measured.until(lambda: _value(measured, "backup_jobs_failed_total", DAILY) == 1)
    assert _value(measured, "backup_duration_seconds_count", DAILY) == 1
    measured.until(lambda: _value(measured, "backup_size_bytes", DAILY) == 1 << 20)
    assert (_value(measured, "last_backup_timestamp", DAILY) or 0) > 1.7e9
    assert _value(measured, "iot_backup_build_info", {}) == 1
    for name in ("good", "bad"):
        measured.touch("backups", name)
    _run(measured, "last", good=True)
    measured.until(lambda: _value(measured, "backup_jobs_total", DAILY) == 3)


def test_a_restarted_operator_counts_no_old_run_but_knows_the_last_backup(measured: World, unused_port: int) -> None:
    _run(measured, "good", good=True)
    measured.stop()
    measured.start()
    measured.until(lambda: _value(measured, "backup_size_bytes", DAILY) == 1 << 20)
    assert _value(measured, "backup_jobs_total", DAILY) == 0


def test_series_go_with_their_backupjob(measured: World) -> None:
    _run(measured, "good", good=True)
    measured.until(lambda: _value(measured, "backup_size_bytes", DAILY))
    measured.cluster.delete("backupjobs", "daily")
    measured.until(lambda: _value(measured, "backup_jobs_total", DAILY) is None)
    measured.until(lambda: _value(measured, "backup_size_bytes", DAILY) is None)
