"""A claim as the store, shared by workers under different users, in a namespace under `restricted`."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.demo import outside
from tests.e2e import trees, volumes
from tests.e2e.objects import Json
from tests.e2e.platform import PASSPHRASE, Platform

GROUP = 3000
USERS = {"north": 1001, "south": 1002}
STORE_READER = {"uid": 1003, "gid": GROUP, "fs_group": None, "read_only": True}
"""Neither of the two users, but of the store's group."""
LIST = """
import json, os, stat
root = "/data/backups"
print(json.dumps({
    os.path.relpath(os.path.join(folder, name), root): [oct(stat.S_IMODE(s.st_mode)), s.st_uid, s.st_gid]
    for folder, folders, files in os.walk(root) for name in folders + files
    for s in [os.lstat(os.path.join(folder, name))]
}))
"""
PRINT = "import base64, sys; sys.stdout.write(base64.b64encode(open(sys.argv[1], 'rb').read()).decode())"


@pytest.fixture(scope="module")
def platform(new_platform: Callable[..., Platform]) -> Platform:
    """A tenant without an object store."""
    return new_platform(storage=False)


@pytest.fixture(scope="module")
def backups(platform: Platform) -> dict[str, Json]:
    """By claim, a Backup of each of two workloads under users of their own, in one store."""
    passphrase = {"secretRef": {"name": "backup-secrets", "key": "encryption-passphrase"}}
    volume = {"claimName": "store", "path": "backups", "group": GROUP}
    platform.apply(volumes.claim("store"))
    platform.apply({"kind": "BackupStorage", "metadata": {"name": "disk"}, "spec": {"volume": volume, "encryption": passphrase}})
    for name, uid in USERS.items():
        volumes.filled(platform, name, trees.ODD, uid=uid, fs_group=uid)
    platform.wait_condition("BackupStorage", "disk", "Ready")
    for name, uid in USERS.items():
        platform.apply(platform.backup_job(name, name, storage="disk", worker={"securityContext": {"runAsUser": uid}}))
        platform.wait_condition("BackupJob", name, "Ready")
    names = {name: platform.backup(name) for name in USERS}
    return {name: platform.completed("Backup", backup) for name, backup in names.items()}


@pytest.fixture(scope="module")
def stored(platform: Platform, backups: dict[str, Json]) -> dict[str, list[object]]:
    """Mode, owner and group of each path in the repository."""
    root = f"ns/{platform.namespace}/"
    listed = json.loads(volumes.run(platform, "store", LIST, **STORE_READER))
    return {path.removeprefix(root): facts for path, facts in listed.items() if path.startswith(root)}


def test_workers_under_different_users_share_the_store(backups: dict[str, Json], stored: dict[str, list[object]]) -> None:
    archives = {path: facts[1] for path, facts in stored.items() if path.endswith(".tar.zst.age")}
    assert len(archives) == 2
    assert sorted(str(owner) for owner in archives.values()) == ["1001", "1002"]
    for name, backup in backups.items():
        assert any(backup["status"]["archive"] in path for path in archives if path.startswith(f"chains/{name}/"))


def test_everything_in_the_store_belongs_to_its_group(stored: dict[str, list[object]]) -> None:
    """Folders hand the group on; nobody else reads anything."""
    assert {facts[2] for facts in stored.values()} == {GROUP}
    folders = {path.rpartition("/")[0] for path in stored} - {""}
    assert {facts[0] for path, facts in stored.items() if path in folders or path == "announce"} == {"0o2770"}
    assert {facts[0] for path, facts in stored.items() if "." in path.rpartition("/")[2]} == {"0o660"}


def test_no_half_written_file_and_no_announcement_is_left(stored: dict[str, list[object]]) -> None:
    assert [path for path in stored if ".partial" in path or path.startswith("announce/")] == []


def test_an_archive_on_the_claim_opens_with_stock_tools(
    platform: Platform, backups: dict[str, Json], stored: dict[str, list[object]], tmp_path: Path
) -> None:
    (archive,) = [p for p in stored if backups["north"]["status"]["archive"] in p and p.endswith(".age")]
    (sealed,) = [p for p in stored if p.startswith("keys/")]
    for name, path in (("archive", archive), ("sealed", sealed)):
        inside = f"{volumes.MOUNT}/backups/ns/{platform.namespace}/{path}"
        (tmp_path / name).write_bytes(base64.b64decode(volumes.run(platform, "store", PRINT, inside, **STORE_READER)))
    outside.open_identity(tmp_path / "sealed", PASSPHRASE, tmp_path / "identity")
    (tmp_path / "tree").mkdir()
    outside.extract(tmp_path / "archive", tmp_path / "identity", tmp_path / "tree")
    assert (tmp_path / "tree" / "config" / "current").readlink() == Path("broker.conf")
    assert (tmp_path / "tree" / "config" / "broker.conf").read_text() == "listener 1883\n"


def test_a_restore_from_the_claim_gives_the_tree_back(platform: Platform, backups: dict[str, Json]) -> None:
    reader = {"uid": USERS["south"], "fs_group": None}
    source = {"backupRef": {"name": backups["south"]["metadata"]["name"]}}
    worker = {"securityContext": {"runAsUser": USERS["south"]}}
    platform.completed("RestoreJob", platform.restore("back", source, {"newClaim": {"name": "copy", "size": "64Mi"}}, worker=worker))
    assert volumes.fingerprint(platform, "copy", **reader) == volumes.fingerprint(platform, "south", **reader)


def test_the_location_and_capabilities_of_a_claim_are_shown(platform: Platform, backups: dict[str, Json]) -> None:
    status = platform.get("BackupStorage", "disk")["status"]
    assert status["location"] == "pvc://store/backups"
    assert status["capabilities"] == {"conditionalWrites": True, "objectLock": False, "versioning": False}
