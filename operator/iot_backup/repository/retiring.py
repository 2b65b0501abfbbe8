"""Takes backups away that the rules let go: says so first, waits until everybody can see it, looks again, and only then deletes.

    doomed/<id> for each -> wait -> look again, take markers of what is needed away -> manifests, newest first -> state, index, archive
    -> a signed record in removed/ -> the markers

A crash anywhere leaves markers, which say all that is needed to go on or to turn back; the next call does. A run that
chose one of the victims as its base meanwhile is seen by its announcement or manifest, or sees the marker itself and does not count.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, tzinfo

from iot_backup.core import layout, retention
from iot_backup.core.layout import Member
from iot_backup.core.retention import Key, Policy, Verdict
from iot_backup.core.spec import Floor
from iot_backup.crypto.signing import Purpose, WriterKey
from iot_backup.errors import InvalidSpec, StorageUnavailable, Untrusted
from iot_backup.repository import clocks, notices
from iot_backup.repository.catalogue import Catalogue
from iot_backup.repository.opening import Repository
from iot_backup.repository.records import DoomedRecord, RemovedRecord, Victim
from iot_backup.repository.survey import Survey, still_there, surveyed
from iot_backup.repository.sweeping import swept
from iot_backup.repository.writing import found, settled

_FOUND = "verify found it damaged"
_STILL_THERE = "which is marked to go, is still there: it does not count, a listing hid it, or the store shows old things"
_AT_ONCE = 500
"""Backups in one record: it stays far below what a small object may have."""


@dataclass(frozen=True)
class Rules:
    """By what is decided."""

    policies: Mapping[str, Policy]
    """By job."""
    zone: tzinfo
    floors: Mapping[str, Floor]
    """By chain the newest backup that somebody remembers."""
    primary: Catalogue | None = None
    """Of the repository that this one is a copy of: what it says it removed need not be here, and objects are younger than their backups."""
    damaged: Collection[str] = ()
    """Ids of backups that a verification found damaged: they count in no rule, and stay."""


@dataclass(frozen=True)
class Retired:
    """What became of a repository."""

    verdicts: tuple[Verdict, ...]
    """As last looked at."""
    removed: tuple[DoomedRecord, ...] = ()
    spared: tuple[str, ...] = ()
    """Ids whose markers were taken away again: something needs them."""
    problems: tuple[str, ...] = ()


def judged(repository: Repository, rules: Rules, now: datetime) -> tuple[Survey, tuple[Verdict, ...]]:
    """What would stay and what would go, by the store's clock. Nothing is written. What `surveyed` raises."""
    survey = surveyed(repository.catalogue, _writer(repository).id, rules.policies, rules.floors, rules.primary)
    points = (replace(point, flaws=(*point.flaws, _FOUND)) if point.id in rules.damaged else point for point in survey.points)
    survey = replace(survey, points=tuple(points))
    return survey, retention.decided(survey.points, survey.around, now, rules.zone)


def retired(repository: Repository, rules: Rules, local: datetime, wait: Callable[[], None]) -> Retired:
    """Remove what the rules let go. `local`: now on this machine's clock; `wait`: twice as long as the store may show old things.

    Untrusted for a writer that nobody admitted. Where the clocks differ by more than an hour, and where a hold or an announcement cannot be
    read, nothing is deleted. StorageUnavailable in the middle: the next call goes on.
    """
    writer, store = _writer(repository), repository.store
    if not repository.writer_admitted:
        raise Untrusted("retention removes only backups of an admitted writer, and this one is not: run key admit")
    now = store.now()
    if abs(local - now) > clocks.BROKEN:
        warning = clocks.compared(local, now).warning
        return Retired((), problems=(f"ClockSkew: {warning.message}" if warning else "ClockSkew",))
    orphaned = swept(repository.catalogue, writer.id, now, rules.primary).orphaned
    told = tuple(f"Orphaned: {key} belongs to no backup and no run; it is kept" for key in orphaned)
    survey, verdicts = judged(repository, rules, now)
    going = {verdict.point.key: verdict for verdict in verdicts if not verdict.keep}
    if not going and not survey.markers:
        return Retired(verdicts, problems=(*survey.problems, *told))
    for key, verdict in going.items():
        if verdict.point.id not in survey.markers and not _doomed(repository, writer, survey, key, verdict, now):
            told += (_not_ours(survey.manifests[key].member),)
    wait()
    survey, verdicts = judged(repository, rules, store.now())
    removable = {v.point.key for v in verdicts if not v.keep and v.point.id in survey.markers and v.point.key in going}
    victims = retention.closed(removable, survey.points)
    present = {point.key for point in survey.points}
    spared = [id_ for id_, marker in survey.markers.items() if (marker.chain, id_) in present - victims]
    for id_ in spared:
        store.delete(f"{layout.DOOMED}{id_}")
    leaving = [marker for id_, marker in survey.markers.items() if id_ not in spared]
    done, stuck = _removed(repository, writer, leaving, victims, now)
    left = {marker.victim.id for marker in done}
    return Retired(tuple(v for v in verdicts if v.point.id not in left), tuple(done), tuple(spared), (*survey.problems, *told, *stuck))


