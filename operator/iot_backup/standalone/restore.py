"""One restore: from what a person named to a tree on disk."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iot_backup.core import spec
from iot_backup.core.manifest import Manifest
from iot_backup.core.report import PlanResult, RestoreResult, Warn
from iot_backup.errors import AccessDenied, ChainBroken, IotBackupError, SourceUnavailable, TargetFull
from iot_backup.standalone import apart, records
from iot_backup.standalone.catalogue import Key, Opened
from iot_backup.standalone.config import Backup
from iot_backup.standalone.machine import Machine
from iot_backup.standalone.state import RESTORING
from iot_backup.units import format_size
from iot_backup.worker.cancelling import Cancel
from iot_backup.worker.progress import Progress
from iot_backup.worker.restore import restore as run_restore
from iot_backup.worker.target import UNFINISHED

CONFLICTS: dict[str, spec.OnConflict] = {
    "overwrite": "Overwrite",
    "keep-newer": "KeepNewer",
    "skip-existing": "SkipExisting",
    "mirror": "Mirror",
}
"""As the command line calls them."""


@dataclass(frozen=True)
class Wish:
    """What of a backup is brought back, and how."""

    key: Key
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    on_conflict: str = "overwrite"
    """One of CONFLICTS."""
    devices: bool = False
    bandwidth_limit: int | None = None
    """Bytes per second."""
    verify: bool = True
    """Read a whole backup before the first byte is written."""

    @property
    def selective(self) -> bool:
        return bool(self.include or self.exclude)


@dataclass(frozen=True)
class Restored:
    """What came of it."""

    result: RestoreResult
    target: Path
    warnings: tuple[Warn, ...]

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        result = self.result
        return {
            "id": result.archive,
            "type": result.type.lower(),
            "status": records.COMPLETED,
            "target": str(self.target),
            "snapshot_time": records.time(result.snapshot_time),
            "files_restored": result.files,
            "bytes_restored": result.bytes,
            "kept": result.kept,
            "deleted": result.deleted,
            "checksum": result.checksum,
            "warnings": [f"{warning.reason}: {warning.message}" for warning in self.warnings],
        }


def announced(there: Opened, manifest: Manifest, target: Path) -> str:
    """What is about to happen, before anything does."""
    counts = manifest.counts
    return (
        f"backup {manifest.id} of job {manifest.source.job}, {manifest.type.lower()}, as of {records.time(manifest.snapshot_time)}, from storage "
        f"{there.site.storage}: {counts.files} files, {format_size(counts.source_bytes)}, into {target}"
    )


def is_empty(target: Path) -> bool:
    """Whether nothing is in the folder, or it is not there. AccessDenied, SourceUnavailable for what is no folder."""
    try:
        with os.scandir(target) as entries:
            return next(entries, None) is None
    except FileNotFoundError:
        return True
    except PermissionError as error:
        raise AccessDenied(f"the target {target} cannot be read by user {os.geteuid()}: run as its owner, or as root") from error
    except OSError as error:
        raise SourceUnavailable(f"the target {target} is no folder: {error.strerror}") from error


def restore(
    config: Backup, there: Opened, manifest: Manifest, target: Path, wish: Wish, machine: Machine, cancel: Cancel, progress: Progress
) -> Restored:
    """Bring the backup back into the folder, which is made if it is not there. Retention of this machine waits meanwhile.

    `config`: the whole one, whose storages are spared, also where `there` is a copy.
    """
    apart.check_target(config, machine, target)
    order = _order(there, manifest, target, wish)
    with _made(target), machine.state_of(there.site).reading(RESTORING, cancel.requested.is_set):
        spared = apart.spared(config, machine)
        result, warnings = run_restore(order, wish.key.secrets(machine), target.resolve(), cancel, progress, spared=spared)
    assert isinstance(result, RestoreResult), "the order's mode says which it is"
    return Restored(result, target, warnings)


def plan(config: Backup, there: Opened, manifest: Manifest, target: Path, wish: Wish, machine: Machine, cancel: Cancel) -> PlanResult:
    """What that would do. Nothing is written; a target that is not there is an empty one."""
    apart.check_target(config, machine, target)
    with _folder(target) as folder:
        order = _order(there, manifest, folder, wish).model_copy(update={"mode": "Plan"})
        spared = apart.spared(config, machine)
        result, _ = run_restore(order, wish.key.secrets(machine), folder.resolve(), cancel, spared=spared)
    assert isinstance(result, PlanResult), "the order's mode says which it is"
    return result


def exit_code(result: PlanResult) -> int:
    """Of a plan: 0, or what the restore would end with."""
    if result.missing:
        return ChainBroken.exit_code
    return TargetFull.exit_code if result.space_needed > result.space_free else 0


def planned(result: PlanResult, target: Path) -> dict[str, Any]:
    """A plan for people and programs."""
    return {
        "id": result.archive,
        "target": str(target),
        "snapshot_time": records.time(result.snapshot_time),
        "backups_needed": result.members,
        "missing": list(result.missing),
        "files": result.files,
        "restore_bytes": result.bytes,
        "add": result.add,
        "change": result.change,
        "same": result.same,
        "keep": result.keep,
        "delete": result.delete,
        "read_bytes": result.read_bytes,
        "needed_bytes": result.space_needed,
        "free_bytes": result.space_free,
        "seconds": result.seconds,
    }


@contextmanager
def _made(target: Path) -> Iterator[None]:
    """The target, made if it is not there, as a folder that this restore owes its attributes. After a failure it goes again if it is empty."""
    try:
        made = not target.is_dir()
        target.mkdir(UNFINISHED, parents=True, exist_ok=True)
    except OSError as error:
        raise _unusable(target, target.parent, error) from error
    try:
        yield
    except BaseException:
        if made:
            with suppress(OSError):  # not empty
                target.rmdir()
        raise


@contextmanager
def _folder(target: Path) -> Iterator[Path]:
    """The target, or where there is none an empty folder on the same file system."""
    if target.exists():
        yield target
        return
    above = next(folder for folder in target.resolve().parents if folder.exists())
    try:
        with tempfile.TemporaryDirectory(prefix=".iot-backup-plan-", dir=above) as empty:
            Path(empty).chmod(UNFINISHED)  # it gets the backup's attributes, as what the restore makes
            yield Path(empty)
    except OSError as error:
        raise _unusable(target, above, error) from error


def _unusable(target: Path, above: Path, error: OSError) -> IotBackupError:
    if isinstance(error, PermissionError):
        return AccessDenied(
            f"the target {target} cannot be made: user {os.geteuid()} may not write to {above}. Run as its owner, or as root."
        )
    return SourceUnavailable(f"the target {target} cannot be made: {error.strerror}. Name a folder, or where one can be made.")


def _order(there: Opened, manifest: Manifest, target: Path, wish: Wish) -> spec.RestoreOrder:
    return spec.RestoreOrder(
        repository=there.site.repository(),
        trust=there.trust,
        archive=manifest.id,
        chain=manifest.chain,
        claim=str(target.resolve()),
        identity=wish.key.source,
        type="Selective" if wish.selective else "Full",
        include=wish.include,
        exclude=wish.exclude,
        on_conflict=CONFLICTS[wish.on_conflict],
        verify=wish.verify,
        devices=wish.devices,
        bandwidth_limit=wish.bandwidth_limit,
    )
