"""Stores of every kind, each fresh and empty."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import pytest

from iot_backup.storage import azure_client
from iot_backup.storage.azure import AzureStore
from iot_backup.storage.memory import MemoryStore
from iot_backup.storage.s3 import S3Store
from iot_backup.storage.s3_client import Location
from iot_backup.storage.throttled import throttled
from iot_backup.storage.volume import VolumeStore
from tests.azurite.fixtures import azurite
from tests.minio.fixtures import minio, minio_binary

if TYPE_CHECKING:
    from pathlib import Path

    from iot_backup.storage.store import Store
    from tests.azurite.server import Azurite
    from tests.minio.server import Minio

__all__ = ["azurite", "minio", "minio_binary"]

ROOT = "backups/ns/plant-7/"
GROUP = 65532


def location(minio: Minio, bucket: str, **changes: Any) -> Location:
    """How to reach a bucket of the test server."""
    facts = {
        "endpoint": minio.endpoint,
        "path_style": True,
        "access_key_id": minio.access_key,
        "secret_access_key": minio.secret_key,
        "ca": minio.ca,
    }
    return Location(bucket, **{**facts, **changes})


def container(azurite: Azurite, name: str, **changes: Any) -> azure_client.Location:
    """How to reach a container of the test server."""
    facts = {"account": azurite.account, "key": azurite.key, "endpoint": azurite.endpoint, "ca": azurite.ca}
    return azure_client.Location(name, **{**facts, **changes})


KINDS = ["memory", "volume", "s3", "azure", "throttled", "s3-unconditional"]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each implementation."""
    return _build(request, tmp_path)


@pytest.fixture(params=KINDS[:5])
def exclusive_store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """The same, without the one for servers on which the last writer wins."""
    return _build(request, tmp_path)


def _build(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    match request.param:
        case "memory":
            return MemoryStore()
        case "throttled":
            return throttled(MemoryStore(), 10**9, time.monotonic, time.sleep)
        case "volume":
            return VolumeStore(tmp_path, ROOT, claim="backups", group=GROUP)
        case "azure":
            blobs: Azurite = request.getfixturevalue("azurite")
            return AzureStore(container(blobs, blobs.container()), ROOT)
        case kind:
            server: Minio = request.getfixturevalue("minio")
            return S3Store(location(server, server.bucket()), ROOT, conditional_writes=kind == "s3")
