"""Holds: what a person or a run wants to stay, whatever the rules say. They lie in the store, so whoever deletes there sees them."""

from __future__ import annotations

from iot_backup.core import layout
from iot_backup.crypto.signing import Purpose
from iot_backup.errors import CorruptData, StorageUnavailable
from iot_backup.repository import notices
from iot_backup.repository.catalogue import Catalogue
from iot_backup.repository.records import HoldRecord
from iot_backup.repository.writing import found

FROZEN = "frozen"
"""Reason of a hold that stops the retention of a whole chain."""


def listed(catalogue: Catalogue) -> list[HoldRecord]:
    """All of the repository. CorruptData, Untrusted for one that cannot be read: then nobody knows what is held, and nothing may be deleted."""
    held = []
    for info in list(catalogue.store.list(layout.HOLDS)):
        parts, data = layout.hold_parts(info.key), found(catalogue.store, info.key)
        if data is None:
            raise StorageUnavailable(f"{info.key} is listed and not there: it was released a moment ago. Run it again.")
        record = notices.judged(catalogue, HoldRecord, data, info.key, Purpose.HOLD)
        if parts != (record.id, record.reason):
            raise CorruptData(
                f"{info.key} says that it is {record.id}.{record.reason}: it was moved or copied. Nothing is deleted before it goes."
            )
        held.append(record)
    return held
