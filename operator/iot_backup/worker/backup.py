"""One backup, from the order to the committed manifest."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from iot_backup import __version__, vocabulary
from iot_backup.core import manifest, spec
from iot_backup.core.report import BackupResult, Warn
from iot_backup.core.suspicion import Figures
from iot_backup.core.wording import is_path, place
from iot_backup.crypto.state import SALT
from iot_backup.errors import AccessDenied, EmptySource, Internal, IotBackupError, StateUnreadable
from iot_backup.repository import clocks, trust
from iot_backup.repository.commit import Committed, Deadline, Outcome, Run
from iot_backup.repository.opening import Repository, open_for_backup
from iot_backup.storage.opening import open_store
from iot_backup.storage.secret_values import Secrets
from iot_backup.storage.throttled import throttled
from iot_backup.worker import basis, configuration, folders, freezing, keys
from iot_backup.worker.basis import Basis
from iot_backup.worker.notes import CHANGED, DAMAGED, INCOMPLETE, SKIPPED, UNREADABLE, VANISHED, Noted
from iot_backup.worker.packing import Destination, Packed, Sink, pack
from iot_backup.worker.progress import Progress
from iot_backup.worker.sealing import Stored
from iot_backup.worker.selection import Selection, described
from iot_backup.worker.sizing import expected_size
from iot_backup.worker.spared import holding

if TYPE_CHECKING:
    from iot_backup.storage.store import Store
    from iot_backup.worker.cancelling import Cancel

_log = logging.getLogger(__name__)

WARNINGS = {
    SKIPPED: (vocabulary.FILES_SKIPPED, "left out on purpose"),
    VANISHED: (vocabulary.FILES_VANISHED, "gone when they should be read"),
    CHANGED: (vocabulary.FILES_CHANGED, "changed while they were read; stored as read"),
    UNREADABLE: (vocabulary.FILES_UNREADABLE, "could not be read and are not in the backup"),
    DAMAGED: (vocabulary.FILES_DAMAGED, "could not be read to their end; zeros stand for the rest"),
    INCOMPLETE: (vocabulary.FILES_INCOMPLETE, "are stored without some of their extended attributes, which could not be read"),
}
"""Reason and meaning of each kind of note."""


def backup(
    order: spec.BackupOrder,
    secrets: Secrets,
    source: Path,
    cancel: Cancel,
    progress: Progress | None = None,
    *,
    spared: Sequence[Path] = (),
) -> tuple[BackupResult, tuple[Warn, ...]]:
    """Back the source up and commit it. After any error before the commit the store is as it was, plus at most announced garbage.

    `spared`: further folders that hold backups, besides the order's own store: they are not taken, whatever path leads to them.
    """
    booted = time.clock_gettime(time.CLOCK_BOOTTIME)
    with folders.opened(source, order.path, order.claim) as root:
        order, incomplete = configuration.completed(order, root)
        selection = Selection(order.include, order.exclude)
        store = throttled(open_store(order.repository, secrets), order.bandwidth_limit, time.monotonic, cancel.pause)
        writer = keys.writer(order.repository, secrets)
        repository = open_for_backup(store, order.repository.namespace, order.trust, writer)
        trust.check_algorithm(repository.record, order.repository.encryption.algorithm)
        started = datetime.now(UTC)
        clock = clocks.compared(started, store.now())
        deadline = Deadline(
            clock=lambda: time.clock_gettime(time.CLOCK_BOOTTIME),
            at=booted + order.timeout_seconds,
            on_store=clock.time(started) + timedelta(seconds=order.timeout_seconds),
        )
        attempt = _Attempt(order, repository, root, selection, clock, deadline, cancel, progress or Progress(), spared)
        chosen = basis.chosen(order, repository, _source(order), writer.id, _log.info)
        try:
            committed, packed, odd = attempt.made(chosen)
        except StateUnreadable as error:  # in the middle of it; nothing was published
            chosen = chosen.without(error)
            committed, packed, odd = attempt.made(chosen)
    told = (*odd, *chosen.warnings, *incomplete, *_warnings(packed), *committed.warnings, *([clock.warning] if clock.warning else []))
    return _result(repository, committed, packed), (*told, *_admission(repository))


@dataclass(frozen=True)
class _Attempt:
    """All that a run is made of but for what it builds on."""

    order: spec.BackupOrder
    repository: Repository
    root: int
    selection: Selection
    clock: clocks.Clock
    deadline: Deadline
    cancel: Cancel
    progress: Progress
    spared: Sequence[Path]

    def made(self, on: Basis) -> tuple[Committed, Packed, tuple[Warn, ...]]:
        """One run from its announcement to its commit, or to its abandonment."""
        order = self.order
        run = self.repository.begin(
            order.chain,
            started=self.clock.time(datetime.now(UTC)),
            deadline=self.deadline,
            tool=f"iot-backup-operator {__version__}",
            source=_source(order),
            rng=os.urandom,
            type_=on.type,
            base=on.base,
            seq=on.seq,
        )
        run.announce()
        try:
            packed = self._packed(run, on)
            odd = freezing.frozen(self.repository, run.member, _figures(on, packed), on.history)
            self.cancel.commit_begins()
            return run.commit(_outcome(order, packed, self.clock)), packed, odd
        except BaseException as error:
            run.abandon(error)  # which leaves all as it is once the commit was sent
            raise

    def _packed(self, run: Run, on: Basis) -> Packed:
        """Archive, index and state in the store, not yet committed. EmptySource, AccessDenied, and what source and store raise."""
        order, repository = self.order, self.repository
        level = order.level if order.compression == "Zstd" else None
        _log.info("reading %s, %.2f s after the process began", place(order.claim), _age())
        packed = pack(
            self.root,
            Destination(repository.sealer(), _sink(repository.store, run.archive_key, self._size_hint(compressed=level is not None))),
            Destination(repository.sealer(), _sink(repository.store, run.index_key, 0)),
            archives=[*on.archives, run.member.id],
            level=level,
            stop=self.cancel.requested,
            selection=self.selection,
            one_file_system=order.one_file_system,
            spared=holding(order.repository, self.spared),
            state=Destination(repository.state_sealer(run.member, os.urandom(SALT)), _sink(repository.store, run.state_key, 0)),
            base=on.earlier,
            tag=repository.block_tags(),
            progress=self.progress,
        )
        if packed.counts.files + packed.counts.hard_links == 0 and not order.allow_empty:
            raise self._empty(packed)
        return packed

    def _size_hint(self, *, compressed: bool) -> int:
        order = self.order
        if isinstance(order.repository.store, spec.VolumeTarget):
            return 0
        check, one = self.cancel.check, order.one_file_system
        return expected_size(self.root, self.selection, one_file_system=one, compressed=compressed, check=check)

    def _empty(self, packed: Packed) -> IotBackupError:
        """Why there is no file in the backup."""
        order = self.order
        unreadable = packed.notes[UNREADABLE]
        if unreadable.count:
            return AccessDenied(
                f"user {os.geteuid()} can read no file of {place(order.claim)}: {unreadable.count} refused, for example {unreadable.examples[0]}. "
                f"Its root belongs to {packed.root_uid}:{packed.root_gid}: {_another_user(order.claim)}"
            )
        if self.selection:
            return EmptySource(
                f"the patterns ({described(order.include, order.exclude)}) select no file of {place(order.claim)}, folder {order.path or '/'!r}: "
                "they are gitignore's syntax, relative to that folder. Correct them; if there may be nothing, set allowEmpty: true."
            )
        return EmptySource(
            f"{place(order.claim)}, folder {order.path or '/'!r}, holds no file ({packed.counts.folders} folders): an empty volume is more often an accident "
            f"than data. {_if_empty(order.claim)}"
        )


def _source(order: spec.BackupOrder) -> manifest.Source:
    return manifest.Source(
        claim=order.claim,
        path=order.path,
        job=order.job,
        schedule=order.schedule,
        include=order.include,
        exclude=order.exclude,
        one_file_system=order.one_file_system,
    )


def _another_user(claim: str) -> str:
    return "run as that user, or as root." if is_path(claim) else "set worker.securityContext.runAsUser, or worker.identity: Root."


def _if_empty(claim: str) -> str:
    return (
        "Is something not mounted there? If it may be empty, set allow_empty: true."
        if is_path(claim)
        else "Check the claim; if it may be empty, set allowEmpty: true."
    )


def _figures(on: Basis, packed: Packed) -> Figures:
    counts = packed.counts
    return Figures(on.type, counts.files + counts.hard_links, counts.source_bytes, packed.archive.size)


def _sink(store: Store, key: str, size_hint: int) -> Sink:
    def sink(chunks: Iterator[bytes]) -> None:
        store.create_stream(key, chunks, size_hint=size_hint)

    return sink


def _age() -> float:
    """Seconds since this process began."""
    began = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - began


def _outcome(order: spec.BackupOrder, packed: Packed, clock: clocks.Clock) -> Outcome:
    counts, notes = packed.counts, packed.notes
    return Outcome(
        snapshot_time=clock.time(datetime.fromtimestamp(packed.snapshot_time_ns / 1e9, UTC)),
        completion_time=clock.time(datetime.now(UTC)),
        compression=manifest.Compression(algorithm=order.compression, level=order.level if order.compression == "Zstd" else 0),
        archive=_stored(packed.archive),
        index=_stored(packed.index),
        state=_stored(packed.state),
        counts=manifest.Counts(
            files=counts.files + counts.hard_links,
            entries=counts.entries,
            folders=counts.folders,
            links=counts.symlinks,
            source_bytes=counts.source_bytes,
            skipped=notes[SKIPPED].count,
            changed_while_read=notes[CHANGED].count,
            unreadable=notes[UNREADABLE].count + notes[DAMAGED].count,
        ),
        root_owner=manifest.Owner(uid=packed.root_uid, gid=packed.root_gid),
        partial=packed.partial,
        inconsistent_source=packed.running_postgresql,
        clock_skew_seconds=clock.skew.total_seconds(),
    )


def _stored(stored: Stored | None) -> manifest.StoredObject:
    if stored is None:
        raise Internal("a backup was packed without its state. This is a defect: please report it.")
    return manifest.StoredObject(size=stored.size, sha256=stored.sha256, header_sha256=stored.header_sha256)


def _result(repository: Repository, committed: Committed, packed: Packed) -> BackupResult:
    written = committed.manifest
    return BackupResult(
        archive=written.id,
        chain=written.chain,
        type=written.type,
        seq=written.seq,
        parent=written.parent.id if written.parent else None,
        start_time=written.start_time,
        completion_time=written.completion_time,
        snapshot_time=written.snapshot_time,
        size_bytes=written.archive.size,
        source_bytes=written.counts.source_bytes,
        files=written.counts.files,
        entries=written.counts.entries,
        checksum=f"sha256:{written.archive.sha256}",
        manifest_sha256=committed.manifest_sha256,
        owner_uid=packed.root_uid or os.geteuid(),
        owner_gid=packed.root_gid or os.getegid(),
        partial=written.partial,
        inconsistent_source=written.inconsistent_source,
        writer_admitted=repository.writer_admitted,
    )


def _warnings(packed: Packed) -> tuple[Warn, ...]:
    return tuple(_warning(note, noted) for note, noted in packed.notes.items() if noted.count)


def _warning(note: str, noted: Noted) -> Warn:
    reason, meaning = WARNINGS[note]
    return Warn(reason=reason, message=f"{noted.count} {meaning}: {'; '.join(noted.examples)}"[:1500], count=noted.count)


def _admission(repository: Repository) -> tuple[Warn, ...]:
    if repository.writer_admitted:
        return ()
    why = repository.admission_problem or "nobody who can open the repository vouched for this cluster's writer key"
    return (Warn(reason="WriterNotAdmitted", message=f"{why}. Backups are kept, and count once the key is admitted."),)
