"""All that retention decides upon, read from the store. Whatever cannot be read makes backups stay, or stops everything."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta

from iot_backup.core import layout
from iot_backup.core.layout import Member
from iot_backup.core.manifest import Manifest, order
from iot_backup.core.retention import Around, Key, Point, Policy
from iot_backup.core.spec import Floor
from iot_backup.crypto.signing import Purpose
from iot_backup.errors import CorruptData, RolledBack, Untrusted
from iot_backup.repository import floor, holds, inspection, notices, records, removals
from iot_backup.repository.catalogue import Catalogue, Entry
from iot_backup.repository.records import Announcement, DoomedRecord, HoldRecord
from iot_backup.repository.writing import found
from iot_backup.storage.store import ObjectInfo

_MISDATED = "its time is not that of the store"
_TOLERATED = timedelta(hours=1)
"""Beyond the run itself, between a manifest's time and the store's time of the object."""


@dataclass(frozen=True)
class Survey:
    """A repository at one moment."""

    points: tuple[Point, ...]
    around: Around
    markers: Mapping[str, DoomedRecord]
    """Ours, by the backup's id."""
    hashes: Mapping[Key, str]
    """SHA-256 of each manifest."""
    manifests: Mapping[Key, Manifest] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    """What a person should know of."""


def surveyed(
    catalogue: Catalogue, writer: str, policies: Mapping[str, Policy], floors: Mapping[str, Floor], primary: Catalogue | None = None
) -> Survey:
    """`primary`: of what the repository is a copy of; what is pinned or frozen there stays here, too.

    Announcements first: a run that is not announced any more has its manifest there. Holds last: a frozen chain's was there before its manifest.
    CorruptData, Untrusted for an announcement or a hold that cannot be read; StorageUnavailable, AccessDenied.
    """
    building = {each.parent: each.id for each in _announced(catalogue) if each.parent}
    markers, problems = _markers(catalogue, writer)
    objects = {info.key: info for info in list(catalogue.store.list(layout.CHAINS))}
    entries = catalogue.entries()
    gone = removals.listed(catalogue)
    held = [*holds.listed(catalogue), *(_held_there(primary) if primary else ())]
    good = [(entry, entry.manifest) for entry in entries if entry.manifest]
    explained = {chain: {victim.seq for victim in victims} for chain, victims in gone.items()}
    for marker in markers.values():
        explained.setdefault(marker.chain, set()).add(marker.victim.seq)
    stopped = dict(_stopped(entries, held, floors))
    gaps = _gaps(catalogue, [m for _, m in good], explained, primary)
    removed = {(chain, victim.id) for chain, victims in gone.items() for victim in victims}
    hashes = {(m.chain, m.id): entry.manifest_sha256 for entry, m in good}
    good.sort(key=lambda each: (each[1].chain, *order(each[1])))
    points = tuple(_point(m, entry, objects, held, hashes, removed, copied=primary is not None) for entry, m in good)
    return Survey(
        points,
        Around(writer, policies, stopped, building, gaps),
        markers,
        hashes,
        {(m.chain, m.id): m for _, m in good},
        (*problems, *(f"chain {chain}: {why}" for chain, why in stopped.items()), *_missing(gaps), *_misdated(points)),
    )


def _gaps(
    catalogue: Catalogue, manifests: Sequence[Manifest], explained: Mapping[str, set[int]], primary: Catalogue | None
) -> dict[str, int]:
    """By chain the highest number that nothing explains."""
    missing = inspection.gaps(manifests, explained)
    if primary is not None and missing:
        further = {chain: explained.get(chain, set()) | _never_here(catalogue, primary, chain, gaps) for chain, gaps in missing.items()}
        missing = inspection.gaps((m for m in manifests if m.chain in missing), further)
    return {chain: gaps[-1][1] for chain, gaps in missing.items()}


def _never_here(copy: Catalogue, primary: Catalogue, chain: str, missing: Sequence[inspection.Gap]) -> set[int]:
    """Those of the missing numbers that nobody took out of the copy: the primary has them, or took them away itself, and the copy, asked by the
    key of each, does not have them. They were not copied (damaged there, or without their base) or not in time.

    What the copy has and its listing hides is missing there, whatever the primary says of it: it may build on anything below it.
    """
    gone = ((victim.seq, victim.member(chain)) for victim in removals.listed(primary).get(chain, ()))
    kept = ((entry.manifest.seq, entry.member) for entry in primary.entries(chain) if entry.manifest)
    known: dict[int, list[Member]] = {}
    for number, member in (*gone, *kept):
        if any(first <= number <= last for first, last in missing):
            known.setdefault(number, []).append(member)
    return {number for number, members in known.items() if not any(still_there(copy, member) for member in members)}


def _held_there(primary: Catalogue) -> Iterator[HoldRecord]:
    """What binds its copies as well. Damage is of one store's bytes: the copy may be the good one."""
    return (hold for hold in holds.listed(primary) if hold.reason != holds.DAMAGED)


