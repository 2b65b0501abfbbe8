"""Placement: beside whoever holds a claim that one node can mount; nowhere if there is no such node."""

from __future__ import annotations

from typing import Any

import pytest

from iot_backup.core import placement
from iot_backup.core.pods import Trouble

from .facts import claim, user_pod

Json = dict[str, Any]
BESIDE_DB = {"labelSelector": {"matchLabels": {"app": "db"}}, "topologyKey": "kubernetes.io/hostname"}


def _volume(*nodes: str) -> Json:
    expression = {"key": "kubernetes.io/hostname", "operator": "In", "values": list(nodes)}
    return {"spec": {"nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}}}}


@pytest.mark.parametrize(
    ("claims", "terms"),
    [
        pytest.param([placement.claim(claim(), [])], None, id="nobody holds it"),
        pytest.param([placement.claim(claim(), [user_pod()])], [BESIDE_DB], id="beside the workload, by its stable labels"),
        pytest.param([placement.claim(claim("data", "ReadWriteMany"), [user_pod()])], None, id="many nodes can mount it"),
        pytest.param([placement.claim(claim(), [user_pod(node=None)])], None, id="a workload without a node holds nothing"),
        pytest.param(
            [placement.claim(claim(), [user_pod()]), placement.claim(claim("store"), [])], [BESIDE_DB], id="a free store claim follows"
        ),
    ],
)
def test_affinity(claims: list[placement.Claim], terms: list[Json] | None) -> None:
    expected = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}} if terms else None
    assert placement.decide(claims) == expected


def test_a_pod_without_labels_pins_its_node() -> None:
    found = placement.decide([placement.claim(claim(), [user_pod(labels={})])])
    field = {"key": "metadata.name", "operator": "In", "values": ["node-1"]}
    assert found == {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{"matchFields": [field]}]}}}


def test_a_claim_for_one_pod_only_is_refused_while_that_pod_lives() -> None:
    found = placement.decide([placement.claim(claim("data", "ReadWriteOncePod"), [user_pod()])])
    assert isinstance(found, Trouble)
    assert (found.reason, "db-0" in found.message) == ("ClaimInUse", True)


@pytest.mark.parametrize(
    ("store", "possible"),
    [
        (placement.claim(claim("store"), [], _volume("node-2")), False),
        (placement.claim(claim("store"), [], _volume("node-1", "node-2")), True),
        (placement.claim(claim("store"), [user_pod("s", claim="store", node="node-2")]), False),
        (placement.claim(claim("store", "ReadWriteMany"), [user_pod("s", claim="store", node="node-2")]), True),
        (placement.claim(claim("store"), [], {"spec": {}}), True),
    ],
)
def test_store_and_source_must_share_a_node(store: placement.Claim, possible: bool) -> None:
    found = placement.decide([placement.claim(claim(), [user_pod()]), store])
    assert (not isinstance(found, Trouble)) is possible
    if isinstance(found, Trouble):
        assert found.reason == "ClaimsOnDifferentNodes"
