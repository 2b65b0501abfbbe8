"""No room: in a volume that is the store, in a MinIO on a disk of its own, and in the target of a restore."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cluster.cluster import MINIO_PASSWORD, MINIO_USER
from tests.demo import outside
from tests.e2e import volumes
from tests.e2e.failing import Witness, check_store
from tests.e2e.objects import Json
from tests.e2e.platform import Platform
from tests.e2e.waiting import wait_for

FILL = """
import os
for folder, size in (("little", 1000), ("much", 60 << 20)):
    os.mkdir(f"/data/{folder}")
    with open(f"/data/{folder}/file", "wb") as file:
        file.write(os.urandom(size))
"""
DISK = "40Mi"
SERVER = "small-minio"
STORES = ("disk", SERVER)
BUCKET = "backups"
LIST = "import os\nfor folder, _, files in os.walk('/data/repository/ns'): [print(os.path.join(folder, file)) for file in files]"


@pytest.fixture(scope="module")
def full(witness: Witness) -> Witness:
    """A claim with little and with much, two small stores with a backup of the little, and a backup of the much in the large store."""
    platform = witness.platform
    if platform.operator.cluster.external:
        pytest.skip("needs the StorageClass `tiny` of the project's own cluster, whose volumes really get full")
    platform.apply(volumes.claim("disk", DISK, "tiny"), volumes.claim(SERVER, DISK, "tiny"), *_server(platform))
    volumes.filled(platform, "data", FILL, size="128Mi")
    platform.apply(_job(platform, "ample", "minio", "much"))
    platform.backup("ample", "ample-now")
    wait_for(lambda: _bucket_made(platform), 60, what="the small MinIO runs")
    platform.apply(
        _on_disk(), platform.storage(SERVER, s3={"bucket": BUCKET, "endpoint": f"http://{SERVER}.{platform.namespace}.svc:9000"})
    )
    for storage in STORES:
        platform.wait_condition("BackupStorage", storage, "Ready", deadline=90)
        for folder in ("little", "much"):
            platform.apply(_job(platform, f"{storage}-{folder}", storage, folder))
        platform.backup(f"{storage}-little", f"{storage}-earlier")
    for storage in STORES:
        platform.completed("Backup", f"{storage}-earlier")
        platform.backup(f"{storage}-much", f"{storage}-now")
    return witness


def _job(platform: Platform, name: str, storage: str, folder: str) -> Json:
    job = platform.backup_job(name, "data", storage)
    job["spec"]["source"]["volume"]["path"] = folder
    return job


def _on_disk() -> Json:
    encryption = {"secretRef": {"name": "backup-secrets", "key": "encryption-passphrase"}}
    spec = {"volume": {"claimName": "disk", "path": "repository"}, "encryption": encryption}
    return {"kind": "BackupStorage", "metadata": {"name": "disk"}, "spec": spec}


def _server(platform: Platform) -> tuple[Json, Json]:
    """A MinIO without TLS on the small claim."""
    large = platform.objects.get("Deployment", "minio", "minio")
    assert large is not None
    pod = volumes.pod(platform, SERVER, SERVER, "")
    container = pod["spec"]["containers"][0]
    del container["command"]
    container["image"] = large["spec"]["template"]["spec"]["containers"][0]["image"]
    container["args"] = ["server", "/data", "--address", ":9000", "--quiet"]
    container["env"] = [
        {"name": "MINIO_ROOT_USER", "value": MINIO_USER},
        {"name": "MINIO_ROOT_PASSWORD", "valueFrom": {"secretKeyRef": {"name": "backup-secrets", "key": "aws-secret-access-key"}}},
        {"name": "MINIO_BROWSER", "value": "off"},
    ]
    pod["metadata"]["labels"] = {"app": SERVER}
    spec = {"type": "NodePort", "selector": {"app": SERVER}, "ports": [{"port": 9000}]}
    return pod, {"apiVersion": "v1", "kind": "Service", "metadata": {"name": SERVER}, "spec": spec}


def _small_bucket(platform: Platform) -> Any:
    cluster = platform.operator.cluster
    port = platform.get("Service", SERVER)["spec"]["ports"][0]["nodePort"]
    return outside.bucket(f"http://{cluster.node_ip}:{port}", cluster.minio_ca, MINIO_USER, MINIO_PASSWORD, BUCKET)


def _bucket_made(platform: Platform) -> bool:
    """Whether the server answers; then it has the bucket."""
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        _small_bucket(platform).create()
    except ClientError as error:
        return error.response["Error"]["Code"] == "BucketAlreadyOwnedByYou"  # by a try whose answer was lost
    except BotoCoreError:
        return False
    return True


def _keys(platform: Platform, storage: str) -> list[str]:
    """What is in the repository, relative to its root."""
    if storage == "disk":
        below = f"/data/repository/ns/{platform.namespace}/"
        return [line.removeprefix(below) for line in volumes.run(platform, "disk", LIST).splitlines()]
    return [item.key.removeprefix(platform.root) for item in _small_bucket(platform).objects.filter(Prefix=platform.root)]


def test_a_target_that_is_too_small_is_told_before_anything_is_written(full: Witness) -> None:
    full.completed("Backup", "ample-now")
    target = {"newClaim": {"name": "too-small", "size": "16Mi", "storageClassName": "tiny"}}
    full.platform.restore("too-small", {"backupRef": {"name": "ample-now"}}, target)
    says = ("the target is too small", f"the backup holds {60 << 20} bytes", "Nothing was written", "Restore into a larger volume")
    ended = full.failed("RestoreJob", "too-small", "TargetFull", *says)
    assert ended["status"]["failure"]["exitCode"] == 73
    assert volumes.fingerprint(full.platform, "too-small", "content")[1:] == []


@pytest.mark.parametrize(
    ("storage", "says"),
    [
        ("disk", ("no room left for", "on claim disk", "Enlarge the claim, raise the quota, or remove old backups")),
        (SERVER, ("the store is full or its quota is used up", "in bucket backups", "Add room, or remove old backups")),
    ],
)
def test_a_full_store_is_told_and_keeps_nothing_of_the_run(full: Witness, storage: str, says: tuple[str, ...]) -> None:
    ended = full.failed("Backup", f"{storage}-now", "StorageFull", *says, deadline=120)
    assert ended["status"]["failure"]["exitCode"] == 73
    # A MinIO whose disk fills up may say at first only that something went wrong, which is tried again.
    assert ended["status"]["attempts"] == 1 or storage == SERVER
    earlier = full.platform.get("Backup", f"{storage}-earlier")["status"]["archive"]
    # An attempt of which the server does not say whether it stored anything stays announced, for the sweep.
    unclear = ended["status"]["attempts"] if storage == SERVER else 0
    assert check_store(_keys(full.platform, storage), killed=unclear) == [earlier]


@pytest.mark.parametrize("storage", STORES)
def test_the_earlier_backup_of_a_full_store_restores(full: Witness, storage: str) -> None:
    full.failed("Backup", f"{storage}-now", "StorageFull", deadline=120)
    target = {"newClaim": {"name": f"{storage}-back", "size": "64Mi"}}
    full.platform.restore(f"{storage}-back", {"backupRef": {"name": f"{storage}-earlier"}}, target)
    assert full.completed("RestoreJob", f"{storage}-back")["status"]["bytesRestored"] == 1000


def test_no_secret_shows_anywhere(full: Witness) -> None:
    full.no_secrets()
