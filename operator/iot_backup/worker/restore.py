"""One restore, from the order to a verified tree on disk, or to a plan of it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from iot_backup.core import spec
from iot_backup.core.manifest import Manifest
from iot_backup.core.report import PlanResult, RestoreResult, Warn
from iot_backup.core.wording import is_path
from iot_backup.errors import CorruptData
from iot_backup.repository import floor, reading, trust
from iot_backup.repository.lineage import lineage
from iot_backup.repository.opening import Repository, open_for_restore, open_to_look
from iot_backup.storage.opening import open_store
from iot_backup.storage.secret_values import Secrets
from iot_backup.storage.throttled import throttled
from iot_backup.worker import folders, keys
from iot_backup.worker.beside import Beside
from iot_backup.worker.chosen import chosen
from iot_backup.worker.compression import Decompressed
from iot_backup.worker.extract import Rules
from iot_backup.worker.index_reader import IndexReader
from iot_backup.worker.mirror import Mirror
from iot_backup.worker.notes import CHANGED, DAMAGED, INCOMPLETE, UNREADABLE
from iot_backup.worker.planning import Costs, planned
from iot_backup.worker.progress import Progress
from iot_backup.worker.room import check_room
from iot_backup.worker.selection import EVERYTHING, Selection, described
from iot_backup.worker.spared import Folders, holding
from iot_backup.worker.survey import Survey, surveyed
from iot_backup.worker.unpacking import Source, Unpacked, unpack

if TYPE_CHECKING:
    from iot_backup.storage.store import Store
    from iot_backup.worker.cancelling import Cancel

_log = logging.getLogger(__name__)


def restore(
    order: spec.RestoreOrder,
    secrets: Secrets,
    target: Path,
    cancel: Cancel,
    progress: Progress | None = None,
    *,
    spared: Sequence[Path] = (),
) -> tuple[RestoreResult | PlanResult, tuple[Warn, ...]]:
    """Restore one member into the target, or say what that would do.

    Nothing is written before everything that can be checked was checked: the chain, the whole index, and with `verify` each archive
    whole. A selective restore does not read archives whole: what it reads of them is authenticated as it is read. `spared`: folders that
    it neither writes into nor removes, besides the store that it reads; a worker in a cluster sees no others.
    """
    with folders.opened(target, "", order.claim) as root:
        store = throttled(open_store(order.repository, secrets), order.bandwidth_limit, time.monotonic, cancel.pause)
        return _Restore(order, store, secrets, root, cancel, progress, holding(order.repository, spared)).run()


class _Index:
    """The wanted backup's index, verified, to be read as often as needed."""

    def __init__(self, store: Store, manifest: Manifest, repository: Repository, blocks: reading.Blocks) -> None:
        self._store, self._manifest, self._blocks = store, manifest, blocks
        self.identity = repository.identity

    def read(self, mirror: Mirror | None = None) -> IndexReader:
        """From its beginning. With a Mirror, it is told of paths that the backup could not hold."""
        plain = reading.index(self._store, self._manifest, self.identity, self._blocks)
        return IndexReader(Decompressed(plain), mirror.note if mirror else None)


class _Restore:
    """What its steps share."""

    def __init__(
        self,
        order: spec.RestoreOrder,
        store: Store,
        secrets: Secrets,
        root: int,
        cancel: Cancel,
        progress: Progress | None,
        spared: Folders,
    ) -> None:
        self._spared = spared
        self._order, self._store, self._root, self._cancel, self._progress = order, store, root, cancel, progress
        self._verifies = order.verify and order.type == "Full"
        self._selection = Selection(order.include, order.exclude) if order.type == "Selective" else EVERYTHING
        # A passphrase takes a second and a half to try: the archive is verified meanwhile.
        self._opening = Beside(lambda: self._opened(secrets))

    def run(self) -> tuple[RestoreResult | PlanResult, tuple[Warn, ...]]:
        order = self._order
        looking = self._opening.result() if order.trust is None else open_to_look(self._store, order.repository.namespace, order.trust)
        trust.check_algorithm(looking.record, order.repository.encryption.algorithm)
        line = lineage(looking.catalogue, looking.find(order.archive, order.chain))
        manifest = line.members[-1]
        if order.floor is not None:
            floor.check(manifest.chain, looking.catalogue.entries(manifest.chain), order.floor)
        if order.mode == "Plan":
            begin = time.monotonic()
            index = self._index(manifest)
            speed = manifest.index.size / max(time.monotonic() - begin, 0.001)
            rules, costs = self._rules(manifest, acts=False), Costs(looking.catalogue, line, self._verifies, speed)
            return planned(index.read(rules.mirror), self._root, rules, costs, self._asked), ()
        members = line.whole()
        index = self._index(manifest, meanwhile=self._verify)
        needed = _named(index.read(), members)
        if self._verifies:
            for member in needed[:-1]:
                self._verify(member)
        _log.info("archives of %d backups %s, writing", len(needed), "verified" if self._verifies else "not read whole before")
        unpacked = self._unpacked(manifest, needed, index, self._survey(manifest, index))
        return _result(order, manifest, unpacked), _warnings(order, manifest, unpacked)

    @property
    def _asked(self) -> str:
        return described(self._order.include, self._order.exclude)

    def _opened(self, secrets: Secrets) -> Repository:
        order = self._order
        passphrase = None if order.identity else keys.passphrase(order.repository, secrets)
        brought = keys.brought(order.identity, secrets)
        return open_for_restore(self._store, order.repository.namespace, order.trust, passphrase, brought)

    def _index(self, manifest: Manifest, meanwhile: Callable[[Manifest], None] | None = None) -> _Index:
        """The index, compared with its manifest. `meanwhile` is done while the key is being found."""
        blocks = reading.verify(self._store, manifest.member.index, manifest.index, self._check)
        if meanwhile is not None and self._verifies:
            meanwhile(manifest)
        return _Index(self._store, manifest, self._opening.result(), blocks)

    def _check(self) -> None:
        """While something is verified: whether to go on with it."""
        self._cancel.check()
        self._opening.check()

    def _verify(self, member: Manifest) -> None:
        reading.compare(self._store, member.archive_key, member.archive, self._check)

    def _rules(self, manifest: Manifest, *, acts: bool = True) -> Rules:
        mirror = None
        if self._order.on_conflict == "Mirror":
            covered = Selection(manifest.source.include, manifest.source.exclude)
            mirror = Mirror(self._selection, covered, acts=acts, stores=self._spared)
        return Rules(self._order.on_conflict, self._selection, mirror, self._order.devices, self._spared)

    def _survey(self, manifest: Manifest, index: _Index) -> Survey | None:
        """Whether there is something to write, and room for it. NothingMatches, TargetFull. A Full's counts spare a pass over the index."""
        if not self._selection and manifest.parent is None:
            check_room(self._root, manifest.counts.source_bytes, manifest.counts.entries)
            return None
        survey = surveyed(chosen(index.read(), self._selection), self._selection)
        survey.something(self._asked)
        check_room(self._root, survey.size, survey.paths)
        return survey

    def _unpacked(self, manifest: Manifest, members: list[Manifest], index: _Index, survey: Survey | None) -> Unpacked:
        rules = self._rules(manifest)
        needed = survey.plain.keys() if survey is not None and self._selection else None
        sources = [self._source(member, index) for member in members]
        return unpack(index.read(rules.mirror), sources, self._root, rules, self._cancel.requested, needed, self._progress)

    def _source(self, member: Manifest, index: _Index) -> Source:
        return Source(lambda: reading.archive(self._store, member, index.identity), member.compression.algorithm == "Zstd")


