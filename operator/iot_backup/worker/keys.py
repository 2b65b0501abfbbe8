"""The secrets of a run, from what its order names to keys."""

from __future__ import annotations

from iot_backup.core import spec
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.signing import WriterKey
from iot_backup.storage import secret_values
from iot_backup.storage.secret_values import Secrets


def writer(order: spec.Repository, secrets: Secrets) -> WriterKey:
    """The key that signs this cluster's manifests. SecretMissing, KeyMissing."""
    return WriterKey(secrets.value(order.writer_key))


def passphrase(order: spec.Repository, secrets: Secrets) -> Passphrase | None:
    """What opens the repository's identity, where the order names one. SecretMissing, KeyMissing."""
    source = order.encryption.passphrase
    return Passphrase.cleaned(secrets.value(source)) if source else None


def brought(source: spec.SecretSource | None, secrets: Secrets) -> Identity | None:
    """The identity that a person brought for a restore. SecretMissing, InvalidSpec."""
    return Identity.parsed(secret_values.text(secrets, source)) if source else None