def _missing(gaps: Mapping[str, int]) -> Iterator[str]:
    for chain, number in gaps.items():
        yield (
            f"chain {chain}: Missing: number {number} is gone, and no record says that retention took it. It may build on what is below it, so "
            "nothing of that goes. Run verify, and find out who deletes from the storage"
        )


def _misdated(points: Sequence[Point]) -> Iterator[str]:
    """Nothing of these ever goes, which is what a store looks like that somebody copied without its times."""
    by_chain = Counter(point.chain for point in points if _MISDATED in point.flaws)
    for chain, count in by_chain.items():
        yield (
            f"chain {chain}: Misdated: {count} of its backups were not stored when they say that they were made, so they count in no rule and stay. "
            "If the storage was copied from another place, copy it again with its times (cp -p, rsync -t); where it cannot keep them, give the job "
            "another chain"
        )


def _announced(catalogue: Catalogue) -> Iterator[Announcement]:
    for info in list(catalogue.store.list(layout.ANNOUNCE)):
        data = found(catalogue.store, info.key)
        if data is not None:
            yield records.decoded(Announcement, data, info.key)


def _markers(catalogue: Catalogue, writer: str) -> tuple[dict[str, DoomedRecord], list[str]]:
    ours: dict[str, DoomedRecord] = {}
    problems = []
    for info in list(catalogue.store.list(layout.DOOMED)):
        data = found(catalogue.store, info.key)
        if data is None:
            continue
        try:
            record = notices.judged(catalogue, DoomedRecord, data, info.key, Purpose.DOOMED)
        except (CorruptData, Untrusted) as error:
            problems.append(f"{error}. It is left alone")
            continue
        if record.writer == writer and layout.doomed_id(info.key) == record.victim.id:
            ours[record.victim.id] = record
    return ours, problems


def _stopped(entries: Sequence[Entry], held: Sequence[HoldRecord], floors: Mapping[str, Floor]) -> Iterator[tuple[str, str]]:
    for chain, remembered in floors.items():
        try:
            floor.check(chain, entries, remembered)
        except RolledBack as error:
            yield chain, f"RolledBack: {error}"
    for entry in entries:
        if entry.problem:
            yield entry.member.chain, f"a manifest of the chain does not count, and nobody knows what it builds on: {entry.problem}"
    for hold in held:
        if hold.reason == holds.FROZEN:
            yield hold.chain, f"frozen because of {hold.id}: {hold.message}"


def _point(
    manifest: Manifest,
    entry: Entry,
    objects: Mapping[str, ObjectInfo],
    held: Sequence[HoldRecord],
    hashes: Mapping[Key, str],
    removed: set[Key],
    *,
    copied: bool,
) -> Point:
    own = [hold for hold in held if hold.id == manifest.id]
    return Point(
        chain=manifest.chain,
        id=manifest.id,
        seq=manifest.seq,
        parent=manifest.parent.id if manifest.parent else None,
        job=manifest.source.job,
        writer=manifest.writer,
        time=manifest.start_time,
        partial=manifest.partial,
        flaws=tuple(_flaws(manifest, entry.member, objects, own, hashes, removed, copied=copied)),
        holds=tuple(f"{hold.reason}: {hold.message}" if hold.message else hold.reason for hold in own),
    )


def _flaws(
    manifest: Manifest,
    member: Member,
    objects: Mapping[str, ObjectInfo],
    held: Sequence[HoldRecord],
    hashes: Mapping[Key, str],
    removed: set[Key],
    *,
    copied: bool,
) -> Iterator[str]:
    for key, size in ((manifest.archive_key, manifest.archive.size), (member.index, manifest.index.size)):
        if key not in objects:
            yield f"the listing has no {key}"
        elif objects[key].size != size:
            yield f"{key} has another size than was signed"
    stored = objects.get(member.manifest)
    run = manifest.completion_time - manifest.start_time
    # A copy may be made long after its backup, and never before it.
    late = copied and stored is not None and stored.modified >= manifest.start_time - _TOLERATED
    if stored is None or (not late and abs(stored.modified - manifest.start_time) > abs(run) + _TOLERATED):
        yield _MISDATED
    parent = manifest.parent
    if parent is not None and hashes.get((manifest.chain, parent.id), parent.manifest_sha256) != parent.manifest_sha256:
        yield "what it builds on was replaced"
    if (manifest.chain, manifest.id) in removed:
        yield "it was removed before, and came back"
    yield from ("suspicious" if hold.reason == holds.FROZEN else "damaged" for hold in held if hold.reason in (holds.FROZEN, holds.DAMAGED))


def still_there(catalogue: Catalogue, member: Member) -> bool:
    """Whether the store has that manifest, asked by its key, never by a listing."""
    with suppress(CorruptData):
        return found(catalogue.store, member.manifest) is not None
    return True
