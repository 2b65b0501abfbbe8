"""Announcements: what a run is about to write, said before it writes. They protect its uploads, and its base, from whoever deletes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from iot_backup.core.layout import Member
from iot_backup.errors import StorageUnavailable
from iot_backup.repository import records
from iot_backup.repository.records import Announcement
from iot_backup.repository.writing import settled
from iot_backup.storage.store import Store


def announced(
    store: Store,
    member: Member,
    *,
    repository_id: str,
    writer: str,
    deadline: datetime,
    objects: Sequence[str],
    parent: str | None,
) -> None:
    """Write the announcement of one attempt. StorageUnavailable if its unique name is taken by other bytes."""
    record = Announcement(
        repository_id=repository_id,
        id=member.id,
        chain=member.chain,
        writer=writer,
        start_time=member.started,
        deadline=deadline,
        parent=parent,
        objects=tuple(objects),
    )
    if not settled(store, member.announcement, records.encoded(record)):
        raise StorageUnavailable(
            f"{member.announcement} is taken by another run, which cannot be with 64 random bits; nothing was uploaded"
        )


def withdrawn(store: Store, member: Member) -> None:
    """Remove it: the last step of a run."""
    store.delete(member.announcement)
