"""BackupStorage: where backups are kept, and how they are sealed."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from iot_backup.api.references import CaBundleRef, S3CredentialsRef, SecretKeyRef
from iot_backup.api.resource import Part, Resource, Status
from iot_backup.api.scalars import ClaimPath, NumericId, ObjectName, Prefix, Sha256, Time
from iot_backup.vocabulary import WORKER_UID

Recipient = Annotated[str, Field(max_length=62, pattern=r"^age1[02-9ac-hj-np-z]{58}$")]


class S3(Part):
    """An S3 bucket; without `endpoint` Amazon's."""

    bucket: Annotated[str, Field(min_length=3, max_length=63, pattern=r"^[a-z0-9][a-z0-9.-]*[a-z0-9]$")]
    prefix: Prefix = ""
    region: Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9-]+$")] = "us-east-1"
    endpoint: Annotated[str, Field(max_length=512, pattern=r"^https?://[A-Za-z0-9.:\[\]-]+(/[A-Za-z0-9_./-]*)?$")] | None = None
    path_style: bool = False
    credentials_secret_ref: S3CredentialsRef
    ca_bundle_secret_ref: CaBundleRef | None = None


class Volume(Part):
    """A claim; everything in it belongs to `group`."""

    claim_name: ObjectName
    path: ClaimPath = ""
    group: NumericId = WORKER_UID


class Encryption(Part):
    """How archives are sealed: a passphrase, recipients, both, or openly nothing."""

    algorithm: Literal["Age", "AES256", "None"] = "Age"
    secret_ref: SecretKeyRef | None = None
    recipients: Annotated[tuple[Recipient, ...], Field(min_length=1, max_length=16)] | None = None
    fingerprint: Sha256 | None = None

    @model_validator(mode="after")
    def _said_how(self) -> Self:
        keys = self.secret_ref is not None or bool(self.recipients)
        if self.algorithm != "None" and not keys:
            raise ValueError(
                "algorithms Age and AES256 need secretRef (a passphrase) or recipients (age1...); "
                "to keep backups in the clear write algorithm: None"
            )
        if self.algorithm == "None" and keys:
            raise ValueError("algorithm None seals nothing: remove secretRef and recipients, or write algorithm: Age or AES256")
        return self


class Spec(Part):
    """Exactly one of `s3` and `volume`."""

    s3: S3 | None = None
    volume: Volume | None = None
    encryption: Encryption

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if (self.s3 is None) == (self.volume is None):
            raise ValueError("give exactly one of s3 and volume: a second place is a second BackupStorage")
        return self


class Capabilities(Part):
    """What the store can do, as tried; None before a probe."""

    conditional_writes: bool | None = None
    object_lock: bool | None = None
    versioning: bool | None = None


class BackupStorageStatus(Status):
    location: Annotated[str, Field(max_length=2048)] | None = None
    repository_id: Annotated[str, Field(max_length=253)] | None = None
    fingerprint: Sha256 | None = None
    recipient: Annotated[str, Field(max_length=253)] | None = None
    writer: Annotated[str, Field(max_length=16, pattern=r"^[0-9a-f]{16}$")] | None = None
    writer_admitted: bool | None = None
    capabilities: Capabilities | None = None
    last_probe_time: Time | None = None
    last_handled_probe_request: Annotated[str, Field(max_length=1024)] | None = None


class BackupStorage(Resource):
    """A place where backups of a namespace are kept."""

    KIND: ClassVar[str] = "BackupStorage"
    PLURAL: ClassVar[str] = "backupstorages"

    spec: Spec
    status: BackupStorageStatus = BackupStorageStatus()
