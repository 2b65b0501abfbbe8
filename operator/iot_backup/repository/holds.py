"""Holds: what a person or a run wants to stay, whatever the rules say. They lie in the store, so whoever deletes there sees them."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Final, Literal

from iot_backup.core import layout
from iot_backup.core.layout import Member
from iot_backup.crypto.signing import Purpose, WriterKey
from iot_backup.errors import AlreadyExists, Busy, CorruptData, StorageUnavailable, Untrusted
from iot_backup.repository import notices
from iot_backup.repository.catalogue import Catalogue
from iot_backup.repository.records import HoldRecord
from iot_backup.repository.writing import found

if TYPE_CHECKING:
    from iot_backup.repository.opening import Repository

Reason = Literal["pinned", "last-good", "frozen", "damaged"]
FROZEN: Final = "frozen"
"""Reason of a hold that stops the retention of a whole chain."""
PINNED: Final = "pinned"
"""Of one that a person set."""
DAMAGED: Final = "damaged"
"""Of one on a backup that cannot be restored from this store: it is no base, and counts in no rule."""
_MOST = 2000
"""Characters of a message."""


@dataclass(frozen=True)
class Held:
    """What is to be held."""

    chain: str
    id: str
    reason: Reason
    message: str = ""
    """Why, for people."""


@dataclass(frozen=True)
class Unreadable:
    """A hold of which nobody knows what it holds."""

    key: str
    problem: CorruptData | Untrusted


def placed(repository: Repository, writer: WriterKey, held: Held, now: datetime) -> None:
    """Write a hold; one of that name that is there already stays. What the store raises."""
    record = HoldRecord(
        repository_id=repository.record.repository_id,
        namespace=repository.namespace,
        chain=held.chain,
        writer=writer.id,
        time=now,
        id=held.id,
        reason=held.reason,
        message=held.message[:_MOST],
    )
    with suppress(AlreadyExists):
        repository.store.create(layout.hold(held.id, held.reason), notices.encoded(record, writer, Purpose.HOLD))


def confirmed(repository: Repository, writer: WriterKey, member: Member, held: Held, now: datetime) -> None:
    """Write a hold on a backup, and look again whether retention was first.

    Busy if it was: it says so before it deletes, and looks at holds after that, so without its marker it will see this one. The hold stays:
    nobody can tell here whether retention saw it in time. The marker is asked for first, since it goes last.
    """
    placed(repository, writer, held, now)
    marked = found(repository.store, member.doomed) is not None
    if found(repository.store, member.manifest) is None:
        raise Busy(
            f"the backup {held.id} is gone: retention took it before the hold was there. Hold another one, and let this hold go "
            f"(`hold release {held.id} --reason {held.reason}`)."
        )
    if marked:
        raise Busy(
            f"retention was already about to take the backup {held.id} when the hold was placed: it may keep it, or not. Look at the list once "
            "no retention runs any more: what is there then stays, for the hold is in place."
        )


def released(repository: Repository, id_: str, reason: str) -> bool:
    """Take a hold away; whether it was there."""
    key = layout.hold(id_, reason)
    there = found(repository.store, key) is not None
    repository.store.delete(key)
    return there


def listed(catalogue: Catalogue) -> list[HoldRecord]:
    """All of the repository. CorruptData, Untrusted for one that cannot be read: then nobody knows what is held, and nothing may be deleted."""
    held, bad = looked_at(catalogue)
    if bad:
        raise bad[0].problem
    return held


def looked_at(catalogue: Catalogue) -> tuple[list[HoldRecord], list[Unreadable]]:
    """All of the repository that can be read, and the others. StorageUnavailable for one that was released at this moment, AccessDenied."""
    held, bad = [], []
    for info in list(catalogue.store.list(layout.HOLDS)):
        try:
            held.append(_read(catalogue, info.key))
        except (CorruptData, Untrusted) as error:
            bad.append(Unreadable(info.key, error))
    return held, bad


def _read(catalogue: Catalogue, key: str) -> HoldRecord:
    data = found(catalogue.store, key)
    if data is None:
        raise StorageUnavailable(f"{key} is listed and not there: it was released a moment ago. Run it again.")
    record = notices.judged(catalogue, HoldRecord, data, key, Purpose.HOLD)
    if layout.hold_parts(key) != (record.id, record.reason):
        raise CorruptData(f"{key} says that it is {record.id}.{record.reason}: it was moved or copied. Nothing is deleted before it goes.")
    return record
