"""Whether the backups of a repository can be restored, asked at four levels. Never writes to the store (storage/read_only.py).

1  the store's metadata: signatures, parents, sizes, a key file          needs no key
2  every stored byte against its SHA-256                                 needs no key
3  decrypted and decompressed: every file, or some, against its SHA-256  needs the identity
4  restored into a scratch folder, and that compared with the index      needs the identity, and room
"""

from __future__ import annotations

import random
import threading
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import IntEnum
from pathlib import Path

from iot_backup.core.layout import Member
from iot_backup.core.spec import Floor
from iot_backup.errors import (
    ChainBroken,
    CorruptData,
    InvalidSpec,
    IotBackupError,
    KeyMissing,
    RolledBack,
    SourceUnavailable,
    StateUnreadable,
)
from iot_backup.repository import floor, keyfiles, removals
from iot_backup.repository.catalogue import Entry
from iot_backup.repository.inspection import Gap, Inspector, gaps, with_parents
from iot_backup.repository.opening import Repository
from iot_backup.storage.read_only import ReadOnly
from iot_backup.worker import verify_content, verify_restored
from iot_backup.worker.flow import Flow, Stop
from iot_backup.worker.verify_content import Checked

EVERYTHING = 100.0
"""Percent."""
_DAMAGE = frozenset(error.__name__ for error in (CorruptData, ChainBroken, StateUnreadable))


class Level(IntEnum):
    """How deep to look. Each has what is below it; a restore reads and hashes as level 3 does."""

    METADATA = 1
    STORED = 2
    CONTENT = 3
    RESTORED = 4


@dataclass(frozen=True)
class Wish:
    """What to verify, and how."""

    level: Level
    ids: Collection[str] = ()
    """Backups, with all that they build on; none, and no `chains`: all of the repository."""
    chains: Collection[str] = ()
    """Beside `ids`: what is wrong with these chains is told, too: backups that do not count, and numbers that no backup has."""
    chain: str | None = None
    """Only this one."""
    percent: float = EVERYTHING
    """Level 3: of the files, chosen by `rng`. Below 100 the archives are not read whole, so level 2 is left out."""
    rng: random.Random = field(default_factory=random.SystemRandom)
    scratch: Path | None = None
    """Level 4: an empty folder; each backup gets one below it, which is gone afterwards."""
    floors: Mapping[str, Floor] = field(default_factory=dict)
    """By chain the newest backup that somebody remembers; with `chain`, only for that one."""
    stop: Stop = field(default_factory=threading.Event)


@dataclass(frozen=True)
class Problem:
    """What is wrong, as an error says it."""

    reason: str
    """Name of the class in errors.py."""
    message: str

    @classmethod
    def of(cls, error: IotBackupError) -> Problem:
        return cls(error.reason, error.message)


@dataclass(frozen=True)
class Verified:
    """What was found of one backup."""

    member: Member
    type: str | None
    """None where the manifest does not count."""
    level: Level
    problems: tuple[Problem, ...]
    files: int = 0
    """Read and hashed (level 3 and 4)."""
    bytes: int = 0
    """Of their contents."""
    removed: bool = False
    """Passed over: retention took it away meanwhile, or is about to."""

    @property
    def ok(self) -> bool:
        return not self.problems

    @property
    def damaged(self) -> bool:
        """Whether its bytes are at fault, not the key, and not a manifest that does not count."""
        return self.type is not None and any(problem.reason in _DAMAGE for problem in self.problems)


@dataclass(frozen=True)
class Verification:
    """What was found of a repository."""

    backups: tuple[Verified, ...]
    """By chain, oldest first."""
    problems: tuple[Problem, ...]
    """Of the whole: no key file, a chain that ends before its floor."""
    missing: Mapping[str, tuple[Gap, ...]]
    """By chain the numbers (`seq`) that no backup has: and no record of retention explains: somebody took them away."""

    @property
    def ok(self) -> bool:
        return not self.problems and not self.missing and all(backup.ok for backup in self.backups)


