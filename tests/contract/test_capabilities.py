"""The probe tells what a store can do by trying, and leaves nothing behind."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from iot_backup.core.report import Capabilities
from iot_backup.errors import AccessDenied, AlreadyExists, BucketMissing, StorageUnavailable
from iot_backup.storage.capabilities import probe_capabilities, probe_isolation
from iot_backup.storage.memory import MemoryStore
from iot_backup.storage.s3 import S3Store
from iot_backup.storage.s3_client import Timing
from iot_backup.storage.volume import VolumeStore
from tests.contract.conftest import location
from tests.minio import accounts
from tests.minio.proxy import Fault, Harm, faulty

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

    from tests.minio.server import Minio

ID = "0123456789abcdef"
ROOT = "backups/ns/plant-7/"


def limited(minio: Minio, bucket: str, *statements: dict[str, Any]) -> S3Store:
    access_key_id, secret_access_key = accounts.create(minio, *statements)
    return S3Store(location(minio, bucket, access_key_id=access_key_id, secret_access_key=secret_access_key), ROOT)


@pytest.mark.parametrize("locked", [True, False])
def test_lock_and_versions_are_found(minio: Minio, *, locked: bool) -> None:
    store = S3Store(location(minio, minio.bucket(object_lock=locked)), ROOT)
    assert probe_capabilities(store, ID) == Capabilities(conditional_writes=True, object_lock=locked, versioning=locked)
    assert list(store.list("")) == []


@pytest.mark.parametrize("conditional", [True, False])
def test_conditional_writes_are_tried_whatever_the_store_was_opened_for(minio: Minio, *, conditional: bool) -> None:
    store = S3Store(location(minio, minio.bucket()), ROOT, conditional_writes=conditional)
    assert probe_capabilities(store, ID).conditional_writes


def test_a_server_that_ignores_the_condition_is_found_out(minio: Minio) -> None:
    bucket = minio.bucket()
    with faulty(minio) as proxy:
        proxy.overwrites = True
        store = S3Store(location(minio, bucket, endpoint=proxy.endpoint, ca=None), ROOT)
        assert not probe_capabilities(store, ID).conditional_writes
        careful = S3Store(location(minio, bucket, endpoint=proxy.endpoint, ca=None), ROOT, conditional_writes=False)
        careful.create("repo.json", b"first")
        with pytest.raises(AlreadyExists):
            careful.create("repo.json", b"second")
        assert careful.read("repo.json") == b"first"
        careful.delete("repo.json")
    assert minio.keys(bucket) == set()


def test_a_store_that_trips_over_its_own_retry_has_conditional_writes(minio: Minio) -> None:
    with faulty(minio) as proxy:
        store = S3Store(location(minio, minio.bucket(), endpoint=proxy.endpoint, ca=None), ROOT)
        proxy.faults = [Fault(Harm.STORE_THEN_500, "PUT", ID)]
        assert probe_capabilities(store, ID).conditional_writes


def test_credentials_without_the_right_to_ask_for_lock_and_versions_still_probe(minio: Minio) -> None:
    bucket = minio.bucket(object_lock=True)
    store = limited(minio, bucket, *accounts.only_below(bucket, ROOT))
    assert probe_capabilities(store, ID) == Capabilities(conditional_writes=True)


@pytest.mark.parametrize(
    ("statements", "isolated"),
    [
        (lambda bucket: accounts.only_below(bucket, ROOT), True),
        (lambda bucket: [*accounts.only_below(bucket, ROOT), accounts.allow("ListBucket", resource=bucket)], False),
        (lambda bucket: [*accounts.only_below(bucket, ROOT), accounts.allow("GetObject", "ListBucket", resource=f"{bucket}*")], False),
        (
            lambda bucket: [
                *accounts.only_below(bucket, ROOT),
                accounts.allow("ListBucket", resource=bucket, StringLike={"s3:prefix": ["backups/ns/*"]}),
            ],
            False,
        ),
    ],
    ids=["own root only", "lists all", "reads all", "lists neighbours"],
)
def test_credentials_that_reach_beyond_the_root_are_found_out(
    minio: Minio, statements: Callable[[str], list[dict[str, Any]]], *, isolated: bool
) -> None:
    bucket = minio.bucket()
    minio.client().put_object(Bucket=bucket, Key="backups/ns/other/repo.json", Body=b"x")
    store = limited(minio, bucket, *statements(bucket))
    assert probe_isolation(store, ID) is isolated


def test_isolation_is_not_claimed_when_nobody_answered(minio: Minio) -> None:
    quick = Timing(connect=1, control=0.5, retry=0.3, first_wait=0.02, longest_wait=0.1)
    with faulty(minio) as proxy:
        proxy.faults = [Fault(Harm.REFUSE, "GET", "", 9999)]
        store = S3Store(location(minio, "any-bucket", endpoint=proxy.endpoint, ca=None), ROOT, timing=quick)
        with pytest.raises(StorageUnavailable):
            probe_isolation(store, ID)


def test_a_missing_bucket_fails_the_probe(minio: Minio) -> None:
    with pytest.raises(BucketMissing):
        probe_capabilities(S3Store(location(minio, "no-such-bucket"), ROOT), ID)


def test_a_volume_and_a_memory_store_refuse_a_second_writer(tmp_path: Path) -> None:
    for store in (VolumeStore(tmp_path, ROOT, claim="nas", group=os.getegid()), MemoryStore()):
        assert probe_capabilities(store, ID) == Capabilities(conditional_writes=True)
        assert probe_isolation(store, ID) is None
        assert list(store.list("")) == []


def test_a_volume_that_does_not_give_files_to_the_group_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchown", refused)
    store = VolumeStore(tmp_path, ROOT, claim="nas", group=4711)
    with pytest.raises(AccessDenied, match=rf"belongs to group {os.getegid()}, mode 0660, instead of group 4711.*Set spec\.volume\.group"):
        probe_capabilities(store, ID)
    assert list(store.list("")) == []
