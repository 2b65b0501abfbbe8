"""One restore, from the order to a verified tree on disk."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from iot_backup.core import spec
from iot_backup.core.manifest import Manifest
from iot_backup.core.report import RestoreResult, Warn
from iot_backup.repository import floor, reading, trust
from iot_backup.repository.opening import open_for_restore
from iot_backup.storage.opening import open_store
from iot_backup.storage.secret_values import Secrets
from iot_backup.worker import folders, keys
from iot_backup.worker.notes import CHANGED, DAMAGED, UNREADABLE
from iot_backup.worker.unpacking import Unpacked, unpack

if TYPE_CHECKING:
    from iot_backup.worker.cancelling import Cancel

_log = logging.getLogger(__name__)


def restore(order: spec.RestoreOrder, secrets: Secrets, target: Path, cancel: Cancel) -> tuple[RestoreResult, tuple[Warn, ...]]:
    """Restore one member into the target. Nothing is written before everything that can be checked was checked."""
    with folders.opened(target, "", order.claim) as root:
        store = open_store(order.repository, secrets)
        passphrase = None if order.identity else keys.passphrase(order.repository, secrets)
        brought = keys.brought(order.identity, secrets)
        repository = open_for_restore(store, order.repository.namespace, order.trust, passphrase, brought)
        trust.check_algorithm(repository.record, order.repository.encryption.algorithm)
        manifest = repository.find(order.archive, order.chain).manifest
        assert manifest is not None, "find() raises what is wrong with a backup"
        if order.floor is not None:
            floor.check(manifest.chain, repository.catalogue.entries(manifest.chain), order.floor)
        index = reading.verify(store, manifest.member.index, manifest.index, cancel.check)
        archive = reading.verify(store, manifest.archive_key, manifest.archive, cancel.check) if order.verify else None
        _log.info("archive %s %s, writing", manifest.id, "verified" if order.verify else "not verified before, as asked")
        unpacked = unpack(
            reading.archive(store, manifest, repository.identity, archive),
            reading.index(store, manifest, repository.identity, index),
            root,
            compressed=manifest.compression.algorithm == "Zstd",
            content=manifest.counts.source_bytes,
            entries=manifest.counts.entries,
            stop=cancel.requested,
        )
    return _result(manifest, unpacked), _warnings(manifest, unpacked)


def _result(manifest: Manifest, unpacked: Unpacked) -> RestoreResult:
    return RestoreResult(
        archive=manifest.id,
        chain=manifest.chain,
        type="Full",
        snapshot_time=manifest.snapshot_time,
        files=unpacked.written.files + unpacked.written.hard_links,
        bytes=unpacked.written.bytes,
        checksum=f"sha256:{manifest.archive.sha256}",
    )


def _warnings(manifest: Manifest, unpacked: Unpacked) -> tuple[Warn, ...]:
    found = [
        (
            "OwnershipNotRestored",
            unpacked.refused.owners_refused,
            f"paths belong to user {os.geteuid()} now, who may not give files away: set worker.securityContext.runAsUser, or worker.identity: Root",
        ),
        (
            "ModesNotRestored",
            unpacked.refused.modes_refused,
            "paths that were there before belong to somebody else and keep their mode and time",
        ),
        ("FilesChanged", unpacked.notes.get(CHANGED, 0), "files had changed while they were backed up"),
        (
            "FilesMissing",
            unpacked.notes.get(UNREADABLE, 0) + unpacked.notes.get(DAMAGED, 0),
            "files could not be read, or not to their end, when they were backed up",
        ),
    ]
    warnings = [Warn(reason=reason, message=f"{count} {meaning}", count=count) for reason, count, meaning in found if count]
    if manifest.inconsistent_source:
        warnings.append(Warn(reason="InconsistentSource", message="the backup was taken from the data folder of a running database"))
    return tuple(warnings)
