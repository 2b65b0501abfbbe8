"""Takes away what dead runs left: only what an announcement of ours names, long after its deadline, and only where the store says that there is no manifest."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import get_args

from iot_backup.core import layout
from iot_backup.core.layout import Member
from iot_backup.core.spec import BackupType
from iot_backup.repository import records
from iot_backup.repository.catalogue import Catalogue
from iot_backup.repository.records import Announcement
from iot_backup.repository.survey import still_there
from iot_backup.repository.writing import found

PATIENCE = timedelta(hours=24)
"""Beyond a run's deadline, after which it commits nothing any more."""


@dataclass(frozen=True)
class Swept:
    """What was found."""

    removed: tuple[str, ...]
    """Ids of dead runs whose uploads are gone now."""
    orphaned: tuple[str, ...]
    """Keys that nobody claims: no manifest, announcement or marker. They are kept."""


def swept(catalogue: Catalogue, writer: str, now: datetime) -> Swept:
    """Remove what dead runs of this writer left. `now`: on the store's clock. CorruptData for an announcement that cannot be read."""
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
        if not still_there(catalogue, member):
            for key in _uploads(member, catalogue.record.cipher):
                if key in run.objects:
                    store.delete(key)
            removed.append(run.id)
        store.delete(member.announcement)
    return Swept(tuple(removed), tuple(_orphans(catalogue, claimed)))


def _uploads(member: Member, cipher: str) -> Iterator[str]:
    yield from (member.state, member.index)
    yield from (member.archive(type_, cipher) for type_ in get_args(BackupType))


def _orphans(catalogue: Catalogue, claimed: set[str]) -> Iterator[str]:
    """Listed keys of the chains' folders whose manifest is not listed and, asked by its key, is not there."""
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
            yield key
