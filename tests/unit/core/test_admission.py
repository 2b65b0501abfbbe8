"""What keeps a run from starting, by reason and sentence."""

from __future__ import annotations

from typing import Any

import pytest

from iot_backup.api.backupstorage import BackupStorage
from iot_backup.core import admission
from iot_backup.core.admission import Admitted, Surroundings
from iot_backup.core.identity import Identity
from iot_backup.core.pods import Trouble

from .facts import backup_job, claim, storage, user_pod

Json = dict[str, Any]
LOCAL = {"volume": {"claimName": "store", "group": 3000}, "encryption": {"algorithm": "None"}}
ROOT_NAMESPACE = {"metadata": {"annotations": {"backup.iot-system.io/allow-root-workers": "true"}}}


def _around(store: BackupStorage | None, *claims: Json, pods: tuple[Json, ...] = (), namespace: Json | None = None) -> Surroundings:
    return Surroundings(store, namespace or {}, {c["metadata"]["name"]: c for c in claims}, {}, pods)


@pytest.mark.parametrize(
    ("around", "job", "for_a_run", "reason"),
    [
        pytest.param(_around(storage(), claim()), {}, True, None, id="all is there"),
        pytest.param(_around(None, claim()), {}, False, "StorageMissing", id="no storage"),
        pytest.param(_around(storage(pinned=False), claim()), {}, False, "StorageNotReady", id="never ready"),
        pytest.param(_around(storage(ready=("False", "StorageUnavailable")), claim()), {}, False, None, id="CronJobs need it ready once"),
        pytest.param(
            _around(storage(ready=("False", "StorageUnavailable")), claim()), {}, True, "StorageNotReady", id="a run needs it ready now"
        ),
        pytest.param(_around(storage(ready=("False", "WriterNotAdmitted")), claim()), {}, True, None, id="an unadmitted writer may run"),
        pytest.param(_around(storage()), {}, True, "SourceMissing", id="no claim"),
        pytest.param(_around(storage(**LOCAL), claim()), {}, True, "StoreClaimMissing", id="no store claim"),
        pytest.param(_around(storage(), claim()), {"worker": {"identity": "Root"}}, True, "RootNotAllowed", id="root"),
        pytest.param(
            _around(storage(), claim(), namespace=ROOT_NAMESPACE), {"worker": {"identity": "Root"}}, True, None, id="root allowed"
        ),
        pytest.param(
            _around(storage(), claim(), pods=(user_pod(security={"runAsUser": 1}), user_pod("b", security={"runAsUser": 2}))),
            {},
            True,
            "AmbiguousIdentity",
            id="two users",
        ),
        pytest.param(
            _around(storage(), claim("data", "ReadWriteOncePod"), pods=(user_pod(),)), {}, True, "ClaimInUse", id="held by one pod"
        ),
    ],
)
def test_admit_backup(around: Surroundings, job: Json, *, for_a_run: bool, reason: str | None) -> None:
    found = admission.admit_backup(backup_job(**job), around, remembered=None, for_a_run=for_a_run)
    assert (found.reason if isinstance(found, Trouble) else None) == reason


def test_a_worker_on_a_volume_store_joins_its_group() -> None:
    found = admission.admit_backup(
        backup_job(), _around(storage(**LOCAL), claim(), claim("store")), remembered=Identity(5, 5), for_a_run=True
    )
    assert found == Admitted(Identity(5, 5, (3000,)), None)


def test_a_source_that_is_the_stores_claim_is_placed_once() -> None:
    local = {**LOCAL, "volume": {"claimName": "data"}}
    found = admission.admit_backup(backup_job(), _around(storage(**local), claim()), remembered=None, for_a_run=True)
    assert isinstance(found, Admitted)


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        ({}, None),
        ({"schedule": "@daily", "timeZone": "Europe/Berlin"}, None),
        ({"schedule": "61 * * * *"}, "minute"),
        ({"schedule": "@daily", "timeZone": "Mars/Olympus"}, "Mars"),
        ({"schedules": [{"name": "ok", "schedule": "@daily"}, {"name": "odd", "schedule": "0 0 * * 7"}]}, "schedule odd"),
    ],
)
def test_schedules(spec: Json, word: str | None) -> None:
    found = admission.check_schedules(backup_job(**spec))
    assert (found is None) is (word is None)
    if found and word:
        assert found.reason == "InvalidSchedule"
        assert word in found.message


def test_what_the_spec_says_about_the_user() -> None:
    context = {"runAsUser": 1, "runAsGroup": 2, "supplementalGroups": [4, 3], "fsGroup": 5, "seLinuxOptions": {"level": "s0"}}
    wish = admission.wish(backup_job(worker={"securityContext": context}).spec.worker)
    assert (wish.uid, wish.gid, wish.groups, wish.fs_group, wish.selinux_level) == (1, 2, (3, 4), 5, "s0")


def test_a_storage_nobody_looked_at_says_so() -> None:
    fresh = BackupStorage.from_body(
        {"metadata": {"name": "s3", "namespace": "plant"}, "spec": storage().spec.model_dump(by_alias=True, exclude_none=True)}
    )
    found = admission.check_storage("s3", fresh, for_a_run=True)
    assert found is not None
    assert "not looked at" in found.message
