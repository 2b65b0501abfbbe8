"""Ways in: a person's key alone, and none at all. (With a passphrase: test_backup_and_restore.py.)"""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.demo import outside
from tests.e2e import trees, volumes
from tests.e2e.objects import Json
from tests.e2e.platform import Platform, condition

READER = {"uid": volumes.OWNER, "fs_group": None}


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """A person's age identity and its recipient, made by age's own tool."""
    file = tmp_path_factory.mktemp("keys") / "identity"
    subprocess.run(["age-keygen", "-o", str(file)], check=True, capture_output=True)
    recipient = subprocess.run(["age-keygen", "-y", str(file)], check=True, capture_output=True, text=True).stdout.strip()
    return file.read_text(), recipient


@pytest.fixture(scope="module")
def platform(new_platform: object) -> Platform:
    """Without the usual storage: each test module's own ways in."""
    made: Platform = new_platform(storage=False)  # type: ignore[operator]
    volumes.filled(made, "sensor", trees.ODD)
    return made


@pytest.fixture(scope="module")
def source(platform: Platform) -> list[str]:
    """Fingerprint of the claim that is backed up."""
    return volumes.fingerprint(platform, "sensor", **READER)


@pytest.fixture(scope="module")
def strict(platform: Platform, key: tuple[str, str]) -> Json:
    """A Backup into a storage that knows recipients only."""
    platform.apply(platform.storage("strict", encryption={"recipients": [key[1]]}))
    platform.wait_condition("BackupStorage", "strict", "Ready")
    platform.apply(platform.backup_job("strict", "sensor", storage="strict"))
    platform.wait_condition("BackupJob", "strict", "Ready")
    return platform.completed("Backup", platform.backup("strict", "strict-1"))


@pytest.fixture(scope="module")
def plain(platform: Platform) -> Json:
    """A Backup into a storage without encryption."""
    platform.apply(platform.storage("plain", prefix=f"{platform.prefix}/plain", encryption={"algorithm": "None"}))
    platform.wait_condition("BackupStorage", "plain", "Ready")
    platform.apply(platform.backup_job("plain", "sensor", storage="plain"))
    platform.wait_condition("BackupJob", "plain", "Ready")
    return platform.completed("Backup", platform.backup("plain", "plain-1"))


def test_with_recipients_only_no_private_key_is_in_the_cluster(platform: Platform, strict: Json) -> None:
    """The repository's identity is sealed to people; backups need its public half."""
    assert [k.rpartition(".")[2] for k in platform.keys("keys/")] == ["recipients"]
    status = platform.get("BackupStorage", "strict")["status"]
    assert status["recipient"].startswith("age1")
    assert status["writerAdmitted"] is True


def test_without_the_persons_key_a_strict_backup_is_not_restored(platform: Platform, strict: Json) -> None:
    platform.apply(volumes.claim("closed"))
    name = platform.restore("keyless", {"backupRef": {"name": "strict-1"}}, "closed")
    body = platform.wait_ended("RestoreJob", name)
    assert (body["status"]["phase"], body["status"]["failure"]["class"]) == ("Failed", "KeyMissing")
    assert "identitySecretRef" in condition(body, "Succeeded")["message"]


def test_with_the_persons_key_it_is(platform: Platform, strict: Json, key: tuple[str, str], source: list[str]) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "brought"}, "stringData": {"identity": key[0]}}
    platform.apply(secret)
    target = {"newClaim": {"name": "opened", "size": "64Mi"}}
    reference = {"name": "brought", "key": "identity"}
    platform.completed("RestoreJob", platform.restore("keyed", {"backupRef": {"name": "strict-1"}}, target, identitySecretRef=reference))
    assert volumes.fingerprint(platform, "opened", **READER) == source


def test_a_person_opens_a_strict_archive_with_age_alone(platform: Platform, strict: Json, key: tuple[str, str], tmp_path: Path) -> None:
    """Their key opens the key file, which holds the key of the archives."""
    mine = tmp_path / "mine"
    mine.write_text(key[0])
    (sealed,) = platform.keys("keys/")
    (archive,) = [k for k in platform.keys("chains/") if strict["status"]["archive"] in k and k.endswith(".age")]
    for name, stored in (("sealed", sealed), ("archive", archive)):
        platform.bucket.download_file(platform.root + stored, str(tmp_path / name))
    subprocess.run(["age", "-d", "-i", str(mine), "-o", str(tmp_path / "identity"), str(tmp_path / "sealed")], check=True)
    (tmp_path / "tree").mkdir()
    outside.extract(tmp_path / "archive", tmp_path / "identity", tmp_path / "tree")
    assert (tmp_path / "tree" / "config" / "broker.conf").read_text() == "listener 1883\n"


def test_without_encryption_zstd_and_tar_are_enough(platform: Platform, plain: Json, tmp_path: Path) -> None:
    assert "recipient" not in platform.get("BackupStorage", "plain")["status"]
    (archive,) = [o.key for o in platform.bucket.objects.filter(Prefix=f"{platform.prefix}/plain/") if o.key.endswith(".tar.zst")]
    assert plain["status"]["archive"] in archive
    platform.bucket.download_file(archive, str(tmp_path / "archive"))
    command = f"set -o pipefail; zstd -dc '{tmp_path}/archive' | tar x -p -C '{tmp_path}' config"
    subprocess.run(["bash", "-c", command], check=True)
    assert (tmp_path / "config" / "secret.key").read_text() == "only for its owner\n"


def test_an_unencrypted_backup_is_restored_too(platform: Platform, plain: Json, source: list[str]) -> None:
    target = {"newClaim": {"name": "from-plain", "size": "64Mi"}}
    platform.completed("RestoreJob", platform.restore("plain", {"backupRef": {"name": "plain-1"}}, target))
    assert volumes.fingerprint(platform, "from-plain", **READER) == source
