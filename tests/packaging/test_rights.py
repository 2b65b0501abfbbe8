"""The chart grants what the operator asks for, and nothing beyond: compared with what tests/handlers saw it ask."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.packaging.rendering import render
from tests.packaging.test_chart import granted

RIGHTS = Path(__file__).parents[1] / "handlers" / "rights.json"
ONLY_CLUSTER_WIDE = {"customresourcedefinitions", "persistentvolumes"}
"""A Role cannot grant these, and with Roles the operator does not ask for them."""


def _used(*, cluster_wide: bool) -> set[tuple[str, str, str]]:
    entries = [tuple(entry) for entry in json.loads(RIGHTS.read_text())]
    kept = [(verb, group, resource, sub) for verb, group, resource, sub in entries if cluster_wide or resource not in ONLY_CLUSTER_WIDE]
    return {(group, f"{resource}/{sub}" if sub else resource, verb) for verb, group, resource, sub in kept}


@pytest.mark.parametrize("values", [(), ("watchNamespaces={plant-1}",)])
def test_the_operator_is_granted_what_it_asks_for_and_nothing_beyond(values: tuple[str, ...]) -> None:
    roles = [o for o in render(*values) if o["kind"] in {"ClusterRole", "Role"} and not o["metadata"]["name"].endswith(("-view", "-edit"))]
    assert set().union(*(granted(role["rules"]) for role in roles)) == _used(cluster_wide=not values)