def _doomed(repository: Repository, writer: WriterKey, survey: Survey, key: Key, verdict: Verdict, now: datetime) -> bool:
    """Mark a victim; False where another marker lies in its place, by whomever, or one of ours that rotted."""
    manifest = survey.manifests[key]
    record = DoomedRecord(
        repository_id=repository.record.repository_id,
        namespace=repository.namespace,
        chain=manifest.chain,
        writer=writer.id,
        time=now,
        victim=Victim(
            id=manifest.id,
            seq=manifest.seq,
            type=manifest.type,
            start_time=manifest.start_time,
            manifest_sha256=survey.hashes[key],
            reason="; ".join(verdict.reasons),
        ),
    )
    return settled(repository.store, manifest.member.doomed, notices.encoded(record, writer, Purpose.DOOMED))


def _not_ours(member: Member) -> str:
    return (
        f"chain {member.chain}: the backup {member.id} stays, which no rule keeps: {member.doomed} is there, and does not say what this machine would "
        "say. It rotted, or another one wrote it: delete that object, and the next retention goes on"
    )


def _removed(
    repository: Repository, writer: WriterKey, markers: Sequence[DoomedRecord], victims: set[Key], now: datetime
) -> tuple[list[DoomedRecord], list[str]]:
    """Those of the marked ones that are gone now: the victims, and whatever an earlier call had begun with. And why others are not.

    One that stays ends the work on its chain, and on no other: nobody can tell what it needs of what would come next.
    """
    done: list[DoomedRecord] = []
    stuck: dict[str, str] = {}
    for marker in sorted(markers, key=lambda each: (each.chain, each.victim.seq), reverse=True):
        member = _member(marker)
        if marker.chain in stuck:
            continue
        if (marker.chain, marker.victim.id) in victims:
            # Somebody who needs it may have taken the marker away: then it is none of our victims any more.
            if found(repository.store, member.doomed) is None:
                stuck[marker.chain] = f"somebody took {member.doomed} away meanwhile"
                continue
            repository.store.delete(member.manifest)
        if still_there(repository.catalogue, member):
            stuck[marker.chain] = f"{member.manifest}, {_STILL_THERE}"
            continue
        done.append(marker)
    finished = _finished(repository, writer, done, now)
    return finished, [
        f"chain {chain}: {why}; older backups of the chain that should go stay until the next retention" for chain, why in stuck.items()
    ]


def _finished(repository: Repository, writer: WriterKey, markers: list[DoomedRecord], now: datetime) -> list[DoomedRecord]:
    """Everything else of backups whose manifests are gone, then the record, then the markers."""
    for marker in markers:
        member = _member(marker)
        for key in (member.state, member.index, member.archive(marker.victim.type, repository.record.cipher)):
            repository.store.delete(key)
    for batch in _batches(markers):
        record = RemovedRecord(
            repository_id=repository.record.repository_id,
            namespace=repository.namespace,
            chain=batch[0].chain,
            writer=writer.id,
            time=now,
            victims=tuple(marker.victim for marker in batch),
        )
        data = notices.encoded(record, writer, Purpose.REMOVED)
        numbers = [marker.victim.seq for marker in batch]
        key = layout.removed(record.chain, min(numbers), max(numbers), hashlib.sha256(data).hexdigest()[:16])
        if not settled(repository.store, key, data):
            raise StorageUnavailable(f"{key} holds other bytes than its name says: the record of a removal could not be written")
    for marker in markers:
        repository.store.delete(_member(marker).doomed)
    return markers


def _batches(markers: Iterable[DoomedRecord]) -> Iterable[list[DoomedRecord]]:
    by_chain: dict[str, list[DoomedRecord]] = {}
    for marker in markers:
        by_chain.setdefault(marker.chain, []).append(marker)
    for group in by_chain.values():
        for start in range(0, len(group), _AT_ONCE):
            yield group[start : start + _AT_ONCE]


def _member(marker: DoomedRecord) -> Member:
    return marker.victim.member(marker.chain)


def _writer(repository: Repository) -> WriterKey:
    if repository.writer is None:
        raise InvalidSpec("the repository was opened to read; retention needs the writer key")
    return repository.writer
