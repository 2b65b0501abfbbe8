"""Admitted writers: whose manifests count. The root vouches for them; bucket credentials alone admit nobody."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from iot_backup.core import layout, signed
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.signing import Purpose, SigningKey, WriterKey, key_id, verified
from iot_backup.errors import CorruptData, StorageUnavailable, Untrusted
from iot_backup.repository import records
from iot_backup.repository.records import RepositoryRecord, WriterRecord
from iot_backup.repository.writing import found, settled
from iot_backup.storage.store import Store

_UNLISTED = [2, 3, 4, 5]
"""Asked for by name where a listing shows none and there must be one: it may be old."""
_TRIES = 16
"""Later editions of one admission that are looked at, newest first: anyone with credentials can add some."""


@dataclass(frozen=True)
class Keys:
    """The secrets of a namespace, storage and cluster, as far as a run is given them."""

    writer: WriterKey
    passphrase: Passphrase | None = None

    @property
    def passphrase_tag(self) -> str | None:
        return self.writer.passphrase_tag(self.passphrase.text) if self.passphrase else None


def described(keys: Keys, *, repository_id: str, namespace: str, now: datetime, passphrase_serial: int | None = None) -> WriterRecord:
    """A writer's record as it would be admitted; `passphrase_serial`: of the key file that its passphrase was seen to open."""
    return WriterRecord(
        repository_id=repository_id,
        namespace=namespace,
        key_id=keys.writer.id,
        public_key=keys.writer.signing.public.hex(),
        passphrase_tag=keys.passphrase_tag,
        passphrase_serial=passphrase_serial,
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
    Under a later generation's root only what was told anew counts: whoever has the old identity could sign the rest.
    """
    if repository.generation > 1:
        return _told_anew(store, repository, namespace, wanted_id)
    data = found(store, layout.writer(wanted_id)) if repository.root is not None else None
    if data is None:
        data = _first(repository, wanted_id)
    return None if data is None else judged(data, repository, namespace, wanted_id)


def admit(store: Store, repository: RepositoryRecord, namespace: str, record: bytes, wanted_id: str) -> WriterRecord:
    """Write an admission. If another is there already, that one is judged instead. Untrusted, CorruptData, StorageUnavailable."""
    if repository.generation > 1:
        renew(store, repository, namespace, record, wanted_id)
        return judged(record, repository, namespace, wanted_id)
    key = layout.writer(wanted_id)
    settled(store, key, record)
    return judged(store.read(key), repository, namespace, wanted_id)


def latest(store: Store, repository: RepositoryRecord, namespace: str, first: WriterRecord) -> WriterRecord:
    """What was last told of this writer's passphrase."""
    return _told_anew(store, repository, namespace, first.key_id) or first


def tell(
    store: Store, repository: RepositoryRecord, namespace: str, first: WriterRecord | None, ours: WriterRecord, root: SigningKey
) -> WriterRecord:
    """Our admission: made if there is none (`first`), and told anew where it speaks of another passphrase than `ours` does."""
    data = admission(ours, root)
    if first is None:
        return admit(store, repository, namespace, data, ours.key_id)
    told = latest(store, repository, namespace, first)
    if (told.passphrase_tag, told.passphrase_serial) != (ours.passphrase_tag, ours.passphrase_serial):
        renew(store, repository, namespace, data, ours.key_id)
    return first


def renew(store: Store, repository: RepositoryRecord, namespace: str, record: bytes, id_: str) -> None:
    """Write a later edition of an admission: nothing is overwritten. StorageUnavailable where no name is free."""
    edition = max(_editions(store, id_), default=1)
    for attempt in range(edition + 1, min(edition + 1 + _TRIES, layout.LAST + 1)):
        if settled(store, layout.writer(id_, attempt), record):
            judged(record, repository, namespace, id_)
            return
    raise StorageUnavailable(
        f"{layout.writer(id_)} could not be told anew: others write editions of it at the same time, or hold the last one"
    )


def listed(store: Store, repository: RepositoryRecord, namespace: str) -> list[WriterRecord]:
    """The admitted writers, by key id; whoever put a record there that does not hold is left out."""
    ids = {parts[0] for info in store.list(layout.WRITERS) if (parts := layout.writer_parts(info.key))}
    if repository.first_writer is not None:
        ids.add(records.decoded_signed(WriterRecord, repository.first_writer.encode(), "firstWriter in repo.json")[0].key_id)
    good = []
    for id_ in sorted(ids):
        with suppress(Untrusted, CorruptData):
            if record := admitted(store, repository, namespace, id_):
                good.append(record)
    return good


def apply(store: Store, repository: RepositoryRecord, namespace: str, keys: Keys, now: datetime) -> None:
    """Leave our public key in the store, signed by itself, for a person with the identity to admit. Once."""
    if found(store, layout.applicant(keys.writer.id)) is None:
        wish = described(Keys(keys.writer), repository_id=repository.repository_id, namespace=namespace, now=now)
        body = signed.signable(wish.text())
        settled(store, layout.applicant(keys.writer.id), signed.closed(body, keys.writer.signing.sign(Purpose.APPLICANT, body)))


def applicants(store: Store, repository: RepositoryRecord, namespace: str) -> list[WriterRecord]:
    """Who asks to be admitted, by key id. It proves nothing but that the asker has the key: a person compares the id."""
    known = {record.key_id for record in listed(store, repository, namespace)}
    ids = sorted({id_ for info in store.list(layout.WRITERS) if (id_ := layout.applicant_id(info.key))} - known)
    wishes = []
    for id_ in ids:
        with suppress(Untrusted, CorruptData):
            if wish := applicant(store, repository, namespace, id_):
                wishes.append(wish)
    return wishes


def applicant(store: Store, repository: RepositoryRecord, namespace: str, wanted_id: str) -> WriterRecord | None:
    """The application of that key id, if there is one. Untrusted if it is of another key or place; CorruptData."""
    what = layout.applicant(wanted_id)
    data = found(store, what)
    if data is None:
        return None
    wish, body, signature = records.decoded_signed(WriterRecord, data, what)
    public = bytes.fromhex(wish.public_key)
    mine = wish.key_id == wanted_id == key_id(public) and verified(public, Purpose.APPLICANT, body, signature)
    if not mine or (wish.repository_id, wish.namespace) != (repository.repository_id, namespace):
        raise Untrusted(f"{what} is no application of that key to this repository: it was copied there, damaged or forged")
    return wish


def restored(store: Store, repository: RepositoryRecord, namespace: str, wanted_id: str) -> None:
    """Write the first writer's admission where a crash after repo.json left it out. Needs no key: repo.json holds the signed record."""
    data = _first(repository, wanted_id) if repository.generation == 1 else None
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


def _editions(store: Store, id_: str) -> list[int]:
    """Later editions that a listing shows."""
    parts = (layout.writer_parts(info.key) for info in store.list(layout.writer(id_)))
    return [edition for key, edition in filter(None, parts) if key == id_ and edition > 1]


def _told_anew(store: Store, repository: RepositoryRecord, namespace: str, id_: str) -> WriterRecord | None:
    """The newest later edition that holds. Rubbish is passed over, and what was told under another root."""
    editions = _editions(store, id_)
    if not editions and repository.generation > 1:
        editions = _UNLISTED
    for edition in sorted(editions, reverse=True)[:_TRIES]:
        data = found(store, layout.writer(id_, edition))
        with suppress(Untrusted, CorruptData):
            if data is not None and repository.root is not None:
                return judged(data, repository, namespace, id_)
    return None
