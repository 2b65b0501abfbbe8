"""Events: on transitions only, Warning only where a person may have to act."""

from __future__ import annotations

from typing import Any

import pytest

from iot_backup.core import events
from iot_backup.core.events import Event

Json = dict[str, Any]


def _status(status: str, reason: str) -> Json:
    return {"conditions": [{"type": "Succeeded", "status": status, "reason": reason, "message": "m"}]}


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, _status("Unknown", "Starting"), None),
        ({}, {}, None),
        (_status("Unknown", "Starting"), _status("Unknown", "Running"), "Normal"),
        (_status("Unknown", "Running"), _status("Unknown", "Running"), None),
        (_status("Unknown", "Running"), _status("True", "Completed"), "Normal"),
        (_status("Unknown", "Running"), _status("Unknown", "StorageUnavailable"), "Warning"),
        (_status("Unknown", "StorageUnavailable"), _status("False", "StorageUnavailable"), "Warning"),
        (_status("Unknown", "Cancelling"), _status("False", "Cancelled"), "Normal"),
        (_status("Unknown", "Running"), _status("True", "InconsistentSource"), "Warning"),
        ({}, _status("Unknown", "AnotherRunActive"), "Normal"),
        ({}, _status("Unknown", "SourceMissing"), "Warning"),
    ],
)
def test_transition(before: Json, after: Json, expected: str | None) -> None:
    found = events.transition(before, after, "Succeeded")
    assert [e.type for e in found] == ([expected] if expected else [])


def test_the_object_that_is_posted() -> None:
    involved = {"apiVersion": "g/v1", "kind": "Backup", "metadata": {"name": "n", "namespace": "ns", "uid": "u", "resourceVersion": "7"}}
    made = events.body(Event("Completed", "m" * 2000), involved, "2026-05-01T10:00:00Z")
    assert made["involvedObject"] == {
        "apiVersion": "g/v1",
        "kind": "Backup",
        "name": "n",
        "namespace": "ns",
        "uid": "u",
        "resourceVersion": "7",
    }
    assert (made["type"], made["reason"], len(made["message"]), made["count"]) == ("Normal", "Completed", 1024, 1)
    assert made["metadata"]["name"].startswith("n.")
    assert made == events.body(Event("Completed", "m" * 2000), involved, "2026-05-01T10:00:00Z")
