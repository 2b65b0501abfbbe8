"""Places for repositories, and a repository that is there already, so that only the tests of the probe pay for making one."""

from __future__ import annotations

from pathlib import Path

import pytest

from iot_backup.crypto.identity import Identity
from tests.azurite.fixtures import azurite
from tests.minio.fixtures import minio, minio_binary
from tests.pipeline.sites import Bucket, Folder, Place, Site, open_to_all

__all__ = ["azurite", "minio", "minio_binary"]


@pytest.fixture(params=["volume", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place of each kind."""
    if request.param == "s3":
        server = request.getfixturevalue("minio")
        return Bucket(server, server.bucket())
    return folder_place(tmp_path)


def folder_place(base: Path) -> Folder:
    (base / "nas").mkdir()
    (base / "nas").chmod(0o777)
    return Folder(base / "nas")


@pytest.fixture(scope="session")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A repository with both ways in, made by a real probe."""
    base = tmp_path_factory.mktemp("seed")
    open_to_all(base)
    person = Identity.generated()
    site = Site(folder_place(base), base, person=person, recipients=(person.recipient,))
    site.pin(site.probe())
    return site


@pytest.fixture
def site(seed: Site, place: Place, tmp_path: Path) -> Site:
    """That repository in a place of its own, for both kinds of store."""
    return seed.elsewhere(place, tmp_path)


@pytest.fixture
def volume_site(seed: Site, tmp_path: Path) -> Site:
    """The same on a volume only."""
    open_to_all(tmp_path)
    return seed.elsewhere(folder_place(tmp_path), tmp_path)


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """An empty folder, to be backed up once something is in it."""
    (tmp_path / "source").mkdir()
    return tmp_path / "source"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """An empty folder, to be restored into."""
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


@pytest.fixture(scope="session")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small tree with names and contents that are easy to recognise."""
    root = tmp_path_factory.mktemp("plant")
    (root / "thermostats").mkdir()
    (root / "thermostats" / "boiler-room.json").write_bytes(b'{"celsius": 71}' * 500)
    (root / "firmware.bin").write_bytes(bytes(range(256)) * 4000)
    (root / "latest").symlink_to("firmware.bin")
    return root
