"""What a backup builds on: chosen among the chain's good backups, and opened. Where that cannot be done, the backup is a Full."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from iot_backup import vocabulary
from iot_backup.core import chains, spec
from iot_backup.core import manifest as manifests
from iot_backup.core.chains import Known, Wanted
from iot_backup.core.report import Warn
from iot_backup.core.suspicion import Figures, figures
from iot_backup.errors import CorruptData, StateUnreadable
from iot_backup.repository import floor
from iot_backup.repository.catalogue import size_of
from iot_backup.repository.commit import Base
from iot_backup.worker.compression import Decompressed
from iot_backup.worker.earlier import Earlier

if TYPE_CHECKING:
    from iot_backup.core.manifest import Manifest, Source
    from iot_backup.repository.catalogue import Catalogue
    from iot_backup.repository.opening import Repository


@dataclass(frozen=True)
class Basis:
    """How a run begins."""

    type: spec.BackupType
    seq: int
    base: Base | None = None
    earlier: Earlier | None = None
    """The base's state, opened: to be read once."""
    warnings: tuple[Warn, ...] = ()
    history: tuple[Figures, ...] = ()
    """Of this writer's whole backups in the chain, of the same source or the same job, oldest first."""

    @property
    def archives(self) -> tuple[str, ...]:
        """Ids of the backups whose archives rows of the base refer to."""
        return self.earlier.archives if self.earlier else ()

    def without(self, problem: CorruptData, reason: str = vocabulary.STATE_UNREADABLE) -> Basis:
        """The same as a Full, since the base, or its state, cannot be used."""
        message = f"{problem.message}. This backup is a Full instead; the next ones build on it."
        warnings = (*self.warnings, Warn(reason=reason, message=message[:1500]))
        return Basis("Full", self.seq, warnings=warnings, history=self.history)


def chosen(order: spec.BackupOrder, repository: Repository, source: Source, writer: str, log: Callable[[str], None]) -> Basis:
    """Nothing is written. RolledBack if the store shows less of the chain than is remembered; StorageUnavailable, AccessDenied.

    `source`: as the manifest will name it; `writer`: id of our key; `log` is told why a backup became a Full.
    """
    catalogue = repository.catalogue
    entries = catalogue.recent(order.chain, writer, order.floor.seq if order.floor else 0)
    floor.check(order.chain, entries, order.floor)
    good = [Known(entry.manifest, entry.manifest_sha256) for entry in entries if entry.manifest]
    seq = manifests.next_seq([known.manifest for known in good])
    wanted = Wanted(
        type=order.type,
        source=source,
        writer=writer,
        writer_admitted=repository.writer_admitted,
        cipher=repository.record.cipher,
        recipient=repository.record.recipient,
        generation=repository.record.generation,
        max_chain_length=order.max_chain_length,
    )
    choice = chains.chosen(good, wanted, _never_a_base(catalogue, order))
    if choice.reason:
        log(f"{choice.reason}: {choice.message}")
    history = tuple(_history([known.manifest for known in good], source, writer))
    basis = Basis(choice.type, seq, warnings=choice.warnings, history=history)
    if choice.base is None:
        return basis
    manifest = choice.base.manifest
    try:
        _check_archives(repository, chains.line(choice.base, good))
    except CorruptData as error:
        return basis.without(error, vocabulary.BASE_MISSING)
    try:
        earlier = _opened(repository, manifest)
    except CorruptData as error:
        return basis.without(error)
    return Basis(choice.type, seq, Base(manifest.member, choice.base.sha256), earlier, choice.warnings, history)


def _never_a_base(catalogue: Catalogue, order: spec.BackupOrder) -> set[str]:
    """Ids of what is being deleted, and of what somebody found damaged."""
    return catalogue.doomed() | catalogue.damaged() | set(order.damaged) if order.type in chains.BUILDS else set()


def _history(good: Iterable[Manifest], source: Source, writer: str) -> Iterator[Figures]:
    """A typing error among the filters looks like an emptied source: so what the job was before counts, too."""
    for made in sorted(good, key=manifests.order):
        same = all(
            getattr(made.source, fact) == getattr(source, fact) for fact in ("claim", "path", "include", "exclude", "one_file_system")
        )
        if not made.partial and made.writer == writer and (same or made.source.job == source.job):
            yield figures(made, same_source=same)


def _check_archives(repository: Repository, line: list[Manifest]) -> None:
    """CorruptData if an archive that the base builds on, or its own, is not there whole: a backup upon it could not be restored."""
    for member in line:
        size = size_of(repository.store, member.archive_key)
        if size != member.archive.size:
            have = "is gone" if size is None else f"has {size} bytes instead of {member.archive.size}"
            raise CorruptData(f"{member.archive_key} {have}: nothing can build on it. Find out who deletes from the store")


def _opened(repository: Repository, manifest: Manifest) -> Earlier:
    """CorruptData if the state is not what its manifest signs, or another backup's."""
    earlier = Earlier(Decompressed(repository.state_reader(manifest)))
    if earlier.archives[-1] != manifest.id:
        raise StateUnreadable(f"the state of the backup {manifest.id} is that of {earlier.archives[-1]}")
    return earlier
