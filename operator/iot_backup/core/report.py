"""The worker's answer: one JSON document in the container's termination message, below 4096 bytes, written once, at the end.

The operator treats it as untrusted input: `decode` checks shape and lengths, and the caller compares `job` and `job_uid` with
the Job it looked at. The same facts are in the store's manifest, so a lost message loses nothing.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import Field, ValidationError

from iot_backup.core.spec import BackupType, Hex, Name, Wire

MAX_BYTES = 3500
"""Of the encoded report: the kubelet cuts a container's message at 4096 and a pod's messages at 12 KiB."""

Short = Annotated[str, Field(max_length=253)]
Message = Annotated[str, Field(max_length=1500)]


class Failure(Wire):
    """Why a run failed, in words for people."""

    reason: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]{0,62}$")]
    message: Message
    exit_code: int
    retryable: bool = False


class Warn(Wire):
    """Something a person should know about a run that went well; `count` times, with one example in the message."""

    reason: Annotated[str, Field(pattern=r"^[A-Z][A-Za-z]{0,62}$")]
    message: Message
    count: int = 1


class BackupResult(Wire):
    """A committed member."""

    archive: Name
    """Its id."""
    chain: Name
    type: BackupType
    """What it became: an Incremental without a base is a Full."""
    seq: int
    parent: Name | None = None
    start_time: datetime
    completion_time: datetime
    snapshot_time: datetime
    """When the walk began: what `asOf` compares with."""
    size_bytes: int = Field(ge=0)
    """Of the archive in the store."""
    source_bytes: int = Field(ge=0)
    """Of all files' contents, without the holes of sparse files, wherever they are stored."""
    files: int = Field(ge=0)
    """Regular files and hard links."""
    entries: int = Field(ge=0)
    """Everything: folders and links too."""
    checksum: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]
    """Of the archive's bytes in the store."""
    manifest_sha256: Hex
    owner_uid: int = 0
    owner_gid: int = 0
    """Who a restore into a new claim runs as: the owner of the source's root folder, and where that is root, who read it."""
    partial: bool = False
    """Some files could not be read."""
    inconsistent_source: bool = False
    """The source is the data folder of a running PostgreSQL."""
    writer_admitted: bool = True


class RestoreResult(Wire):
    """A restored tree, verified and flushed to disk."""

    archive: Name
    chain: Name
    type: Literal["Full", "Selective"]
    snapshot_time: datetime
    files: int = Field(ge=0)
    bytes: int = Field(ge=0)
    kept: int = Field(default=0, ge=0)
    """Paths that onConflict left as they were."""
    deleted: int = Field(default=0, ge=0)
    """Paths that Mirror removed, or that were in a folder which made way for something else."""
    checksum: Annotated[str, Field(pattern=r"^sha256:[0-9a-f]{64}$")]


class PlanResult(Wire):
    """What a restore would do. Nothing was written."""

    archive: Name
    chain: Name
    snapshot_time: datetime
    members: int = Field(ge=1)
    """Backups of the chain whose archives are needed."""
    files: int = Field(ge=0)
    """Regular files and hard links that would be restored."""
    bytes: int = Field(ge=0)
    add: int = Field(ge=0)
    """Paths that are not in the target."""
    change: int = Field(ge=0)
    """Paths whose content, kind or attributes differ."""
    same: int = Field(ge=0)
    keep: int = Field(default=0, ge=0)
    """Paths that onConflict would leave as they are."""
    delete: int = Field(default=0, ge=0)
    """Paths that Mirror would remove, or that are in a folder which would make way for something else."""
    read_bytes: int = Field(ge=0)
    """To be read from the store."""
    space_needed: int = Field(ge=0)
    """At one time at most, in the file system of the target that has least left over, or lacks most."""
    space_free: int = Field(ge=0)
    """In that one."""
    missing: Annotated[tuple[Short, ...], Field(max_length=8)] = ()
    """Members of the chain that are gone or damaged; then no restore is possible."""
    seconds: int = Field(ge=0)
    """An estimate, from the speed at which the index was read."""


class Capabilities(Wire):
    """What the store can do, as tried: not what it says."""

    conditional_writes: bool
    object_lock: bool = False
    versioning: bool = False


class ProbeResult(Wire):
    """What the probe found and did."""

    repository_id: Short
    fingerprint: Hex
    recipient: Short | None = None
    created: bool = False
    """This run created the repository."""
    confirmed: bool = False
    """The repository is the one named by fingerprint, or its identity was opened and gave its recipient and root, or we created it."""
    writer: Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
    writer_admitted: bool
    capabilities: Capabilities
    isolated: bool | None = None
    """False: these credentials reach beyond this repository's root. None: not tried."""
    clock_skew_seconds: float = 0.0


class Report(Wire):
    """The answer of one run of one Job."""

    v: Literal[1] = 1
    kind: Literal["backup", "restore", "probe"]
    job: Short
    job_uid: Short
    failure: Failure | None = None
    warnings: Annotated[tuple[Warn, ...], Field(max_length=8)] = ()
    backup: BackupResult | None = None
    restore: RestoreResult | None = None
    plan: PlanResult | None = None
    probe: ProbeResult | None = None


def encode(report: Report) -> str:
    """The report as JSON of at most MAX_BYTES bytes: warnings go first if it is too long, then messages are cut."""
    for candidate in _ever_shorter(report):
        text = candidate.model_dump_json(by_alias=True, exclude_none=True)
        if len(text.encode()) <= MAX_BYTES:
            return text
    raise ValueError("a report without warnings and with short messages is still too long")


def decode(text: str) -> Report | None:
    """Read a termination message; None if it is not a report: a crash's last words, a cut text, somebody else's."""
    try:
        return Report.model_validate_json(text)
    except ValidationError:
        return None


def _ever_shorter(report: Report) -> tuple[Report, ...]:
    """The report, then with cut warnings, then with none, then with a cut failure message."""
    cut = tuple(w.model_copy(update={"message": clip(w.message, 160)}) for w in report.warnings[:4])
    bare = report.model_copy(update={"warnings": ()})
    failure = report.failure and report.failure.model_copy(update={"message": clip(report.failure.message, 300)})
    return report, report.model_copy(update={"warnings": cut}), bare, bare.model_copy(update={"failure": failure})


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, the end replaced by an ellipsis where something was cut."""
    return text if len(text) <= limit else text[: limit - 1] + "…"
