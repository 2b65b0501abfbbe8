"""What a scheduler tells of itself to Prometheus, made anew at each scrape."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from prometheus_client import CollectorRegistry, Gauge, generate_latest


def of_schedule(next_slots: Mapping[str, datetime], running: Mapping[str, Any], max_parallel: int) -> bytes:
    """Of `run`."""
    registry = CollectorRegistry()
    slots = Gauge("iot_backup_schedule_next_timestamp_seconds", "When the job is due next.", ["job"], registry=registry)
    for job, slot in next_slots.items():
        slots.labels(job).set(slot.timestamp())
    Gauge("iot_backup_schedule_running", "Runs under way.", registry=registry).set(len(running))
    Gauge("iot_backup_schedule_max_parallel", "Runs that may be under way at once.", registry=registry).set(max_parallel)
    return generate_latest(registry)


def of_verifications(next_slots: Mapping[str, datetime], running: Mapping[str, Any], last: Mapping[str, Any] | None) -> bytes:
    """Of `verify --schedule`; `last`: what `verifications.outcome` made."""
    registry = CollectorRegistry()
    slots = Gauge("iot_backup_verification_next_timestamp_seconds", "When the next verification is due.", registry=registry)
    for slot in next_slots.values():
        slots.set(slot.timestamp())
    Gauge("iot_backup_verification_running", "1 while one is under way.", registry=registry).set(len(running))
    if last is not None:
        for name, help_, value in _results(last):
            Gauge(f"iot_backup_verification_{name}", help_, registry=registry).set(value)
    return generate_latest(registry)


def _results(last: Mapping[str, Any]) -> list[tuple[str, str, float]]:
    start, end = (datetime.fromisoformat(last[name]).timestamp() for name in ("start_time", "end_time"))
    return [
        ("last_success", "1 if everything that was looked at in the last verification can be restored.", float(last["ok"])),
        ("last_timestamp_seconds", "When the last verification ended.", end),
        ("last_duration_seconds", "How long the last verification took.", end - start),
        ("backups", "Backups looked at in the last verification.", last["backups"]),
        ("failed_backups", "Backups of those that cannot be restored.", len(last["failed"])),
        ("files", "Files looked at in the last verification.", last["files"]),
        ("bytes", "Bytes looked at in the last verification.", last["bytes"]),
    ]
