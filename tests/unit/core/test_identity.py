"""Whose eyes and hands: the workload's, never root's unless allowed, never a guess between several."""

from __future__ import annotations

from typing import Any

import pytest

from iot_backup import vocabulary
from iot_backup.core.identity import Identity, Wish, resolve, users_of
from iot_backup.core.pods import Trouble

from .facts import user_pod

Json = dict[str, Any]
AS_999 = {"runAsUser": 999, "runAsGroup": 998}


@pytest.mark.parametrize(
    ("pods", "expected"),
    [
        pytest.param([], Identity(), id="nobody uses the claim"),
        pytest.param([user_pod(security=AS_999)], Identity(999, 998), id="the pod's user"),
        pytest.param([user_pod(security={"runAsUser": 999})], Identity(999, 999), id="no group: the user's number"),
        pytest.param(
            [user_pod(security=AS_999, container={"securityContext": {"runAsUser": 5}})],
            Identity(5, 998),
            id="the container's own user wins",
        ),
        pytest.param(
            [user_pod(security={**AS_999, "fsGroup": 2000, "supplementalGroups": [7]})], Identity(999, 998, (7, 2000)), id="its groups"
        ),
        pytest.param(
            [user_pod(security={"runAsUser": 0, "fsGroup": 2000})], Identity(groups=(2000,)), id="root: the fallback, with its groups"
        ),
        pytest.param([user_pod()], Identity(), id="nothing tells"),
        pytest.param(
            [user_pod(containerStatuses=[{"name": "db", "user": {"linux": {"uid": 70, "gid": 71}}}])],
            Identity(70, 71),
            id="the runtime tells",
        ),
        pytest.param([user_pod(security=AS_999), user_pod("db-1", security=AS_999)], Identity(999, 998), id="replicas with one user"),
        pytest.param(
            [user_pod(security={**AS_999, "seLinuxOptions": {"level": "s0:c1"}})], Identity(999, 998, selinux_level="s0:c1"), id="its level"
        ),
    ],
)
def test_auto(pods: list[Json], expected: Identity) -> None:
    assert resolve(Wish(), pods, "data", root_allowed=False) == expected


def test_several_users_are_refused_by_the_fields_name() -> None:
    found = resolve(Wish(), [user_pod(security=AS_999), user_pod("other", security={"runAsUser": 0})], "data", root_allowed=False)
    assert isinstance(found, Trouble)
    assert found.reason == "AmbiguousIdentity"
    assert all(word in found.message for word in ("999 (pod db-0)", "0 (pod other)", "worker.securityContext.runAsUser"))


def test_several_users_do_not_matter_where_the_spec_names_one() -> None:
    pods = [user_pod(security=AS_999), user_pod("other", security={"runAsUser": 5})]
    assert resolve(Wish(uid=1000), pods, "data", root_allowed=False) == Identity(1000, 1000)


def test_root_needs_the_namespaces_permission() -> None:
    assert resolve(Wish(root=True), [], "data", root_allowed=True) == Identity(0, 0, root=True)
    refused = resolve(Wish(root=True), [], "data", root_allowed=False)
    assert isinstance(refused, Trouble)
    assert vocabulary.ALLOW_ROOT_WORKERS in refused.message


def test_what_the_workload_was_counts_only_while_there_is_none() -> None:
    before = Identity(999, 998, (2000,))
    assert resolve(Wish(), [], "data", root_allowed=False, fallback=before) == before
    assert resolve(Wish(), [user_pod(security={"runAsUser": 5})], "data", root_allowed=False, fallback=before) == Identity(5, 5)


def test_groups_and_level_of_the_spec_win() -> None:
    wish = Wish(gid=1, groups=(3,), fs_group=4, selinux_level="s1")
    assert resolve(wish, [user_pod(security={**AS_999, "fsGroup": 9})], "data", root_allowed=False) == Identity(999, 1, (3,), 4, "s1")


@pytest.mark.parametrize(
    ("pod", "counts"),
    [
        (user_pod(), True),
        (user_pod(phase="Succeeded"), False),
        (user_pod(phase="Failed"), False),
        (user_pod(phase="Pending", node=None), True),
        (user_pod(metadata={"deletionTimestamp": "t"}), False),
        (user_pod(claim="other"), False),
        (user_pod(labels={vocabulary.MANAGED_BY: vocabulary.OPERATOR, vocabulary.OWNER_KIND: "BackupJob"}), False),
    ],
)
def test_who_uses_a_claim(pod: Json, counts: bool) -> None:
    assert bool(users_of([pod], "data")) is counts
