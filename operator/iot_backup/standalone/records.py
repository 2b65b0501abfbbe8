"""What commands print of a backup: one record, with the names that the config's users know."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from iot_backup.core.manifest import Manifest
from iot_backup.core.report import BackupResult, Warn
from iot_backup.errors import Cancelled, IotBackupError
from iot_backup.standalone import wording

COMPLETED, PARTIAL, FAILED, CANCELLED = "completed", "partial", "failed", "cancelled"
"""partial: stored, without the files that could not be read. failed: also a stored one that no longer counts."""
EXIT_PARTIAL = 3
_INCONSISTENT = ("InconsistentSource: taken from the data folder of a running database. Stop the server for the run, or back up a dump",)


@dataclass(frozen=True)
class Record:
    """One backup, or one try."""

    job: str
    type: str
    """What it became: an incremental without a base is full."""
    status: str
    id: str | None = None
    """16 hex digits: what other commands call it."""
    archive: str | None = None
    """The object's key below the storage."""
    start_time: datetime | None = None
    end_time: datetime | None = None
    size_bytes: int = 0
    """Of the archive in the store."""
    source_bytes: int = 0
    files: int = 0
    checksum: str | None = None
    """`sha256:` of the archive."""
    warnings: tuple[str, ...] = ()
    error: str | None = None
    copies: Mapping[str, str] = field(default_factory=dict)
    """Of a run, by further storage: `completed`, or `failed: ` and why."""

    @property
    def exit_code(self) -> int:
        """Of a run that ended without an error."""
        return EXIT_PARTIAL if self.status == PARTIAL else 0

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        order = ("id", "job", "type", "status", "archive", "start_time", "end_time")
        fields = asdict(self) | {"start_time": time(self.start_time), "end_time": time(self.end_time), "warnings": list(self.warnings)}
        return {name: fields[name] for name in (*order, *(name for name in fields if name not in order))}


def time(moment: datetime | None) -> str | None:
    """UTC, to the second."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if moment else None


def of_plain(fields: Any) -> Record:
    """What `plain` made; fields of a newer version are left out. KeyError, TypeError, ValueError for anything else."""
    if not isinstance(fields, dict):
        raise TypeError(f"a record is an object, and this is {type(fields).__name__}")
    known = {name: value for name, value in fields.items() if name in Record.__dataclass_fields__}
    for name, value in known.items():
        if not _fits(name, value):
            raise TypeError(f"{name} of a record cannot be {value!r}")
    moments = {name: _moment(known.get(name)) for name in ("start_time", "end_time")}
    plain = {"warnings": tuple(known.get("warnings", ())), "copies": dict(known.get("copies", {}))}
    return Record(**{**known, **moments, **plain})


def _fits(name: str, value: Any) -> bool:
    """Whether a field of JSON is of the type that `plain` gives it."""
    if name in ("size_bytes", "source_bytes", "files"):
        return type(value) is int and 0 <= value < 1 << 63  # JSON knows longer ones, and floats of them do not exist
    if name == "warnings":
        return isinstance(value, list) and all(isinstance(each, str) for each in value)
    if name == "copies":
        return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())
    return isinstance(value, str) or (value is None and name not in ("job", "type", "status"))


def _moment(text: str | None) -> datetime | None:
    """ValueError for no time, and for one without a zone: it could not be compared with others."""
    moment = datetime.fromisoformat(text) if text else None
    if moment and moment.tzinfo is None:
        raise ValueError(f"{text} has no time zone")
    return moment


def of_result(job: str, archive: str, result: BackupResult, warnings: Sequence[Warn]) -> Record:
    """A backup that was just made."""
    return Record(
        job=job,
        type=result.type.lower(),
        status=PARTIAL if result.partial else COMPLETED,
        id=result.archive,
        archive=archive,
        start_time=result.start_time,
        end_time=result.completion_time,
        size_bytes=result.size_bytes,
        source_bytes=result.source_bytes,
        files=result.files,
        checksum=result.checksum,
        warnings=(
            *(_INCONSISTENT if result.inconsistent_source else ()),
            *(f"{warning.reason}: {warning.message}" for warning in warnings),
        ),
    )


def of_failure(job: str, type_: str, error: IotBackupError, start: datetime, end: datetime) -> Record:
    """A try that left nothing."""
    status = CANCELLED if isinstance(error, Cancelled) else FAILED
    return Record(job=job, type=type_, status=status, start_time=start, end_time=end, error=spoken(error))


def of_manifest(root: str, manifest: Manifest, problem: IotBackupError | None = None) -> Record:
    """A backup that is stored below `root`."""
    status = FAILED if problem else PARTIAL if manifest.partial else COMPLETED
    return Record(
        job=manifest.source.job,
        type=manifest.type.lower(),
        status=status,
        id=manifest.id,
        archive=root + manifest.archive_key,
        start_time=manifest.start_time,
        end_time=manifest.completion_time,
        size_bytes=manifest.archive.size,
        source_bytes=manifest.counts.source_bytes,
        files=manifest.counts.files,
        checksum=f"sha256:{manifest.archive.sha256}",
        warnings=_INCONSISTENT if manifest.inconsistent_source else (),
        error=spoken(problem) if problem else None,
    )


def spoken(error: IotBackupError) -> str:
    """For the command line."""
    return f"{error.reason}: {wording.spoken(error.message)}"
