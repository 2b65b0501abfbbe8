"""One restore: from what a person named to a tree on disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from iot_backup.core import spec
from iot_backup.core.manifest import Manifest
from iot_backup.core.report import RestoreResult, Warn
from iot_backup.errors import AccessDenied, SourceUnavailable
from iot_backup.standalone import records
from iot_backup.standalone.catalogue import Key, Opened
from iot_backup.standalone.machine import Machine
from iot_backup.units import format_size
from iot_backup.worker.cancelling import Cancel
from iot_backup.worker.restore import restore as run_restore


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


def restore(there: Opened, manifest: Manifest, target: Path, machine: Machine, key: Key, cancel: Cancel) -> Restored:
    """Bring the backup back into the folder, which is made if it is not there."""
    try:
        target.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AccessDenied(f"the target {target} cannot be made: {error.strerror}") from error
    order = spec.RestoreOrder(
        repository=there.site.repository(),
        trust=there.trust,
        archive=manifest.id,
        chain=manifest.chain,
        claim=str(target.resolve()),
        identity=key.source,
    )
    result, warnings = run_restore(order, key.secrets(machine), target.resolve(), cancel)
    return Restored(result, target, warnings)
