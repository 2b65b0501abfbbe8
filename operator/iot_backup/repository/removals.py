"""Records of what retention took away: they tell a gap that is meant from one that is a loss."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from iot_backup.core import layout
from iot_backup.core.layout import Member
from iot_backup.crypto.signing import Purpose
from iot_backup.errors import CorruptData, Untrusted
from iot_backup.repository import notices
from iot_backup.repository.catalogue import Catalogue
from iot_backup.repository.records import DoomedRecord, RemovedRecord, Victim
from iot_backup.repository.writing import found


def recorded(catalogue: Catalogue) -> Iterator[RemovedRecord]:
    """All records. One that no admitted writer signed, or that lies elsewhere, explains nothing."""
    for info in list(catalogue.store.list(layout.REMOVED)):
        chain = layout.removed_chain(info.key)
        data = found(catalogue.store, info.key) if chain else None
        if chain is None or data is None:
            continue
        with suppress(CorruptData, Untrusted):
            record = notices.judged(catalogue, RemovedRecord, data, info.key, Purpose.REMOVED)
            if record.chain == chain:
                yield record


def listed(catalogue: Catalogue) -> dict[str, list[Victim]]:
    """By chain all that was taken away."""
    victims: dict[str, list[Victim]] = {}
    for record in recorded(catalogue):
        victims.setdefault(record.chain, []).extend(record.victims)
    return victims


def numbers(catalogue: Catalogue) -> dict[str, set[int]]:
    """By chain the numbers that are gone because retention took them away."""
    return {chain: {victim.seq for victim in victims} for chain, victims in listed(catalogue).items()}


def taken(catalogue: Catalogue, member: Member) -> bool:
    """Whether retention took the backup away, or is about to: an admitted writer's marker or record says so.

    The marker is asked for first: it goes last, when the record is there.
    """
    if _is_doomed(catalogue, member):
        return True
    with suppress(CorruptData):
        if found(catalogue.store, member.manifest) is None:
            return any(victim.id == member.id for victim in listed(catalogue).get(member.chain, ()))
    return False


def _is_doomed(catalogue: Catalogue, member: Member) -> bool:
    data = found(catalogue.store, member.doomed)
    if data is None:
        return False
    try:
        record = notices.judged(catalogue, DoomedRecord, data, member.doomed, Purpose.DOOMED)
    except (CorruptData, Untrusted):
        return False
    return (record.chain, record.victim.id) == (member.chain, member.id)
