"""From an order to a store, and what goes wrong before anything is asked of it."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from iot_backup.core.spec import Encryption, Repository, S3Target, SecretSource, VolumeTarget
from iot_backup.errors import InvalidSpec, IotBackupError, SecretMissing, StorageUnavailable, UntrustedCertificate
from iot_backup.storage.opening import open_store
from iot_backup.storage.secret_values import MountedSecrets

if TYPE_CHECKING:
    from pathlib import Path

    from tests.minio.server import Minio

SECRET = SecretSource(secret="writer", key="key", file="writer/key")


def repository(store: S3Target | VolumeTarget) -> Repository:
    return Repository(storage="main", namespace="plant-7", store=store, encryption=Encryption(), writer_key=SECRET)


def s3(**changes: Any) -> S3Target:
    facts: dict[str, Any] = {
        "bucket": "b",
        "endpoint": "https://127.0.0.1:1",
        "path_style": True,
        "access_key_id": SecretSource(secret="backup-s3", key="id", file="store/access-key-id"),
        "secret_access_key": SecretSource(secret="backup-s3", key="secret", file="store/secret-access-key"),
    }
    return S3Target(**{**facts, **changes})


@pytest.fixture
def secrets_dir(tmp_path: Path) -> Path:
    """Mounted Secrets as an editor left them: with a line end."""
    (tmp_path / "store").mkdir()
    (tmp_path / "store/access-key-id").write_text("the-id\n")
    (tmp_path / "store/secret-access-key").write_text("the-secret\n")
    return tmp_path


def test_an_s3_store_is_rooted_at_prefix_and_namespace(minio: Minio, tmp_path: Path) -> None:
    bucket = minio.bucket()
    for name, value in {"id": minio.access_key + "\n", "secret": minio.secret_key, "ca": minio.ca}.items():
        (tmp_path / name).write_text(value)
    target = s3(
        bucket=bucket,
        prefix="/backups/site a/",
        endpoint=minio.endpoint,
        access_key_id=SecretSource(secret="x", key="id", file="id"),
        secret_access_key=SecretSource(secret="x", key="secret", file="secret"),
        ca=SecretSource(secret="x", key="ca.crt", file="ca"),
    )
    store = open_store(repository(target), MountedSecrets(tmp_path))
    store.create("repo.json", b"x")
    assert minio.keys(bucket) == {"backups/site a/ns/plant-7/repo.json"}
    assert [info.key for info in store.list("")] == ["repo.json"]


def test_a_volume_store_is_rooted_at_path_and_namespace(tmp_path: Path) -> None:
    store = open_store(repository(VolumeTarget(claim="nas", mount=str(tmp_path), path="backups/a")), MountedSecrets(tmp_path))
    store.create("repo.json", b"x")
    assert (tmp_path / "backups/a/ns/plant-7/repo.json").read_bytes() == b"x"


def test_a_claim_that_is_not_mounted_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StorageUnavailable, match=r"claim nas is not mounted at .*/nowhere"):
        open_store(repository(VolumeTarget(claim="nas", mount=str(tmp_path / "nowhere"))), MountedSecrets(tmp_path))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "Secret backup-s3 lacks key secret, or does not exist in this namespace. Add it"),
        (b"", "key secret of Secret backup-s3 is empty"),
        (b" \n", "key secret of Secret backup-s3 is empty"),
        (b"\xff\xfe", "key secret of Secret backup-s3 is not text"),
    ],
    ids=["missing", "empty", "blank", "binary"],
)
def test_a_secret_that_lacks_its_value_is_named(secrets_dir: Path, content: bytes | None, words: str) -> None:
    path = secrets_dir / "store/secret-access-key"
    if content is None:
        path.unlink()
    else:
        path.write_bytes(content)
    with pytest.raises(SecretMissing, match=words):
        open_store(repository(s3()), MountedSecrets(secrets_dir))


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"endpoint": "minio:9000"}, InvalidSpec, "spec.s3.endpoint 'minio:9000' is not an address"),
        ({"endpoint": "ftp://minio"}, InvalidSpec, "spec.s3.endpoint"),
        ({"prefix": "a//b"}, InvalidSpec, "spec.s3.prefix 'a//b' cannot be used"),
        ({"prefix": "../b"}, InvalidSpec, "spec.s3.prefix"),
        ({"ca": SecretSource(secret="x", key="ca.crt", file="../../etc/passwd")}, InvalidSpec, "not below the folder of Secrets"),
    ],
)
def test_a_target_that_cannot_be_meant_is_refused(secrets_dir: Path, changes: Any, error: type[IotBackupError], words: str) -> None:
    with pytest.raises(error, match=words):
        open_store(repository(s3(**changes)), MountedSecrets(secrets_dir))


def test_a_ca_that_is_no_certificate_is_told_at_the_first_request(secrets_dir: Path) -> None:
    (secrets_dir / "ca").write_text("not a certificate")
    store = open_store(repository(s3(ca=SecretSource(secret="our-ca", key="ca.crt", file="ca"))), MountedSecrets(secrets_dir))
    for ask in (store.now, lambda: store.read("repo.json"), store.now):
        with pytest.raises(UntrustedCertificate, match=r"key ca.crt of Secret our-ca.*must be PEM"):
            ask()


@pytest.mark.parametrize("target", [s3(), VolumeTarget(claim="nas", mount="/")], ids=["s3", "volume"])
def test_opening_imports_neither_boto3_nor_what_the_other_kind_needs(secrets_dir: Path, target: S3Target | VolumeTarget) -> None:
    program = (
        "import sys\nfrom pathlib import Path\n"
        "from iot_backup.core.spec import Repository\nfrom iot_backup.storage.opening import open_store\nfrom iot_backup.storage.secret_values import MountedSecrets\n"
        f"open_store(Repository.model_validate_json({repository(target).model_dump_json()!r}), MountedSecrets(Path({str(secrets_dir)!r})))\n"
        "print(*sorted({'boto3', 'botocore', 'obstore', 'kopf', 'kubernetes'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], env={"PYTHONPATH": "operator"}, capture_output=True, text=True, check=True)
    assert done.stdout.split() == (["obstore"] if target.type == "s3" else [])
