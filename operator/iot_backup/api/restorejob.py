"""RestoreJob: brings one backup back, once."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from iot_backup.api.outcome import RunStatus
from iot_backup.api.references import NameRef, SecretKeyRef
from iot_backup.api.resource import Part, Resource
from iot_backup.api.scalars import ArchiveId, Checksum, ClaimSize, Count, Globs, ObjectName, Time
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
    """Immutable but for `cancel`. Exactly one source: backupRef; backupJobRef with latest or asOf; storageRef with archive."""

    backup_ref: NameRef | None = None
    backup_job_ref: NameRef | None = None
    latest: bool | None = None
    as_of: Time | None = None
    accept_newest: bool = False
    storage_ref: NameRef | None = None
    archive: ArchiveId | None = None
    type: Literal["Full", "Selective"] = "Full"
    include: Globs | None = None
    exclude: Globs | None = None
    mode: Literal["Restore", "Plan"] = "Restore"
    target: Target
    on_conflict: Literal["Overwrite", "KeepNewer", "SkipExisting", "Mirror"] = "Overwrite"
    verify: bool = True
    identity_secret_ref: SecretKeyRef | None = None
    cancel: bool = False
    worker: Worker = Worker()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(ref is not None for ref in (self.backup_ref, self.backup_job_ref, self.storage_ref)) != 1:
            raise ValueError("give exactly one source: backupRef, or backupJobRef with latest: true or asOf, or storageRef with archive")
        if (self.backup_job_ref is not None) != (bool(self.latest) or self.as_of is not None):
            raise ValueError(
                "backupJobRef goes with latest: true or with asOf: "
                "give it and one of them to restore a good backup of the BackupJob, or none of the three"
            )
        if self.latest and self.as_of is not None:
            raise ValueError("latest: true and asOf exclude each other: keep latest for the newest backup, asOf for the state at a time")
        if (self.storage_ref is not None) != (self.archive is not None):
            raise ValueError("storageRef and archive belong together: give both to restore an archive by its id, or neither")
        return self

    @model_validator(mode="after")
    def _what_of_it(self) -> Self:
        chosen = self.include is not None or self.exclude is not None
        if self.type == "Selective" and not chosen:
            raise ValueError(
                "type: Selective needs include or exclude: name what to bring back, for example include: [/config/], or set type: Full"
            )
        if self.type != "Selective" and chosen:
            raise ValueError("include and exclude go with type: Selective: set it to restore a part, or remove them to restore everything")
        if self.mode == "Plan" and self.target.claim_name is None:
            raise ValueError("mode: Plan compares with a claim that is there: give target.claimName, a new claim would only be empty")
        return self


class Resolved(Part):
    """The backup that was chosen; once set, it stays."""

    storage: Annotated[str, Field(max_length=63)] | None = None
    archive: ArchiveId | None = None
    chain: Annotated[str, Field(max_length=63)] | None = None
    backup: Annotated[str, Field(max_length=253)] | None = None
    snapshot_time: Time | None = None
    checksum: Checksum | None = None


class Planned(Part):
    """What a restore would do: report.PlanResult for people."""

    members: Count | None = None
    files: Count | None = None
    bytes: Count | None = None
    size: Annotated[str, Field(max_length=32)] | None = None
    add: Count | None = None
    change: Count | None = None
    same: Count | None = None
    keep: Count | None = None
    delete: Count | None = None
    read_bytes: Count | None = None
    space_needed: Count | None = None
    space_free: Count | None = None
    missing: Annotated[tuple[Annotated[str, Field(max_length=253)], ...], Field(max_length=8)] = ()
    seconds: Count | None = None


class RestoreJobStatus(RunStatus):
    target: Annotated[str, Field(max_length=253)] | None = None
    resolved: Resolved | None = None
    files_restored: Count | None = None
    bytes_restored: Count | None = None
    size: Annotated[str, Field(max_length=32)] | None = None
    kept: Count | None = None
    deleted: Count | None = None
    plan: Planned | None = None


class RestoreJob(Resource):
    """Writes one backup, or what is chosen of it, into a claim, once; or only plans to."""

    KIND: ClassVar[str] = "RestoreJob"
    PLURAL: ClassVar[str] = "restorejobs"

    spec: Spec
    status: RestoreJobStatus = RestoreJobStatus()
