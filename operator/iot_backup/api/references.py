"""References to other objects; always of the same namespace."""

from __future__ import annotations

from iot_backup.api.resource import Part
from iot_backup.api.scalars import ObjectName, OwnName, SecretKey


class NameRef(Part):
    """One of our objects, by name."""

    name: OwnName


class SecretKeyRef(Part):
    """One key of a Secret."""

    name: ObjectName
    key: SecretKey


class CaBundleRef(Part):
    """The key of a Secret that holds PEM certificates."""

    name: ObjectName
    key: SecretKey = "ca.crt"


class S3CredentialsRef(Part):
    """The two keys of a Secret that hold S3 credentials."""

    name: ObjectName
    access_key_id_key: SecretKey = "aws-access-key-id"
    secret_access_key_key: SecretKey = "aws-secret-access-key"  # noqa: S105 - the name of a key
