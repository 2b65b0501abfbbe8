"""Backup: one run of a BackupJob, and its row in the catalogue."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from iot_backup.api.outcome import RunStatus
from iot_backup.api.references import NameRef
from iot_backup.api.resource import Part, Resource
from iot_backup.api.scalars import ArchiveId, BackupType, Checksum, Count, OwnName, Seq, Sha256, Time


class Run(Part):
    """The Job this object records; set by the operator alone, and then it never starts one."""

    job_name: OwnName
    job_uid: Annotated[str, Field(min_length=1, max_length=63)] = Field(alias="jobUID")


class Spec(Part):
    """Immutable but for `cancel`, which goes from false to true only."""

    job_ref: NameRef
    type: BackupType | None = None
    accept_newest: bool = False
    cancel: bool = False
    run: Run | None = None


class Owner(Part):
    """Owner of the source's root folder, numeric."""

    uid: Count
    gid: Count


class BackupStatus(RunStatus):
    type: BackupType | None = None
    origin: Literal["Scheduled", "Manual"] | None = None
    size_bytes: Count | None = None
    size: Annotated[str, Field(max_length=32)] | None = None
    source_bytes: Count | None = None
    files: Count | None = None
    checksum: Checksum | None = None
    archive: ArchiveId | None = None
    chain: Annotated[str, Field(max_length=63)] | None = None
    parent: ArchiveId | None = None
    seq: Seq | None = None
    manifest_sha256: Sha256 | None = Field(default=None, alias="manifestSha256")
    repository_id: Annotated[str, Field(max_length=253)] | None = None
    storage_ref: NameRef | None = None
    snapshot_time: Time | None = None
    source_owner: Owner | None = None


class Backup(Resource):
    """One run of a BackupJob and what it stored."""

    KIND: ClassVar[str] = "Backup"
    PLURAL: ClassVar[str] = "backups"

    spec: Spec
    status: BackupStatus = BackupStatus()
