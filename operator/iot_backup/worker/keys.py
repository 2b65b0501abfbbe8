"""The secrets of a run, from its mounted files to keys."""

from __future__ import annotations

from pathlib import Path

from iot_backup.core import spec
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.signing import WriterKey
from iot_backup.storage.opening import read_secret, read_secret_bytes


def writer(order: spec.Repository, secrets: Path) -> WriterKey:
    """The key that signs this cluster's manifests. SecretMissing, KeyMissing."""
    return WriterKey(read_secret_bytes(order.writer_key, secrets))


def passphrase(order: spec.Repository, secrets: Path) -> Passphrase | None:
    """What opens the repository's identity, where the order names one. SecretMissing, KeyMissing."""
    source = order.encryption.passphrase
    return Passphrase.cleaned(read_secret_bytes(source, secrets)) if source else None


def brought(source: spec.SecretSource | None, secrets: Path) -> Identity | None:
    """The identity that a person brought for a restore. SecretMissing, InvalidSpec."""
    return Identity.parsed(read_secret(source, secrets)) if source else None
