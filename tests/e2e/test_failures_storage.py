"""Stores that were never of use: a BackupStorage that names what is not there, or may not be entered. All at once, then one by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cluster.cluster import MINIO_ENDPOINT
from tests.e2e import volumes
from tests.e2e.apiserver import ApiServer, Refused
from tests.e2e.failing import Witness, kstatus
from tests.e2e.objects import Json
from tests.e2e.store_secrets import WRONG_PASSWORD, credentials, other_authority

NEVER: dict[str, tuple[Json, Json | None, str, tuple[str, ...]]] = {
    "no-secret": (
        {"credentialsSecretRef": {"name": "absent"}},
        None,
        "SecretMissing",
        ("Secret absent", "aws-access-key-id", "does not exist in this namespace", "Add it"),
    ),
    "no-key": (
        {"credentialsSecretRef": {"name": "backup-secrets", "accessKeyIdKey": "nothing-here"}},
        None,
        "SecretMissing",
        ("Secret backup-secrets", "lacks key nothing-here", "Add it"),
    ),
    "no-passphrase": (
        {},
        {"secretRef": {"name": "backup-secrets", "key": "no-passphrase"}},
        "SecretMissing",
        ("Secret backup-secrets", "no-passphrase", "Add it"),
    ),
    "no-ca": ({"caBundleSecretRef": {"name": "absent"}}, None, "SecretMissing", ("Secret absent", "ca.crt", "Add it")),
    "no-bucket": ({"bucket": "no-such-bucket"}, None, "BucketMissing", ("no-such-bucket", "does not exist", "Create it")),
    "unknown-user": (
        {"credentialsSecretRef": {"name": "unknown-user"}},
        None,
        "AccessDenied",
        (MINIO_ENDPOINT, "access key in Secret unknown-user", "Put a valid pair"),
    ),
    "wrong-password": (
        {"credentialsSecretRef": {"name": "wrong-password"}},
        None,
        "AccessDenied",
        ("secret key in Secret wrong-password", "Put a valid pair"),
    ),
    "untrusted": (
        {"caBundleSecretRef": None},
        None,
        "UntrustedCertificate",
        (MINIO_ENDPOINT, "no caBundleSecretRef is set", "name it in spec.s3.caBundleSecretRef"),
    ),
    "other-authority": (
        {"caBundleSecretRef": {"name": "other-authority"}},
        None,
        "UntrustedCertificate",
        ("not signed by an authority", "Secret other-authority", "Put the authority's certificate"),
    ),
    "no-server": (
        {"endpoint": "https://nobody.minio.svc:9000"},
        None,
        "StorageUnavailable",
        ("https://nobody.minio.svc:9000", "cannot be found", "Check spec.s3.endpoint"),
    ),
}
"""By name: changes of spec.s3, spec.encryption, reason, and what the message must say: what, why, what to do."""


START_DEADLINE = 15
"""Seconds that a Backup waits for its storage."""


@pytest.fixture(scope="module")
def storages(witness: Witness) -> Iterator[Witness]:
    """All of them, just made, each with a BackupJob."""
    platform = witness.platform
    platform.apply(
        volumes.claim("data"),
        credentials("unknown-user", aws_access_key_id="nobody-knows-me"),
        credentials("wrong-password", aws_secret_access_key=WRONG_PASSWORD),
        other_authority("other-authority"),
    )
    for name, (s3, encryption, _, _) in NEVER.items():
        storage = platform.storage(name, prefix=f"{platform.prefix}/{name}", s3=s3, encryption=encryption)
        storage["spec"]["s3"] = {k: v for k, v in storage["spec"]["s3"].items() if v is not None}
        platform.apply(storage, platform.backup_job(name, "data", name, startDeadline=f"{START_DEADLINE}s"))
    yield witness
    for name in NEVER:
        platform.objects.delete("BackupStorage", platform.namespace, name)  # or it would be probed on and on


@pytest.fixture(scope="module")
def backups(storages: Witness) -> Witness:
    """A Backup for each, made when the storage had said what is wrong with it."""
    for name, (_, _, reason, _) in NEVER.items():
        storages.tells("BackupStorage", name, "False", reason, deadline=90)
    for name in NEVER:
        storages.platform.backup(name, f"{name}-now")
    return storages


@pytest.mark.parametrize("name", NEVER)
def test_a_storage_says_why_it_cannot_be_used(storages: Witness, name: str) -> None:
    _, _, reason, says = NEVER[name]
    body = storages.tells("BackupStorage", name, "False", reason, *says, deadline=90).body
    assert kstatus(body) == "InProgress", "the operator goes on trying"
    assert "fingerprint" not in body["status"]
    job = storages.tells("BackupJob", name, "False", "StorageNotReady", f"BackupStorage {name} was never Ready").body
    assert kstatus(job) == "InProgress"


@pytest.mark.parametrize("name", NEVER)
def test_what_needs_it_waits_with_that_reason_and_gives_up_at_its_start_deadline(backups: Witness, name: str) -> None:
    _, _, reason, says = NEVER[name]
    backups.waits("Backup", f"{name}-now", "StorageNotReady", f"BackupStorage {name} was never Ready", reason, *says)
    ended = backups.failed("Backup", f"{name}-now", "StorageNotReady", f"gave up after {START_DEADLINE} s", reason, *says, deadline=90)
    assert "jobName" not in ended["status"], "no worker was started"


def test_nothing_lies_in_the_bucket_for_them(backups: Witness) -> None:
    platform = backups.platform
    assert [item.key for name in NEVER for item in platform.bucket.objects.filter(Prefix=f"{platform.prefix}/{name}/")] == []


def test_their_secrets_show_nowhere(backups: Witness) -> None:
    backups.no_secrets(WRONG_PASSWORD, "nobody-knows-me")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"volume": {"claimName": "data"}}, "exactly one of s3 and volume: a second place is a second BackupStorage"),
        ({"s3": None}, "exactly one of s3 and volume"),
        ({"encryption": None}, "spec.encryption: Required value"),
        ({"encryption": {"algorithm": "Age"}}, "algorithms Age and AES256 need secretRef (a passphrase) or recipients"),
        ({"encryption": {"algorithm": "None", "secretRef": {"name": "a", "key": "b"}}}, "algorithm None seals nothing"),
    ],
)
def test_a_storage_in_two_places_or_without_a_key_is_refused_by_the_api_server(
    witness: Witness, api: ApiServer, change: Json, says: str
) -> None:
    storage = witness.platform.storage("refused")
    storage["spec"] = {k: v for k, v in {**storage["spec"], **change}.items() if v is not None}
    body = {
        "apiVersion": "backup.iot-system.io/v1alpha1",
        **storage,
        "metadata": {"name": "refused", "namespace": witness.platform.namespace},
    }
    with pytest.raises(Refused) as refusal:
        api.create(body, dry_run=True)
    assert says in refusal.value.message
