"""BackupStorage: found, probed, told."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .conftest import World


def test_a_new_storage_is_probed_and_becomes_ready(world: World) -> None:
    world.storage()
    body = world.condition("backupstorages", "s3", "Ready", "True", "Ready")
    assert body["status"]["location"] == "s3://backups/plant"
