"""Events: what happened to an object, for `kubectl describe`. On transitions only, so the same state is told once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from iot_backup import vocabulary
from iot_backup.core import naming
from iot_backup.core.conditions import Json, Type, find

if TYPE_CHECKING:
    from collections.abc import Mapping

MESSAGE_LIMIT = 1024
"""The API server refuses longer ones."""
_QUIET = frozenset({"Starting", "Probing", "Accepted"})
"""Unknown for a moment at the beginning: nothing to tell."""
_CALM = frozenset({"Running", "Cancelling", "AnotherRunActive"})
"""Unknown, and nobody has to act."""


@dataclass(frozen=True)
class Event:
    """A specific reason, and the fact in a sentence. Warning only where a person may have to act."""

    reason: str
    message: str
    type: Literal["Normal", "Warning"] = "Normal"


def transition(before: Mapping[str, Any], after: Mapping[str, Any], about: Type) -> list[Event]:
    """What to tell about the step from one status to the next, by its leading condition."""
    old, new = find(before, about), find(after, about)
    if not new or (old.get("status"), old.get("reason")) == (new["status"], new["reason"]):
        return []
    reason, status = new["reason"], new["status"]
    if status == "Unknown" and reason in _QUIET:
        return []
    calm = status == "True" or (status == "Unknown" and reason in _CALM) or reason == "Cancelled"
    advice = status == "True" and reason in {"InconsistentSource", "PartialBackup"}
    return [Event(reason, new.get("message") or reason, "Normal" if calm and not advice else "Warning")]


def body(event: Event, involved: Mapping[str, Any], now: str) -> Json:
    """The Event object, for POST. `involved` is the whole object; `now` RFC 3339. Its name is the same for the same telling."""
    metadata = involved["metadata"]
    suffix = naming.digest(metadata.get("uid", ""), event.reason, event.message, now, length=16)
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name'][:230]}.{suffix}", "namespace": metadata["namespace"]},
        "involvedObject": {
            "apiVersion": involved.get("apiVersion", vocabulary.API_VERSION),
            "kind": involved["kind"],
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata.get("uid"),
            "resourceVersion": metadata.get("resourceVersion"),
        },
        "reason": event.reason,
        "message": event.message if len(event.message) <= MESSAGE_LIMIT else event.message[: MESSAGE_LIMIT - 1] + "…",
        "type": event.type,
        "count": 1,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "source": {"component": vocabulary.OPERATOR},
        "reportingComponent": vocabulary.OPERATOR,
        "reportingInstance": vocabulary.OPERATOR,
        "action": event.reason,
    }
