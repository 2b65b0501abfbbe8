"""Secrets of stores, good and bad."""

from __future__ import annotations

from datetime import UTC, datetime

from tests.cluster.certificates import Authority
from tests.cluster.cluster import MINIO_PASSWORD, MINIO_USER
from tests.e2e.objects import Json

WRONG_PASSWORD = "a-wrong-secret-access-key"


def secret(name: str, **values: str) -> Json:
    """A Secret; `_` in a key stands for `-`."""
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": name},
        "stringData": {k.replace("_", "-"): v for k, v in values.items()},
    }


def credentials(name: str, **changes: str) -> Json:
    """A Secret with working credentials, but for `changes`."""
    return secret(name, **{"aws_access_key_id": MINIO_USER, "aws_secret_access_key": MINIO_PASSWORD, **changes})


def other_authority(name: str) -> Json:
    """A Secret with the certificate of an authority that signed nothing here."""
    return secret(name, **{"ca.crt": Authority("somebody-else", datetime.now(UTC)).pair.certificate.decode()})
