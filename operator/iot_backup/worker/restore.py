"""One restore, from the order to a verified tree on disk."""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from iot_backup.core import spec
from iot_backup.core.manifest import Manifest, StoredObject
from iot_backup.core.report import RestoreResult, Warn
from iot_backup.crypto import container
from iot_backup.crypto.container import Opener
from iot_backup.errors import CorruptData
from iot_backup.repository import reading
from iot_backup.repository.opening import Repository, open_for_restore
from iot_backup.storage.opening import open_store
from iot_backup.worker import folders, keys
from iot_backup.worker.notes import CHANGED, DAMAGED, UNREADABLE
from iot_backup.worker.unpacking import Unpacked, unpack
from iot_backup.worker.verifying import Measured, Pull, again, measure

if TYPE_CHECKING:
    from iot_backup.worker.cancelling import Cancel

_log = logging.getLogger(__name__)


def restore(order: spec.RestoreOrder, secrets: Path, target: Path, cancel: Cancel) -> tuple[RestoreResult, tuple[Warn, ...]]:
    """Restore one member into the target. Nothing is written before everything that can be checked was checked."""
    with folders.opened(target, "", order.claim) as root:
        store = open_store(order.repository, secrets)
        passphrase = None if order.identity else keys.passphrase(order.repository, secrets)
        brought = keys.brought(order.identity, secrets)
        repository = open_for_restore(store, order.repository.namespace, order.trust, passphrase, brought)
        manifest = repository.find(order.archive, order.chain).manifest
        assert manifest is not None, "find() raises what is wrong with a backup"
        index = _verified(repository, manifest.member.index, manifest.index, manifest, cancel)
        if order.verify:
            archive = _verified(repository, manifest.archive_key, manifest.archive, manifest, cancel)
            _log.info("archive %s verified, writing", manifest.id)
        else:
            archive = reading.archive(store, manifest, repository.identity)
        unpacked = unpack(
            archive,
            index,
            root,
            compressed=manifest.compression.algorithm == "Zstd",
            content=manifest.counts.source_bytes,
            entries=manifest.counts.entries,
            stop=cancel.requested,
        )
    return _result(manifest, unpacked), _warnings(manifest, unpacked)


def _verified(repository: Repository, key: str, expected: StoredObject, manifest: Manifest, cancel: Cancel) -> Opener:
    """An object that was read whole and compared with its signed manifest; what it opens is compared with that reading."""
    measured = _measured(repository, key, expected, cancel)
    pull = Pull(again(repository.store.stream(key), measured))
    return container.opener(pull, manifest.cipher, repository.identity, expected.header_sha256)


def _measured(repository: Repository, key: str, expected: StoredObject, cancel: Cancel) -> Measured:
    measured = measure(reading.stream(repository.store, key), cancel.check)
    if (measured.size, measured.sha256) != (expected.size, expected.sha256):
        raise CorruptData(
            f"{key} is not what its manifest signs: {measured.size} bytes with SHA-256 {measured.sha256}, not {expected.size} with {expected.sha256}. "
            "It was damaged or replaced; nothing was written. Restore another backup, and find out who writes to the store."
        )
    return measured


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