def _named(rows: IndexReader, chain: tuple[Manifest, ...]) -> list[Manifest]:
    """The members whose archives the index refers to. CorruptData if it names one that its backup does not build on."""
    by_id = {member.id: member for member in chain}
    if rows.archives[-1] != chain[-1].id or not by_id.keys() >= set(rows.archives):
        raise CorruptData(
            f"the index of {chain[-1].id} refers to the archives {', '.join(rows.archives)}, and that backup builds on "
            f"{', '.join(by_id)}: one of them was replaced. Nothing was written."
        )
    return [by_id[id_] for id_ in rows.archives]


def _result(order: spec.RestoreOrder, manifest: Manifest, unpacked: Unpacked) -> RestoreResult:
    return RestoreResult(
        archive=manifest.id,
        chain=manifest.chain,
        type=order.type,
        snapshot_time=manifest.snapshot_time,
        files=unpacked.written.files + unpacked.written.hard_links,
        bytes=unpacked.written.bytes,
        kept=unpacked.written.kept,
        deleted=unpacked.removed + unpacked.written.made_way,
        checksum=f"sha256:{manifest.archive.sha256}",
    )


def _warnings(order: spec.RestoreOrder, manifest: Manifest, unpacked: Unpacked) -> tuple[Warn, ...]:
    advice = "run as root" if is_path(order.claim) else "set worker.securityContext.runAsUser, or worker.identity: Root"
    found = [
        (
            "OwnershipNotRestored",
            unpacked.refused.owners_refused,
            f"paths belong to user {os.geteuid()} now, who may not give files away: {advice}",
        ),
        (
            "ModesNotRestored",
            unpacked.refused.modes_refused,
            "paths that were there before belong to somebody else and keep their mode and time",
        ),
        (
            "XattrsNotRestored",
            unpacked.refused.xattrs_refused,
            "paths lack extended attributes, ACLs or capabilities of the backup: this user may not set them, or the target cannot hold them",
        ),
        (
            "DevicesNotRestored",
            unpacked.written.devices_left_out,
            "device nodes were left out: they are made if the restore asks for devices, and its user is root",
        ),
        (
            "StorageSpared",
            unpacked.written.spared,
            "folders of the target hold backups, or what this machine remembers of them: nothing of the backup was written into them",
        ),
        (
            "HardLinksNotRestored",
            unpacked.written.links_apart,
            "hard links became files of their own: the target holds them in another file system than the first name, or allows no link there",
        ),
        ("FilesChanged", unpacked.notes.get(CHANGED, 0), "files had changed while they were backed up"),
        (
            "FilesMissing",
            unpacked.notes.get(UNREADABLE, 0) + unpacked.notes.get(DAMAGED, 0),
            "files could not be read, or not to their end, when they were backed up",
        ),
        ("FilesIncomplete", unpacked.notes.get(INCOMPLETE, 0), "paths lost extended attributes when they were backed up"),
    ]
    warnings = [Warn(reason=reason, message=f"{count} {meaning}", count=count) for reason, count, meaning in found if count]
    if manifest.inconsistent_source:
        warnings.append(Warn(reason="InconsistentSource", message="the backup was taken from the data folder of a running database"))
    return tuple(warnings)
