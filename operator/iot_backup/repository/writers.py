"""Admitted writers: whose manifests count. The root vouches for them; bucket credentials alone admit nobody."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from iot_backup.core import layout, signed
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.signing import Purpose, SigningKey, WriterKey, key_id, verified
from iot_backup.errors import CorruptData, Untrusted
from iot_backup.repository import records
from iot_backup.repository.records import RepositoryRecord, WriterRecord
from iot_backup.repository.writing import found, settled
from iot_backup.storage.store import Store


@dataclass(frozen=True)
class Keys:
    """The secrets of a namespace, storage and cluster, as far as a run is given them."""

    writer: WriterKey
    passphrase: Passphrase | None = None

    @property
    def passphrase_tag(self) -> str | None:
        return self.writer.passphrase_tag(self.passphrase.text) if self.passphrase else None


def described(keys: Keys, *, repository_id: str, namespace: str, now: datetime) -> WriterRecord:
    """A writer's record as it would be admitted."""
    return WriterRecord(
        repository_id=repository_id,
        namespace=namespace,
        key_id=keys.writer.id,
        public_key=keys.writer.signing.public.hex(),
        passphrase_tag=keys.passphrase_tag,
        admission_time=now,
    )


def admission(record: WriterRecord, signer: SigningKey) -> bytes:
    """The record's file: signed by the root, or, where there is none (`algorithm: None`), by the writer itself."""
    body = signed.signable(record.text())
    return signed.closed(body, signer.sign(Purpose.WRITER, body))


def judged(data: bytes, repository: RepositoryRecord, namespace: str, expected_id: str) -> WriterRecord:
    """The record, if it admits this key to this repository. Untrusted if it does not; CorruptData if it cannot be read."""
    what = layout.writer(expected_id)
    record, body, signature = records.decoded_signed(WriterRecord, data, what)
    public = bytes.fromhex(record.public_key)
    root = bytes.fromhex(repository.root) if repository.root else public
    if not verified(root, Purpose.WRITER, body, signature):
        raise Untrusted(
            f"{what} is not signed by the root key of this repository: it was made with store credentials alone, or damaged. "
            "Nothing by this writer counts. Remove that object and find out who wrote it."
        )
    if record.key_id != expected_id or key_id(public) != expected_id:
        raise Untrusted(f"{what} admits another key ({record.key_id}) than its name says: it was copied there")
    if record.repository_id != repository.repository_id or record.namespace != namespace:
        raise Untrusted(f"{what} admits its key to another repository ({record.namespace}, {record.repository_id}): it was copied here")
    return record


def admitted(store: Store, repository: RepositoryRecord, namespace: str, wanted_id: str) -> WriterRecord | None:
    """What admits this writer; None if nobody did. Untrusted for a record that does not hold; CorruptData.

    Where there is no root only the first writer counts, whose record repo.json holds: anybody could sign another for himself.
    """
    data = found(store, layout.writer(wanted_id)) if repository.root is not None else None
    if data is None:
        data = _first(repository, wanted_id)
    return None if data is None else judged(data, repository, namespace, wanted_id)


def admit(store: Store, repository: RepositoryRecord, namespace: str, record: bytes, wanted_id: str) -> WriterRecord:
    """Write an admission. If another is there already, that one is judged instead. Untrusted, CorruptData, StorageUnavailable."""
    key = layout.writer(wanted_id)
    settled(store, key, record)
    return judged(store.read(key), repository, namespace, wanted_id)


def restored(store: Store, repository: RepositoryRecord, namespace: str, wanted_id: str) -> None:
    """Write the first writer's admission where a crash after repo.json left it out. Needs no key: repo.json holds the signed record."""
    data = _first(repository, wanted_id)
    if data is not None and found(store, layout.writer(wanted_id)) is None:
        judged(data, repository, namespace, wanted_id)
        settled(store, layout.writer(wanted_id), data)


def _first(repository: RepositoryRecord, wanted_id: str) -> bytes | None:
    """The first writer's record, if it is this one's."""
    if repository.first_writer is None:
        return None
    data = repository.first_writer.encode()
    try:
        record, _, _ = records.decoded_signed(WriterRecord, data, "firstWriter in repo.json")
    except CorruptData:
        return None
    return data if record.key_id == wanted_id else None
