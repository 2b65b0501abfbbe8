"""What a store can do, as tried on it. Only the probe comes here."""

from __future__ import annotations

import stat
from typing import TYPE_CHECKING

from iot_backup.core.report import Capabilities
from iot_backup.core.wording import place
from iot_backup.errors import AccessDenied, AlreadyExists, IotBackupError
from iot_backup.storage.s3 import S3Store
from iot_backup.storage.volume import VolumeStore

if TYPE_CHECKING:
    from collections.abc import Callable

    from iot_backup.storage.store import Store


def probe_capabilities(store: Store, probe_id: str) -> Capabilities:
    """Try the store. `probe_id`: 16 hex digits, new for every probe; the key `announce/<it>` is made and removed.

    Raises what the store raises; for a volume InvalidSpec if it cannot hard-link, AccessDenied if what we write does not belong to
    the store's group.
    """
    key = f"announce/{probe_id}"
    if isinstance(store, S3Store):
        conditional = _refuses_a_second(store.at(store.root), key)
        from iot_backup.storage import s3_control

        lock, versions = s3_control.lock_and_versions(store.location)
        return Capabilities(conditional_writes=conditional, object_lock=lock, versioning=versions)
    if isinstance(store, VolumeStore):
        _check_group(store, key)
    return Capabilities(conditional_writes=_refuses_a_second(store, key))


def probe_isolation(store: Store, probe_id: str) -> bool | None:
    """Whether these credentials reach nothing outside the repository's root; None where the question makes no sense.

    A claim belongs to one namespace. In a bucket, listing the whole or the folder of all repositories, and reading from one that
    does not exist, must be refused; "not there" is an answer, so it is not a refusal.
    """
    if not isinstance(store, S3Store):
        return None
    above = store.root.rstrip("/").rpartition("/")[0]
    outside = store.at(above)
    whole = store.at("")
    reads: tuple[Callable[[], object], ...] = (
        lambda: next(whole.list(""), None),
        lambda: next(outside.list(""), None),
        lambda: outside.read(f"isolation-{probe_id}/repo.json"),
    )
    return all(_is_denied(read) for read in reads)


def _refuses_a_second(store: Store, key: str) -> bool:
    try:
        store.create(key, b"first")  # refused only if an attempt of its own was stored, and not confirmed: that tells as much
        store.create(key, b"second")
    except AlreadyExists:
        return True
    else:
        return False
    finally:
        store.delete(key)


def _check_group(store: VolumeStore, key: str) -> None:
    store.create(key, b"")
    try:
        found = store.stat(key)
    finally:
        store.delete(key)
    if found.st_gid != store.group or stat.S_IMODE(found.st_mode) != 0o660:
        raise AccessDenied(
            f"what is written to {place(store.claim)} belongs to group {found.st_gid}, mode {stat.S_IMODE(found.st_mode):04o}, instead of group "
            f"{store.group}, mode 0660, so runs under other users could not read it. Set spec.volume.group of the BackupStorage to "
            f"{found.st_gid}, or let the claim's file system and its mount options allow the group."
        )


def _is_denied(read: Callable[[], object]) -> bool:
    try:
        read()
    except IotBackupError as error:
        if type(error) is AccessDenied:
            return True
        if error.retryable or isinstance(error, AccessDenied):
            raise
    return False
