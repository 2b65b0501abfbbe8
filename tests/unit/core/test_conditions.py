"""Conditions and patches: times move only with a status, patches carry only a difference."""

from __future__ import annotations

from typing import Any

import pytest

from iot_backup.core.conditions import MESSAGE_LIMIT, Condition, difference, find, merged, reconciling, stalled

Json = dict[str, Any]


def test_the_transition_time_moves_only_with_the_status() -> None:
    first = merged([], [Condition("Ready", None, "Probing")], 1, "t1")
    second = merged(first, [Condition("Ready", None, "Unschedulable", "no node")], 2, "t2")
    third = merged(second, [Condition("Ready", True, "Ready")], 2, "t3")
    assert [c[0]["lastTransitionTime"] for c in (first, second, third)] == ["t1", "t1", "t3"]
    assert second[0] == {
        "type": "Ready",
        "status": "Unknown",
        "reason": "Unschedulable",
        "message": "no node",
        "observedGeneration": 2,
        "lastTransitionTime": "t1",
    }


def test_reconciling_and_stalled_go_when_nobody_wants_them() -> None:
    before = merged([], [reconciling("Probing"), stalled("InvalidSpec")], 1, "t1")
    assert [c["type"] for c in merged(before, [Condition("Ready", True, "Ready")], 1, "t2")] == ["Ready"]


def test_a_long_message_is_cut() -> None:
    (entry,) = merged([], [Condition("Ready", False, "X", "m" * 5000)], 1, "t")
    assert len(entry["message"]) == MESSAGE_LIMIT
    assert entry["message"].endswith("…")


def test_find() -> None:
    status = {"conditions": merged([], [Condition("Ready", True, "Ready")], 1, "t")}
    assert find(status, "Ready")["status"] == "True"
    assert find(status, "Healthy") == {}
    assert find({}, "Ready") == {}


@pytest.mark.parametrize(
    ("current", "wanted", "patch"),
    [
        ({}, {}, {}),
        ({"a": 1}, {"a": 1}, {}),
        ({"a": 1}, {"a": 2}, {"a": 2}),
        ({"a": 1}, {}, {"a": None}),
        ({"a": 1}, {"a": None}, {"a": None}),
        ({}, {"a": None}, {}),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1}}, {"a": {"c": None}}),
        ({"a": {"b": 1}}, {"a": {"b": 1, "c": None}}, {}),
        ({"a": [1]}, {"a": [1, 2]}, {"a": [1, 2]}),
        ({}, {"a": {"b": 1}}, {"a": {"b": 1}}),
        ({"a": {"b": 1}}, {"a": 3}, {"a": 3}),
    ],
)
def test_the_difference_is_a_merge_patch(current: Json, wanted: Json, patch: Json) -> None:
    assert difference(current, wanted) == patch
