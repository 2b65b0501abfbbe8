"""Who writes a restore that no workload's pod tells of: the user, and the group a new claim is handed to."""

from __future__ import annotations

from typing import Any

import pytest

from iot_backup.api.backup import Backup
from iot_backup.api.restorejob import RestoreJob
from iot_backup.core import admission, identity, restores
from iot_backup.core.identity import Identity
from tests.packaging.specimens import ABSENT, body, spec

NEW = {"target.claimName": ABSENT, "target.newClaim": {"name": "lookup", "size": "1Gi"}}
WORKLOAD = Identity(1000, 1000, (7,))


def _restore(changes: dict[str, Any]) -> RestoreJob:
    return RestoreJob.from_body(body("RestoreJob", spec("RestoreJob", changes)))


def _backup(uid: int, gid: int) -> Backup:
    return Backup.from_body({**body("Backup", spec("Backup", {})), "status": {"sourceOwner": {"uid": uid, "gid": gid}}})


@pytest.mark.parametrize(
    ("target", "owner", "workload", "expected"),
    [
        pytest.param(NEW, (999, 998), None, Identity(999, 998, fs_group=998), id="new: the owner of the backup's root"),
        pytest.param(NEW, (999, 0), None, Identity(999, 0, fs_group=0), id="new: an owner of group 0 can write too"),
        pytest.param(NEW, (0, 1000), WORKLOAD, Identity(1000, 1000, fs_group=1000), id="new: root's folder, the workload writes"),
        pytest.param(NEW, (0, 0), None, Identity(fs_group=65532), id="new: all root's, the fallback user can write"),
        pytest.param(NEW, None, None, Identity(fs_group=65532), id="new: nothing known, the fallback user can write"),
        pytest.param({}, (999, 998), WORKLOAD, Identity(999, 998), id="existing: the owner of the backup's root"),
        pytest.param({}, (0, 1001), WORKLOAD, Identity(1000, 1000, (7, 1001)), id="existing: the workload joins the folder's group"),
        pytest.param({}, None, WORKLOAD, WORKLOAD, id="existing: the workload as it was last seen"),
        pytest.param({}, None, None, None, id="existing: nothing known"),
    ],
)
def test_the_writer_of_a_restore(
    target: dict[str, Any], owner: tuple[int, int] | None, workload: Identity | None, expected: Identity | None
) -> None:
    assert restores.writer(_restore(target), _backup(*owner) if owner else None, workload) == expected


@pytest.mark.parametrize(
    ("owner", "asked", "expected"),
    [
        pytest.param((999, 998), {"runAsUser": 1000}, Identity(1000, 1000, fs_group=998), id="the group of the backup's root"),
        pytest.param(None, {"runAsUser": 1000}, Identity(1000, 1000, fs_group=1000), id="nothing known: the user's own group"),
        pytest.param(None, {"runAsUser": 1000, "runAsGroup": 7}, Identity(1000, 7, fs_group=7), id="nothing known: the group named"),
        pytest.param((999, 998), {"runAsUser": 1000, "fsGroup": 5}, Identity(1000, 1000, fs_group=5), id="fsGroup wins"),
    ],
)
def test_a_user_named_in_the_spec_can_write_a_new_claim(owner: tuple[int, int] | None, asked: dict[str, int], expected: Identity) -> None:
    restore = _restore({**NEW, "worker.securityContext": asked})
    fallback = restores.writer(restore, _backup(*owner) if owner else None, None)
    assert identity.resolve(admission.wish(restore.spec.worker), [], "lookup", root_allowed=False, fallback=fallback) == expected