def verify(repository: Repository, wish: Wish) -> Verification:
    """Look at the wished backups. Problems of backups are told, not raised.

    Raises StorageUnavailable and AccessDenied for the store, SourceUnavailable where a wished backup is not there, KeyMissing for
    level 3 and 4 without the identity, InvalidSpec for level 4 without `scratch`, and Cancelled. `repository`: opened for a restore, or to look.
    """
    _check_wish(repository, wish)
    repository = replace(repository, store=ReadOnly(repository.store), catalogue=repository.catalogue.over(ReadOnly(repository.store)))
    entries = repository.catalogue.entries(wish.chain)
    wanted = _wanted(sorted(entries, key=_age), wish, repository.namespace)
    whole = wish.level >= Level.STORED and wish.percent >= EVERYTHING
    inspector = Inspector(repository.store, entries, Flow(wish.stop).check)
    problems = [Problem.of(error) for error in _of_the_whole(repository, entries, wish)]
    backups = tuple(_passed_over(repository, _verified(repository, inspector, entry, wish, whole=whole)) for entry in wanted)
    return Verification(backups, tuple(problems), _missing(repository, entries, wish))


def _missing(repository: Repository, entries: Sequence[Entry], wish: Wish) -> dict[str, tuple[Gap, ...]]:
    """Of the wished chains; of all where nothing is wished for, and of none where it is backups alone."""
    if wish.ids and not wish.chains:
        return {}
    judged = (entry.manifest for entry in entries if entry.manifest and (not wish.chains or entry.member.chain in wish.chains))
    return gaps(judged, removals.numbers(repository.catalogue))


def _check_wish(repository: Repository, wish: Wish) -> None:
    if wish.level >= Level.CONTENT and repository.record.recipient is not None and repository.identity is None:
        raise KeyMissing(
            f"level {wish.level:d} reads what is encrypted, and no key was given: bring one, or ask for level {Level.STORED:d}"
        )
    if wish.level >= Level.RESTORED and wish.scratch is None:
        raise InvalidSpec(f"level {wish.level:d} restores, and no scratch folder was given")
    if not 0 < wish.percent <= EVERYTHING:
        raise InvalidSpec(f"{wish.percent} % of the files cannot be verified: more than 0, and 100 at most")


def _wanted(entries: Sequence[Entry], wish: Wish, namespace: str) -> tuple[Entry, ...]:
    if not wish.ids and not wish.chains:
        return tuple(entries)
    if absent := sorted(set(wish.ids) - {entry.member.id for entry in entries}):
        raise SourceUnavailable(f"the store has no backup {', '.join(absent)} of namespace {namespace}: correct the id, or the chain")
    # Whose backup it was, only its manifest could tell: of one that does not count, the chain must do.
    meant = (e for e in entries if e.member.id in wish.ids or (e.manifest is None and e.member.chain in wish.chains))
    return with_parents(meant, entries)


def _age(entry: Entry) -> tuple[str, datetime, int, str]:
    """By chain, and there by time; within a second by number."""
    return entry.member.chain, entry.member.started, entry.manifest.seq if entry.manifest else 0, entry.member.id


def _of_the_whole(repository: Repository, entries: Sequence[Entry], wish: Wish) -> Iterator[IotBackupError]:
    """What is wrong with no single backup."""
    record = repository.record
    if record.recipient is not None and not keyfiles.present(repository.store, record):
        yield KeyMissing(f"no key file for {record.recipient} is left: without a copy of the identity nothing here can be restored")
    for chain, remembered in sorted((c, f) for c, f in wish.floors.items() if wish.chain in (None, c)):
        try:
            floor.check(chain, entries, remembered)
        except RolledBack as error:
            yield error


def _verified(repository: Repository, inspector: Inspector, entry: Entry, wish: Wish, *, whole: bool) -> Verified:
    manifest = entry.manifest
    if manifest is None:
        problem = entry.problem or CorruptData(f"{entry.member.manifest} cannot be read")
        return Verified(entry.member, None, wish.level, (Problem.of(problem),))
    problems = [Problem.of(error) for error in (inspector.bytes(manifest) if whole else inspector.metadata(manifest))]
    checked = Checked()
    if wish.level == Level.CONTENT:
        checked = verify_content.check(repository, inspector.entries, manifest, percent=wish.percent, rng=wish.rng, stop=wish.stop)
    elif wish.level == Level.RESTORED and wish.scratch is not None:
        checked = verify_restored.check(repository, inspector.entries, manifest, wish.scratch, wish.stop)
    problems += [Problem.of(error) for error in checked.problems]
    return Verified(entry.member, manifest.type, wish.level, tuple(dict.fromkeys(problems)), checked.files, checked.bytes)


def _passed_over(repository: Repository, found: Verified) -> Verified:
    """The same, but for one that retention takes beside us: what is missing of it then, nobody misses."""
    if found.ok or not removals.taken(repository.catalogue, found.member):
        return found
    return replace(found, problems=(), removed=True)
