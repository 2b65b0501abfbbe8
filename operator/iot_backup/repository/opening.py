"""A repository that was opened: trusted for what a run needs it for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from iot_backup.core import layout
from iot_backup.core.layout import Member
from iot_backup.core.manifest import Manifest, Source
from iot_backup.core.spec import BackupType, Trust
from iot_backup.crypto import container
from iot_backup.crypto.blocks import BlockTags
from iot_backup.crypto.container import Sealer
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.signing import WriterKey
from iot_backup.crypto.state import StateReader, StateSealer
from iot_backup.errors import CorruptData, InvalidSpec, IotBackupError, KeyMissing, Untrusted, WrongKey
from iot_backup.repository import generations, keyfiles, reading, writers
from iot_backup.repository.catalogue import Catalogue, Entry
from iot_backup.repository.commit import Base, Deadline, Plan, Run
from iot_backup.repository.records import RepositoryRecord
from iot_backup.repository.writers import Keys
from iot_backup.repository.writing import found
from iot_backup.storage.store import Store

Random = Callable[[int], bytes]


@dataclass(frozen=True)
class Repository:
    """Made by `open_for_backup`, `open_for_restore` and `open_to_look` only."""

    store: Store
    namespace: str
    record: RepositoryRecord
    catalogue: Catalogue = field(repr=False)
    identity: Identity | None = field(default=None, repr=False)
    """Opens archives; None for backups, and where nothing is encrypted."""
    writer: WriterKey | None = field(default=None, repr=False)
    writer_admitted: bool = False
    admission_problem: str | None = None
    """Why our writer is not admitted, if somebody meddled with its record."""

    def sealer(self) -> Sealer:
        """A new container, sealed to the repository's recipient: one for the archive, one for the index."""
        return container.sealer(self.record.recipient, self.record.cipher)

    def state_sealer(self, member: Member, salt: bytes) -> StateSealer:
        """The container of a backup's state, sealed by our writer. `salt`: crypto.state.SALT random bytes."""
        return StateSealer(self._writer, self.record.repository_id, member.id, salt)

    def block_tags(self) -> BlockTags:
        """What tells blocks of files apart in our states."""
        return BlockTags(self._writer)

    def state_reader(self, manifest: Manifest) -> StateReader:
        """The state of a backup that our writer made: compared whole with its manifest, then opened as it is read again. CorruptData."""
        key, expected = manifest.member.state, manifest.state
        if expected is None:
            raise CorruptData(f"the backup {manifest.id} has no state")
        read = reading.twice(self.store, key, expected)
        return StateReader(read, self._writer, self.record.repository_id, manifest.id, expected.header_sha256)

    def begin(
        self,
        chain: str,
        *,
        started: datetime,
        deadline: Deadline,
        tool: str,
        source: Source,
        rng: Random,
        type_: BackupType = "Full",
        base: Base | None = None,
        seq: int | None = None,
    ) -> Run:
        """A new backup of that chain, under names that nobody else has. `started`: on the clock that `clocks.Clock.time` chose.

        `seq`: where the caller has just read the chain, one more than its highest. Nothing is written yet: call `announce`.
        """
        writer = self._writer
        member = Member(layout.checked(chain, "chain"), started.replace(microsecond=0), rng(8).hex())
        seq = self.catalogue.next_seq(chain) if seq is None else seq
        plan = Plan(member=member, type=type_, seq=seq, deadline=deadline, tool=tool, source=source, base=base)
        return Run(self.store, self.namespace, self.record, writer, plan)

    @property
    def _writer(self) -> WriterKey:
        if self.writer is None:
            raise InvalidSpec("the repository was opened for a restore; a backup needs the writer key")
        return self.writer

    def find(self, id_: str, chain: str | None = None) -> Entry:
        """The backup to restore. SourceUnavailable if there is none; CorruptData, Untrusted if it does not count."""
        return self.catalogue.find(id_, chain)


def open_for_backup(store: Store, namespace: str, pinned: Trust, writer: WriterKey) -> Repository:
    """The pinned repository, to write to. Untrusted for any other; KeyMissing if no key file is left, so that nothing could be restored.

    A writer that nobody admitted may write Fulls: `writer_admitted` says so.
    """
    record = generations.pinned(store, found(store, layout.REPO), pinned)
    if record.recipient is not None and not keyfiles.present(store, record):
        raise KeyMissing(f"no key file for {record.recipient} is left: a backup could never be restored. Bring keys/ back first.")
    problem = None
    try:
        admission = writers.admitted(store, record, namespace, writer.id)
    except (Untrusted, CorruptData) as error:
        admission, problem = None, str(error)
    # Our own earlier manifests count for `seq` before anybody admitted us.
    own = admission or writers.described(Keys(writer), repository_id=record.repository_id, namespace=namespace, now=record.creation_time)
    catalogue = Catalogue(store, namespace, record, {writer.id: own})
    return Repository(store, namespace, record, catalogue, None, writer, admission is not None, problem)


def open_to_look(store: Store, namespace: str, pinned: Trust) -> Repository:
    """The pinned repository without a key: its manifests can be judged, its archives compared with them, nothing read. Untrusted."""
    record = generations.pinned(store, found(store, layout.REPO), pinned)
    return Repository(store, namespace, record, Catalogue(store, namespace, record))


def open_for_restore(
    store: Store, namespace: str, pinned: Trust | None, passphrase: Passphrase | None = None, brought: Identity | None = None
) -> Repository:
    """The repository, to read from. It must be the pinned one, or prove itself by its identity.

    KeyMissing: no key was given. WrongKey: it opens nothing here. Untrusted: nobody vouches for this repository.
    """
    repo_json = found(store, layout.REPO)
    if pinned is not None:
        record = generations.pinned(store, repo_json, pinned)
        identity, _ = _opened(store, namespace, record, passphrase, brought)
    elif repo_json is None:
        raise Untrusted("the store holds no repository here: bucket, prefix or claim is another one, or repo.json was removed")
    else:
        record, identity = _proven(store, namespace, repo_json, passphrase, brought)
    return Repository(store, namespace, record, Catalogue(store, namespace, record), identity)


def _proven(
    store: Store, namespace: str, repo_json: bytes, passphrase: Passphrase | None, brought: Identity | None
) -> tuple[RepositoryRecord, Identity]:
    """The newest generation of the repository that the key opens and proves."""
    failure: IotBackupError | None = None
    for record, fingerprint in generations.all_of(store, repo_json):
        try:
            identity, proves = _opened(store, namespace, record, passphrase, brought)
        except (WrongKey, KeyMissing, CorruptData) as error:
            failure = failure or error
            continue
        if identity is not None and proves:
            return record, identity
        failure = failure or Untrusted(
            f"nobody vouches for the repository found (fingerprint {fingerprint}): "
            "this key opens it, but anyone could have made it so. If it is yours, set spec.encryption.fingerprint of the BackupStorage."
        )
    assert failure is not None, "a repository has at least one generation"
    raise failure


def _opened(
    store: Store, namespace: str, record: RepositoryRecord, passphrase: Passphrase | None, brought: Identity | None
) -> tuple[Identity | None, bool]:
    """The identity, and whether it proves that the repository is the one it belongs to."""
    if record.recipient is None:
        return None, False
    if brought is not None:
        return keyfiles.by_identity(store, record, brought)
    if passphrase is None:
        raise KeyMissing(
            "the repository is encrypted, and no passphrase for it is set up: bring an identity in a Secret (spec.identitySecretRef)"
        )
    return keyfiles.by_passphrase(store, record, namespace, passphrase)[0], True
