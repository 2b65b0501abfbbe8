"""BackupJob: what is backed up, when and where to."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from iot_backup.api.references import NameRef
from iot_backup.api.resource import Part, Resource, Status
from iot_backup.api.scalars import (
    BackupType,
    ChainName,
    Checksum,
    ClaimPath,
    Count,
    CronText,
    Globs,
    ObjectName,
    Phase,
    ScheduleName,
    Seq,
    Sha256,
    Time,
    TimeZone,
)
from iot_backup.api.workload import Limits, Worker


class Schedule(Part):
    """One of several schedules."""

    name: ScheduleName
    schedule: CronText
    time_zone: TimeZone | None = None
    type: BackupType | None = None


class VolumeSource(Part):
    """The files of a claim, or of a folder in it."""

    claim_name: ObjectName
    path: ClaimPath = ""
    include: Globs | None = None
    exclude: Globs | None = None
    one_file_system: bool = False


class Source(Part):
    volume: VolumeSource


class Compression(Part):
    algorithm: Literal["Zstd", "None"] = "Zstd"
    level: Annotated[int, Field(ge=1, le=19)] = 1


class Spec(Limits):
    """At most one of `schedule` and `schedules`; neither means on demand only."""

    type: BackupType = "Full"
    schedule: CronText | None = None
    time_zone: TimeZone | None = None
    schedules: Annotated[tuple[Schedule, ...], Field(min_length=1, max_length=8)] | None = None
    suspend: bool = False
    storage_ref: NameRef
    chain: ChainName | None = None
    source: Source
    max_chain_length: Annotated[int, Field(ge=1, le=100)] = 30
    compression: Compression = Compression()
    allow_partial: bool = False
    allow_empty: bool = False
    concurrency_policy: Literal["Forbid", "Replace", "Allow"] = "Forbid"
    starting_deadline_seconds: Annotated[int, Field(ge=60, le=31536000)] = 3600
    worker: Worker = Worker()

    @model_validator(mode="after")
    def _one_way_to_say_when(self) -> Self:
        if self.schedule and self.schedules:
            raise ValueError("schedule and schedules exclude each other: keep schedule for one time, schedules for several")
        if self.time_zone and not self.schedule:
            raise ValueError("timeZone belongs to schedule: with schedules give each entry a timeZone, without any schedule remove it")
        names = [schedule.name for schedule in self.schedules or ()]
        if len(set(names)) < len(names):
            raise ValueError("two schedules have the same name: give each its own")
        return self


class LastBackup(Part):
    """The newest run, whether it went well or not."""

    name: Annotated[str, Field(max_length=253)] | None = None
    type: BackupType | None = None
    phase: Phase | None = None
    start_time: Time | None = None
    completion_time: Time | None = None
    size_bytes: Count | None = None
    size: Annotated[str, Field(max_length=32)] | None = None
    source_bytes: Count | None = None
    files: Count | None = None
    checksum: Checksum | None = None


class Newest(Part):
    """The newest backup of the job that ever counted: what a store must still show."""

    repository_id: Annotated[str, Field(max_length=253)] | None = None
    chain: Annotated[str, Field(max_length=63)] | None = None
    seq: Seq | None = None
    manifest_sha256: Sha256 | None = Field(default=None, alias="manifestSha256")
    completion_time: Time | None = None


class BackupJobStatus(Status):
    schedule: Annotated[str, Field(max_length=1024)] | None = None
    last_backup: LastBackup | None = None
    newest: Newest | None = None
    last_success_time: Time | None = None
    next_run_time: Time | None = None
    consecutive_failures: Count | None = None
    last_handled_run_request: Annotated[str, Field(max_length=1024)] | None = None


class BackupJob(Resource):
    """Backs up one source to one BackupStorage."""

    KIND: ClassVar[str] = "BackupJob"
    PLURAL: ClassVar[str] = "backupjobs"

    spec: Spec
    status: BackupJobStatus = BackupJobStatus()

    @property
    def chain(self) -> str:
        """The folder and history in the repository that its backups belong to."""
        return self.spec.chain or self.name
