"""Stores that were of use until somebody changed something: what runs and storages say, and what is left of the earlier backups."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e import volumes
from tests.e2e.failing import Witness, check_store
from tests.e2e.objects import Json
from tests.e2e.platform import Platform, condition
from tests.e2e.store_secrets import WRONG_PASSWORD, credentials, other_authority, secret

FILL = "import os\nfor i in range(20): open(f'/data/{i}', 'wb').write(os.urandom(5000))"
BROKEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "secret-gone": ("SecretMissing", ("Secret secret-gone", "aws-access-key-id", "does not exist", "Add it")),
    "key-gone": ("SecretMissing", ("Secret key-gone", "lacks key aws-secret-access-key", "Add it")),
    "password-changed": ("AccessDenied", ("secret key in Secret password-changed", "Put a valid pair")),
    "authority-changed": ("UntrustedCertificate", ("not signed by an authority", "key ca.crt of Secret authority-changed")),
    "bucket-gone": ("BucketMissing", ("does not exist", "Create it")),
    "keys-gone": ("KeyMissing", ("no key file", "Bring keys/ back")),
}
"""What broke: reason, and what the message must say."""
RETRIED = "bucket-gone"


@pytest.fixture(scope="module")
def tree(witness: Witness) -> Iterator[list[str]]:
    """What was backed up, once, on storages of which each broke in its way since; a second Backup of each is under way."""
    platform = witness.platform
    client = platform.bucket.meta.client
    bucket = f"{platform.prefix}-gone"
    client.create_bucket(Bucket=bucket)
    _storages(platform, bucket)
    volumes.filled(platform, "data", FILL)
    for name in BROKEN:
        platform.wait_condition("BackupStorage", name, "Ready", deadline=90)
        platform.backup(name, f"{name}-earlier")
    tree = volumes.fingerprint(platform, "data", "content")
    for name in BROKEN:
        platform.completed("Backup", f"{name}-earlier")
    _break(platform, client, bucket)
    for name in BROKEN:
        platform.backup(name, f"{name}-now")
    yield tree
    if bucket in [found["Name"] for found in client.list_buckets()["Buckets"]]:
        client.delete_bucket(Bucket=bucket)


def _storages(platform: Platform, bucket: str) -> None:
    changes: dict[str, Json] = {
        **{name: {"credentialsSecretRef": {"name": name}} for name in ("secret-gone", "key-gone", "password-changed")},
        "authority-changed": {"caBundleSecretRef": {"name": "authority-changed"}},
        "bucket-gone": {"bucket": bucket},
        "keys-gone": {},
    }
    platform.apply(*(credentials(name) for name in ("secret-gone", "key-gone", "password-changed")))
    platform.apply(secret("authority-changed", **{"ca.crt": platform.operator.cluster.minio_ca.read_text()}))
    for name, s3 in changes.items():
        platform.apply(platform.storage(name, prefix=f"{platform.prefix}/{name}", s3=s3))
        platform.apply(platform.backup_job(name, "data", name, backoffLimit=1))


def _break(platform: Platform, client: Any, bucket: str) -> None:
    platform.delete("Secret", "secret-gone")
    platform.patch("Secret", "key-gone", {"data": {"aws-secret-access-key": None}})
    platform.apply(credentials("password-changed", aws_secret_access_key=WRONG_PASSWORD), other_authority("authority-changed"))
    for item in client.list_objects_v2(Bucket=bucket)["Contents"]:
        client.delete_object(Bucket=bucket, Key=item["Key"])
    client.delete_bucket(Bucket=bucket)
    platform.bucket.objects.filter(Prefix=f"{platform.prefix}/keys-gone/ns/{platform.namespace}/keys/").delete()


@pytest.mark.parametrize("name", BROKEN)
def test_a_run_says_why_it_could_not_use_the_store(tree: list[str], witness: Witness, name: str) -> None:
    reason, says = BROKEN[name]
    if name == RETRIED:
        waiting = witness.waits("Backup", f"{name}-now", reason, *says, "may try again", deadline=90)
        assert waiting["status"]["failure"]["exitCode"] == 69
    ended = witness.failed("Backup", f"{name}-now", reason, *says, deadline=90)
    assert ended["status"]["attempts"] == (2 if name == RETRIED else 1)
    assert ended["status"]["failure"]["exitCode"] == (69 if name == RETRIED else 77)


@pytest.mark.parametrize("name", BROKEN)
def test_its_backup_job_is_unhealthy_and_still_in_place(tree: list[str], witness: Witness, name: str) -> None:
    witness.failed("Backup", f"{name}-now", BROKEN[name][0], deadline=90)
    job = witness.platform.wait_condition("BackupJob", name, "Healthy", "False", reason="LastRunFailed", deadline=10)
    assert BROKEN[name][0] in condition(job, "Healthy")["message"]
    assert condition(job, "Ready")["status"] == "True", "a bad night does not turn Ready"
    status = job["status"]
    assert (status["lastBackup"]["phase"], status["consecutiveFailures"]) == ("Failed", 1)
    assert status["lastSuccessTime"]


@pytest.mark.parametrize("name", BROKEN)
def test_a_storage_says_what_broke_when_it_is_looked_at(tree: list[str], witness: Witness, name: str) -> None:
    reason, says = BROKEN[name]
    pinned = witness.last("BackupStorage", name)["status"]["fingerprint"]
    witness.platform.annotate("BackupStorage", name, probe_requested_at="now")
    body = witness.tells("BackupStorage", name, "False", reason, *says, deadline=90).body
    assert body["status"]["lastHandledProbeRequest"] == "now"
    assert body["status"]["fingerprint"] == pinned, "what was pinned stays pinned"


@pytest.mark.parametrize("name", sorted(BROKEN.keys() - {RETRIED}))
def test_a_failed_run_leaves_the_store_as_it_was(tree: list[str], witness: Witness, name: str) -> None:
    platform = witness.platform
    witness.failed("Backup", f"{name}-now", BROKEN[name][0], deadline=90)
    root = f"{platform.prefix}/{name}/ns/{platform.namespace}/"
    keys = [item.key.removeprefix(root) for item in platform.bucket.objects.filter(Prefix=root)]
    assert check_store(keys) == [platform.get("Backup", f"{name}-earlier")["status"]["archive"]]


def test_once_mended_it_is_ready_again_by_itself_and_the_earlier_backup_restores(tree: list[str], witness: Witness) -> None:
    platform = witness.platform
    witness.tells("BackupStorage", "password-changed", "False", "AccessDenied", deadline=90)
    target = {"newClaim": {"name": "back", "size": "64Mi"}}
    name = platform.restore("before-mending", {"backupRef": {"name": "password-changed-earlier"}}, target)
    witness.waits("RestoreJob", name, "StorageNotReady", "BackupStorage password-changed is not Ready", "AccessDenied")
    platform.apply(credentials("password-changed"))
    witness.completed("RestoreJob", name, deadline=120)
    assert condition(platform.get("BackupStorage", "password-changed"), "Ready")["status"] == "True"
    assert volumes.fingerprint(platform, "back", "content") == tree


def test_no_secret_shows_anywhere(tree: list[str], witness: Witness) -> None:
    witness.no_secrets(WRONG_PASSWORD)
