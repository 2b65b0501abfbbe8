"""One backup on its way into the repository: announced, uploaded, committed, looked at again."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from iot_backup.core import layout, signed
from iot_backup.core import manifest as manifests
from iot_backup.core.layout import Member
from iot_backup.core.manifest import Compression, Counts, Manifest, Owner, Parent, Source, StoredObject
from iot_backup.core.report import Warn
from iot_backup.core.spec import BackupType
from iot_backup.crypto.signing import Purpose, WriterKey
from iot_backup.errors import CorruptData, Internal, IotBackupError, ParentGone, StorageUnavailable, TookTooLong
from iot_backup.repository.announce import announced, withdrawn
from iot_backup.repository.catalogue import size_of
from iot_backup.repository.records import RepositoryRecord
from iot_backup.repository.writing import found, settled
from iot_backup.storage.store import Store


@dataclass(frozen=True)
class Deadline:
    """When others may take a run for dead. Kept on a clock that also counts while the machine sleeps (CLOCK_BOOTTIME)."""

    clock: Callable[[], float]
    """Seconds."""
    at: float
    """On that clock."""
    on_store: datetime
    """The same moment on the store's clock, as announced."""


@dataclass(frozen=True)
class Base:
    """The member an incremental backup builds on."""

    member: Member
    manifest_sha256: str


@dataclass(frozen=True)
class Plan:
    """What is known of a backup before it begins."""

    member: Member
    type: BackupType
    seq: int
    deadline: Deadline
    tool: str
    source: Source
    base: Base | None = None


@dataclass(frozen=True)
class Outcome:
    """What is known of it when everything is uploaded."""

    snapshot_time: datetime
    completion_time: datetime
    compression: Compression
    archive: StoredObject
    index: StoredObject
    state: StoredObject
    counts: Counts
    root_owner: Owner
    partial: bool = False
    inconsistent_source: bool = False
    clock_skew_seconds: float = 0.0


@dataclass(frozen=True)
class Committed:
    """A backup that exists."""

    manifest: Manifest
    manifest_sha256: str
    warnings: tuple[Warn, ...] = ()


