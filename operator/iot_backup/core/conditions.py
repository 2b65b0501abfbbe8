"""Conditions by the rules kstatus reads (Flux, Helm, `kubectl wait`), and the smallest patch from one status to the next.

`Reconciling` and `Stalled` exist only while they are true. A transition time moves only with `status`. A run that ended badly
says Succeeded=False, Ready=False and Stalled=True, so nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Json = dict[str, Any]
Type = Literal["Ready", "Healthy", "Suspended", "Isolated", "Succeeded", "Reconciling", "Stalled"]

MESSAGE_LIMIT = 2000


@dataclass(frozen=True)
class Condition:
    """One fact about an object. `status` None is Unknown."""

    type: Type
    status: bool | None
    reason: str
    message: str = ""

    @property
    def word(self) -> str:
        return {True: "True", False: "False", None: "Unknown"}[self.status]


def merged(previous: Sequence[Mapping[str, Any]], wanted: Iterable[Condition], generation: int, now: str) -> list[Json]:
    """The list for `status.conditions`: exactly the wanted ones, each with the time its status last changed."""
    before = {str(c.get("type")): c for c in previous}
    return [_entry(before.get(c.type, {}), c, generation, now) for c in wanted]


def _entry(old: Mapping[str, Any], new: Condition, generation: int, now: str) -> Json:
    return {
        "type": new.type,
        "status": new.word,
        "reason": new.reason,
        "message": new.message if len(new.message) <= MESSAGE_LIMIT else new.message[: MESSAGE_LIMIT - 1] + "…",
        "observedGeneration": generation,
        "lastTransitionTime": old["lastTransitionTime"] if old.get("status") == new.word and "lastTransitionTime" in old else now,
    }


def find(status: Mapping[str, Any], type_: Type) -> Mapping[str, Any]:
    """The condition of that type, or an empty mapping."""
    return next((c for c in status.get("conditions") or () if c.get("type") == type_), {})


def reconciling(reason: str, message: str = "") -> Condition:
    return Condition("Reconciling", True, reason, message)


def stalled(reason: str, message: str = "") -> Condition:
    return Condition("Stalled", True, reason, message)


def difference(current: Mapping[str, Any], wanted: Mapping[str, Any]) -> Json:
    """A JSON merge patch that turns `current` into `wanted`; empty if they are equal. None in `wanted` means absent."""
    patch: Json = {}
    for key in {**current, **wanted}:
        old, new = current.get(key), wanted.get(key)
        if old == new:
            continue
        if isinstance(old, Mapping) and isinstance(new, Mapping):
            patch[key] = difference(old, new)
        else:
            patch[key] = new
    return {key: value for key, value in patch.items() if value != {} or wanted.get(key) == {}}
