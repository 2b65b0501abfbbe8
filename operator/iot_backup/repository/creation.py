"""The probe's part of a repository: create it if there is none, judge it if there is one, admit our writer if we may."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from iot_backup.core import layout, signed
from iot_backup.core.spec import ProbeOrder
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.signing import Purpose
from iot_backup.errors import KeyMissing, Untrusted
from iot_backup.repository import generations, keyfiles, records, trust, writers
from iot_backup.repository.records import RepositoryRecord, WriterRecord
from iot_backup.repository.writers import Keys
from iot_backup.repository.writing import found, settled
from iot_backup.storage.store import Store

Random = Callable[[int], bytes]
"""os.urandom, or a test's."""


@dataclass(frozen=True)
class Standing:
    """What a probe found and did; core.report.ProbeResult has the same facts."""

    record: RepositoryRecord
    fingerprint: str
    created: bool
    confirmed: bool
    """False: nobody told us to trust it; no run until the spec names its fingerprint."""
    writer: str
    writer_admitted: bool


def probe(store: Store, order: ProbeOrder, keys: Keys, now: datetime, rng: Random) -> Standing:
    """Bring a repository into being, or say how the one that is there stands.

    Untrusted: another repository than pinned, or a forged admission. WrongKey: the passphrase is not the one it was made with.
    KeyMissing: no key is set up, or no key file is left. StorageUnavailable: try again; whatever was begun is taken up then.
    """
    encryption = order.repository.encryption
    namespace = order.repository.namespace
    if encryption.algorithm != "None" and keys.passphrase is None and not encryption.recipients:
        raise KeyMissing("there is no key: set spec.encryption.secretRef (a passphrase) or spec.encryption.recipients (age1...)")
    repo_json = found(store, layout.REPO)
    identity: Identity | None = None
    created = False
    if repo_json is None:
        if order.fingerprint:
            raise trust.vanished(order.fingerprint)
        if not order.create:
            raise Untrusted("the store holds no repository here, and this run must not create one")
        repo_json, identity, created = _created(store, order, keys, now, rng)
    record = _told_to_trust(store, repo_json, order.fingerprint)
    trust.check_algorithm(record, encryption.algorithm)
    confirmed = bool(order.fingerprint) or trust.made_by(repo_json, keys.writer)
    fingerprint = order.fingerprint or records.fingerprint(repo_json)
    standing = Standing(record, fingerprint, created, confirmed, keys.writer.id, writer_admitted=False)
    return _admitted(store, standing, keys, identity, namespace=namespace, now=now)


def _told_to_trust(store: Store, repo_json: bytes, fingerprint: str | None) -> RepositoryRecord:
    """The generation that we were told to trust. Without a word only a first one that nothing followed is looked at."""
    if fingerprint:
        return generations.accepted(store, repo_json, fingerprint)
    (record, own), *earlier = generations.all_of(store, repo_json)
    if earlier:
        raise Untrusted(
            f"the identity of the repository was renewed {len(earlier)} times, and nobody told this storage which one to trust: its first may be "
            f"known to others. If the last renewal was yours, set spec.encryption.fingerprint to {own}."
        )
    return record


def _created(store: Store, order: ProbeOrder, keys: Keys, now: datetime, rng: Random) -> tuple[bytes, Identity | None, bool]:
    """Key files first, repo.json last: before it there is no repository, with it there is a whole one.

    repo.json as it is in the store now, the identity if it is ours, and whether it is.
    """
    encryption, namespace = order.repository.encryption, order.repository.namespace
    identity = Identity.generated() if encryption.algorithm != "None" else None
    repository_id = rng(16).hex()
    serial = 1 if keys.passphrase is not None else None
    first = writers.described(keys, repository_id=repository_id, namespace=namespace, now=now, passphrase_serial=serial)
    record = RepositoryRecord(
        repository_id=repository_id,
        cipher=encryption.algorithm,
        recipient=identity.recipient if identity else None,
        root=identity.root.public.hex() if identity else None,
        creation_time=now,
        first_writer=writers.admission(first, identity.root if identity else keys.writer.signing).decode(),
    )
    if identity is not None:
        keyfiles.write(store, record, keyfiles.content(identity, repository_id, namespace), keys.passphrase, encryption.recipients)
    signable = signed.signable(record.text())
    body = signed.closed(signable, keys.writer.signing.sign(Purpose.REPOSITORY, signable))
    if settled(store, layout.REPO, body):
        return body, identity, True
    return store.read(layout.REPO), None, False


def _admitted(store: Store, standing: Standing, keys: Keys, identity: Identity | None, *, namespace: str, now: datetime) -> Standing:
    """The standing after the keys were checked and our writer, where we may, was admitted."""
    record = standing.record
    if record.recipient is not None and not keyfiles.present(store, record):
        raise KeyMissing(
            f"no key file for {record.recipient} is left in the repository: nothing could ever be restored. "
            "Bring keys/ back from a copy, or keep the identity safe and make a new repository."
        )
    writer = _known(store, standing, keys, namespace)
    serial = 1 if identity is not None and keys.passphrase is not None else None
    if keys.passphrase is not None and record.recipient is not None and identity is None:
        told = writer and writers.latest(store, record, namespace, writer)
        if told is None or not _still_opens(store, record, keys, told):
            identity, file = keyfiles.by_passphrase(store, record, namespace, keys.passphrase)
            serial, standing = file.serial, replace(standing, confirmed=True)
            writer = writer or _known(store, standing, keys, namespace)
    if identity is not None:
        ours = writers.described(keys, repository_id=record.repository_id, namespace=namespace, now=now, passphrase_serial=serial)
        writer = writers.tell(store, record, namespace, writer, ours, identity.root)
    elif writer is None and standing.confirmed and record.root is not None:
        writers.apply(store, record, namespace, keys, now)
    return replace(standing, writer_admitted=writer is not None)


def _known(store: Store, standing: Standing, keys: Keys, namespace: str) -> WriterRecord | None:
    """Our writer's admission to a repository that we were told to trust."""
    if not standing.confirmed:
        return None
    writers.restored(store, standing.record, namespace, keys.writer.id)
    return writers.admitted(store, standing.record, namespace, keys.writer.id)


def _still_opens(store: Store, record: RepositoryRecord, keys: Keys, told: WriterRecord) -> bool:
    """Whether the passphrase is the one that was last seen to open a key file, and that file is still a way in: no second of scrypt each hour."""
    if told.passphrase_serial is None or told.passphrase_tag != keys.passphrase_tag:
        return False
    return keyfiles.exists(store, keyfiles.named(record, told.passphrase_serial, keyfiles.SCRYPT))
