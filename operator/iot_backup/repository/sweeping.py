"""Takes away what dead runs left: only what an announcement of ours names, long after its deadline, and only where the store says that there is no manifest.

In a copy, where nothing is announced, what a copy that was interrupted left of a backup that the primary has taken away since: only what
our signed record there names, long after it was written, and only where the copy says that there is no manifest.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

from iot_backup.core import layout
from iot_backup.core.layout import Member
from iot_backup.core.spec import BackupType
from iot_backup.repository import records, removals
from iot_backup.repository.catalogue import Catalogue
from iot_backup.repository.records import Announcement
from iot_backup.repository.survey import still_there
from iot_backup.repository.writing import found

PATIENCE = timedelta(hours=24)
"""Beyond a run's deadline, after which it commits nothing any more; and beyond a removal, after which nothing of that backup is copied any more."""


@dataclass(frozen=True)
class Swept:
    """What was found."""

    removed: tuple[str, ...]
    """Ids of dead runs, and of copies that can never be completed, whose uploads are gone now."""
    orphaned: tuple[str, ...]
    """Keys that nobody claims: no manifest, announcement or marker, nor any of the primary's. They are kept."""


def swept(catalogue: Catalogue, writer: str, now: datetime, primary: Catalogue | None = None) -> Swept:
    """Remove what dead runs of this writer left. `now`: on the store's clock; `primary`: of what the repository is a copy of.

    CorruptData for an announcement that cannot be read.
    """
    dead, claimed = _dead(catalogue, writer, now)
    orphaned = dict(_orphans(catalogue, claimed))
    if primary is None or not orphaned:
        return Swept(tuple(dead), tuple(orphaned))
    hopeless, expected = _begun(primary, {member for member in orphaned.values() if member}, writer, now)
    for member in hopeless:
        _clean(catalogue, member, orphaned)
    ours = {key for member in hopeless | expected for key in _uploads(member, catalogue.record.cipher)}
    return Swept((*dead, *sorted(member.id for member in hopeless)), tuple(key for key in orphaned if key not in ours))


def _dead(catalogue: Catalogue, writer: str, now: datetime) -> tuple[list[str], set[str]]:
    """Ids of runs whose uploads are gone now, and of all that are announced."""
    store = catalogue.store
    removed, claimed = [], set()
    for info in list(store.list(layout.ANNOUNCE)):
        data = found(store, info.key)
        if data is None:
            continue
        run = records.decoded(Announcement, data, info.key)
        member = Member(run.chain, run.start_time.replace(microsecond=0), run.id)
        claimed.add(run.id)
        if run.writer != writer or member.announcement != info.key or now <= run.deadline + PATIENCE:
            continue
        if _clean(catalogue, member, run.objects):
            removed.append(run.id)
        store.delete(member.announcement)
    return removed, claimed


def _clean(catalogue: Catalogue, member: Member, named: Collection[str]) -> bool:
    """Remove what there is of a backup among the named keys, unless the store says that there is a manifest; whether it did."""
    if still_there(catalogue, member):
        return False
    for key in _uploads(member, catalogue.record.cipher):
        if key in named:
            catalogue.store.delete(key)
            catalogue.store.abandon(key)
    return True


def _begun(primary: Catalogue, members: set[Member], writer: str, now: datetime) -> tuple[set[Member], set[Member]]:
    """Of backups that the copy has parts of: those that it can never complete, as we took them out of the primary long ago; and those that it may
    yet complete, or that others took there, or we a short while ago."""
    gone = {
        victim.member(record.chain): record.writer == writer and now > record.time + PATIENCE
        for record in removals.recorded(primary)
        for victim in record.victims
    }
    leaving = primary.doomed()
    hopeless = {member for member in members if gone.get(member) and not still_there(primary, member)}
    return hopeless, {member for member in members - hopeless if member in gone or member.id in leaving or still_there(primary, member)}


def _uploads(member: Member, cipher: str) -> Iterator[str]:
    yield from (member.state, member.index)
    yield from (member.archive(type_, cipher) for type_ in get_args(BackupType))


def _orphans(catalogue: Catalogue, claimed: set[str]) -> Iterator[tuple[str, Member | None]]:
    """Listed keys of the chains' folders whose manifest is not listed and, asked by its key, is not there; and whose they would be."""
    listed = [info.key for info in catalogue.store.list(layout.CHAINS)]
    stems = {member.stem for key in listed if (member := layout.member_of_manifest(key))}
    marked = {layout.doomed_id(info.key) for info in catalogue.store.list(layout.DOOMED)}
    for key in sorted(listed):
        stem = key.rpartition("/")[0] + "/" + key.rpartition("/")[2].partition(".")[0]
        member = layout.member_of_manifest(f"{stem}.manifest.json")
        if stem in stems or (member is not None and (member.id in claimed or member.id in marked)):
            continue
        # A run that began a moment ago is announced, and its announcement may not have been listed yet.
        if member is None or not (found(catalogue.store, member.announcement) or still_there(catalogue, member)):
            yield key, member
