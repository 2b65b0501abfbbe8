"""Import `minio` (and `minio_binary`) into a conftest.py: one server for the whole session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.cluster import tools
from tests.minio.server import Minio, running

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session")
def minio_binary() -> Path:
    """The program; built on first use, which takes about two minutes."""
    return tools.binary("minio")


@pytest.fixture(scope="session")
def minio(minio_binary: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Minio]:
    with running(minio_binary, tmp_path_factory.mktemp("minio")) as server:
        yield server
