"""Import `azurite` into a conftest.py: one server for the whole session."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.azurite import program
from tests.azurite.server import Azurite, running

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    with running(program.blob_server(), tmp_path_factory.mktemp("azurite")) as server:
        yield server
