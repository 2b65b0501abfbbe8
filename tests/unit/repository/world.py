"""A namespace with its secrets and a store: what the tests of the protocol act in."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from iot_backup.core.manifest import Compression, Counts, Owner, Source, StoredObject
from iot_backup.core.spec import Encryption, ProbeOrder, SecretSource, Trust, VolumeTarget
from iot_backup.core.spec import Repository as Place
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.ranged import RangedReader
from iot_backup.crypto.signing import WriterKey
from iot_backup.repository import opening, reading
from iot_backup.repository.commit import Committed, Deadline, Outcome, Run
from iot_backup.repository.creation import Standing, probe
from iot_backup.repository.opening import Repository
from iot_backup.repository.writers import Keys
from iot_backup.storage.memory import MemoryStore
from iot_backup.storage.store import Store

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
PERSON = Identity.generated()
SECRET = SecretSource(secret="s", key="k", file="f")
MODES = ("passphrase", "recipients", "aes", "none")


@dataclass
class World:
    """One namespace. `mode`: passphrase, aes (the same with AES256), recipients (strict: no private key in the cluster) or none (no encryption)."""

    mode: str = "passphrase"
    namespace: str = "iot-system"
    passphrase: bytes = b"correct horse"
    store: MemoryStore = field(default_factory=lambda: MemoryStore(lambda: NOW))
    writer: WriterKey = field(default_factory=lambda: WriterKey(os.urandom(32)))

    @property
    def keys(self) -> Keys:
        return Keys(self.writer, Passphrase(self.passphrase) if self.mode in {"passphrase", "aes"} else None)

    def order(self, fingerprint: str | None = None, *, create: bool = True) -> ProbeOrder:
        encryption = {
            "passphrase": Encryption(passphrase=SECRET),
            "aes": Encryption(algorithm="AES256", passphrase=SECRET),
            "recipients": Encryption(recipients=(PERSON.recipient,)),
            "none": Encryption(algorithm="None"),
        }[self.mode]
        place = Place(storage="main", namespace=self.namespace, store=VolumeTarget(claim="c"), encryption=encryption, writer_key=SECRET)
        return ProbeOrder(repository=place, fingerprint=fingerprint, create=create)

    def probe(self, store: Store | None = None, fingerprint: str | None = None, *, create: bool = True) -> Standing:
        return probe(store or self.store, self.order(fingerprint, create=create), self.keys, NOW, os.urandom)

    def opened(self, trust: Trust, store: Store | None = None) -> Repository:
        return opening.open_for_backup(store or self.store, self.namespace, trust, self.writer)

    def restoring(self, trust: Trust | None) -> Repository:
        brought = PERSON if self.mode == "recipients" else None
        return opening.open_for_restore(self.store, self.namespace, trust, self.keys.passphrase, brought)


def pin(standing: Standing) -> Trust:
    """What the operator remembers of a probe."""
    record = standing.record
    return Trust(repository_id=record.repository_id, fingerprint=standing.fingerprint, recipient=record.recipient)


def begun(repository: Repository, chain: str = "database", *, hours: int = 0, clock: Callable[[], float] = lambda: 0.0) -> Run:
    return repository.begin(
        chain,
        started=NOW + timedelta(hours=hours),
        deadline=Deadline(clock, 100.0, NOW + timedelta(hours=hours + 1)),
        tool="iot-backup-operator test",
        source=Source(claim="data", job="job"),
        rng=os.urandom,
    )


def sealed(repository: Repository, content: bytes) -> tuple[bytes, StoredObject]:
    sealer = repository.sealer()
    out = bytearray(sealer.room(len(content)))
    end = sealer.feed(content, out, 0)
    data = sealer.header + bytes(out[:end]) + sealer.finish()
    return data, StoredObject(size=len(data), sha256=hashlib.sha256(data).hexdigest(), header_sha256=sealer.header_sha256)


def uploaded(repository: Repository, run: Run, content: bytes = b"archive" * 1000) -> Outcome:
    """What the pipeline does between announcement and commit."""
    archive, archive_facts = sealed(repository, content)
    index, index_facts = sealed(repository, b"index of " + content[:10])
    run.store.create_stream(run.archive_key, iter([archive[:100], archive[100:]]))
    run.store.create(run.index_key, index)
    state, state_facts = sealed(repository, b"state of " + content[:10])
    run.store.create(run.state_key, state)
    return Outcome(
        snapshot_time=NOW,
        completion_time=NOW,
        compression=Compression(algorithm="Zstd", level=1),
        archive=archive_facts,
        index=index_facts,
        state=state_facts,
        counts=Counts(files=1, entries=2, folders=1, source_bytes=len(content)),
        root_owner=Owner(uid=0, gid=0),
    )


def backed_up(repository: Repository, chain: str = "database", *, hours: int = 0, content: bytes = b"archive" * 1000) -> Committed:
    """One whole backup, cleaned up after as the worker does."""
    run = begun(repository, chain, hours=hours)
    try:
        run.announce()
        return run.commit(uploaded(repository, run, content))
    except Exception as error:
        run.abandon(error)
        raise


def restored(repository: Repository, id_: str, chain: str | None = None) -> bytes:
    """Find, verify whole, read."""
    manifest = repository.find(id_, chain).manifest
    assert manifest is not None
    reading.verify(repository.store, manifest.archive_key, manifest.archive)
    reading.verify(repository.store, manifest.member.index, manifest.index)
    assert reading.index(repository.store, manifest, repository.identity).read().startswith(b"index of ")
    return whole(reading.archive(repository.store, manifest, repository.identity))


def whole(content: RangedReader) -> bytes:
    return content.read(0, content.size)
