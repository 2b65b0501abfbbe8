"""Stores of every kind, each fresh and empty."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from iot_backup.storage.memory import MemoryStore
from iot_backup.storage.store import Store
from iot_backup.storage.volume import VolumeStore
from tests.minio.fixtures import minio, minio_binary

__all__ = ["minio", "minio_binary"]

ROOT = "backups/ns/plant-7/"
GROUP = 65532


@pytest.fixture(params=["memory", "volume"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    """An empty store of each implementation."""
    build: dict[str, Callable[[], Store]] = {
        "memory": MemoryStore,
        "volume": lambda: VolumeStore(tmp_path, ROOT, claim="backups", group=GROUP),
    }
    return build[request.param]()
