"""RestoreJob: brings one backup back, once."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from iot_backup.api.outcome import RunStatus
from iot_backup.api.references import NameRef, SecretKeyRef
from iot_backup.api.resource import Part, Resource
from iot_backup.api.scalars import ArchiveId, BackupType, Checksum, ClaimSize, Count, ObjectName, Time
from iot_backup.api.workload import Limits, Worker

AccessMode = Literal["ReadWriteOnce", "ReadWriteMany", "ReadWriteOncePod"]


class NewClaim(Part):
    """A claim to create."""

    name: ObjectName
    size: ClaimSize
    storage_class_name: ObjectName | None = None
    access_modes: Annotated[tuple[AccessMode, ...], Field(min_length=1, max_length=3)] = ("ReadWriteOnce",)


class Target(Part):
    """Exactly one of `claim_name` and `new_claim`."""

    claim_name: ObjectName | None = None
    new_claim: NewClaim | None = None
    allow_in_use: bool = False

    @model_validator(mode="after")
    def _one_target(self) -> Self:
        if (self.claim_name is None) == (self.new_claim is None):
            raise ValueError("give exactly one target: claimName for a claim that is there, newClaim for one to create")
        return self

    @property
    def claim(self) -> str:
        """Name of the claim it writes to, whether it is there already or not."""
        return self.claim_name or (self.new_claim.name if self.new_claim else "")


class Spec(Limits):
    """Immutable but for `cancel`. Exactly one source: backupRef; backupJobRef with latest; storageRef with archive."""

    backup_ref: NameRef | None = None
    backup_job_ref: NameRef | None = None
    latest: bool | None = None
    storage_ref: NameRef | None = None
    archive: ArchiveId | None = None
    type: BackupType = "Full"
    target: Target
    on_conflict: Literal["Overwrite"] = "Overwrite"
    verify: bool = True
    identity_secret_ref: SecretKeyRef | None = None
    cancel: bool = False
    worker: Worker = Worker()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(ref is not None for ref in (self.backup_ref, self.backup_job_ref, self.storage_ref)) != 1:
            raise ValueError("give exactly one source: backupRef, or backupJobRef with latest: true, or storageRef with archive")
        if (self.backup_job_ref is not None) != bool(self.latest):
            raise ValueError(
                "backupJobRef and latest: true belong together: give both to restore the BackupJob's newest good backup, or neither"
            )
        if (self.storage_ref is not None) != (self.archive is not None):
            raise ValueError("storageRef and archive belong together: give both to restore an archive by its id, or neither")
        return self


class Resolved(Part):
    """The backup that was chosen; once set, it stays."""

    storage: Annotated[str, Field(max_length=63)] | None = None
    archive: ArchiveId | None = None
    chain: Annotated[str, Field(max_length=63)] | None = None
    backup: Annotated[str, Field(max_length=253)] | None = None
    snapshot_time: Time | None = None
    checksum: Checksum | None = None


class RestoreJobStatus(RunStatus):
    target: Annotated[str, Field(max_length=253)] | None = None
    resolved: Resolved | None = None
    files_restored: Count | None = None
    bytes_restored: Count | None = None
    size: Annotated[str, Field(max_length=32)] | None = None


class RestoreJob(Resource):
    """Writes one backup into a claim, once."""

    KIND: ClassVar[str] = "RestoreJob"
    PLURAL: ClassVar[str] = "restorejobs"

    spec: Spec
    status: RestoreJobStatus = RestoreJobStatus()