@dataclass
class Run:
    """Use it once: `announce`, upload under `archive_key`, `index_key` and `state_key`, `commit`; `abandon` where that did not come to pass."""

    store: Store
    namespace: str
    record: RepositoryRecord
    writer: WriterKey
    plan: Plan
    commit_sent: bool = field(default=False, init=False)
    """From here on nobody but the store knows whether the backup exists: delete nothing, put SIGTERM off until `commit` returns."""

    @property
    def member(self) -> Member:
        return self.plan.member

    @property
    def archive_key(self) -> str:
        return self.member.archive(self.plan.type, self.record.cipher)

    @property
    def index_key(self) -> str:
        return self.member.index

    @property
    def state_key(self) -> str:
        return self.member.state

    def announce(self) -> None:
        """Say in the store what will be written and until when. Before it nothing may be uploaded."""
        announced(
            self.store,
            self.member,
            repository_id=self.record.repository_id,
            writer=self.writer.id,
            deadline=self.plan.deadline.on_store,
            objects=self._objects,
            parent=self.plan.base.member.id if self.plan.base else None,
        )

    def commit(self, outcome: Outcome) -> Committed:
        """Make the backup exist, then look again at what it stands on.

        TookTooLong: nothing was committed. StorageUnavailable: nobody can tell, and nothing was deleted. ParentGone: committed,
        but on a base that is going. CorruptData: committed or not, the store does not hold what was uploaded.
        """
        if self.commit_sent:
            raise Internal("a run was committed twice")
        manifest = self._manifest(outcome)
        body = manifests.signable(manifest)
        data = signed.closed(body, self.writer.signing.sign(Purpose.MANIFEST, body))
        if self.plan.deadline.clock() >= self.plan.deadline.at:
            raise TookTooLong(
                f"the backup took longer than its timeout and was not committed: since {self.plan.deadline.on_store:%Y-%m-%d %H:%M:%SZ} "
                "others may take it for dead. Raise spec.timeout, or find out what was slow."
            )
        for key, stored, size in self._sizes(outcome):
            if size != stored.size:
                raise StorageUnavailable(
                    f"{_short(key, stored, size)}, and the store said that it has it: nothing was committed. Is it the right store?"
                )
        self.commit_sent = True
        if not settled(self.store, self.member.manifest, data):
            raise CorruptData(f"{self.member.manifest} holds other bytes than this run's: not committed. Who else writes there?")
        self._look_again(outcome)
        return Committed(manifest, hashlib.sha256(data).hexdigest(), self._withdraw())

    def abandon(self, because: BaseException) -> None:
        """After a failure before the commit: remove what was uploaded, then the announcement. Never raises.

        Where anything is uncertain, the announcement stays and tells the sweep what may be garbage one day.
        """
        if self.commit_sent:
            return
        try:
            for key in self._objects:
                self.store.delete(key)
            if not isinstance(because, StorageUnavailable):
                withdrawn(self.store, self.member)
        except IotBackupError:
            return

    @property
    def _objects(self) -> tuple[str, ...]:
        return self.state_key, self.index_key, self.archive_key

    def _manifest(self, outcome: Outcome) -> Manifest:
        plan, record = self.plan, self.record
        base = plan.base
        key_files = f"{layout.KEYS}{record.recipient_digest}"
        return Manifest(
            tool=plan.tool,
            repository_id=record.repository_id,
            namespace=self.namespace,
            chain=self.member.chain,
            id=self.member.id,
            type=plan.type,
            seq=plan.seq,
            parent=Parent(id=base.member.id, manifest_sha256=base.manifest_sha256) if base else None,
            start_time=self.member.started,
            snapshot_time=outcome.snapshot_time,
            completion_time=outcome.completion_time,
            clock_skew_seconds=outcome.clock_skew_seconds,
            writer=self.writer.id,
            generation=record.generation,
            cipher=record.cipher,
            recipient=record.recipient,
            compression=outcome.compression,
            archive=outcome.archive,
            index=outcome.index,
            state=outcome.state,
            counts=outcome.counts,
            root_owner=outcome.root_owner,
            source=plan.source,
            partial=outcome.partial,
            inconsistent_source=outcome.inconsistent_source,
            restore=manifests.instructions(
                self.member, plan.type, record.cipher, outcome.compression.algorithm, key_files, base.member.id if base else None
            ),
        )

    def _look_again(self, outcome: Outcome) -> None:
        """Is everything the manifest names still there? Whoever deletes marks first and looks second; we wrote first and look second."""
        for key, stored, size in self._sizes(outcome):
            if size != stored.size:
                raise CorruptData(
                    f"{_short(key, stored, size)}: the backup was committed and cannot be restored. Who else writes to the store? Run it again."
                )
        if found(self.store, self.member.doomed) is not None:
            raise ParentGone(f"retention is deleting the backup {self.member.id} that was just made; the next run makes a new Full")
        base = self.plan.base
        if base is None:
            return
        if found(self.store, base.member.doomed) is not None or _sha256(found(self.store, base.member.manifest)) != base.manifest_sha256:
            raise ParentGone(f"the backup {base.member.id}, this one's base, was deleted or replaced meanwhile; the next run makes a Full")

    def _sizes(self, outcome: Outcome) -> Iterator[tuple[str, StoredObject, int | None]]:
        """What was uploaded, and the size that the store gives for it, asked by its key."""
        uploaded = (self.archive_key, outcome.archive), (self.index_key, outcome.index), (self.state_key, outcome.state)
        return ((key, stored, size_of(self.store, key)) for key, stored in uploaded)

    def _withdraw(self) -> tuple[Warn, ...]:
        try:
            withdrawn(self.store, self.member)
        except IotBackupError as error:
            message = f"the announcement of the finished run could not be removed, which does no harm: {error}"
            return (Warn(reason="AnnouncementLeft", message=message),)
        return ()


def _short(key: str, stored: StoredObject, size: int | None) -> str:
    return f"{key} is gone" if size is None else f"{key} has {size} bytes, not the {stored.size} that were uploaded"


def _sha256(data: bytes | None) -> str | None:
    return None if data is None else hashlib.sha256(data).hexdigest()
