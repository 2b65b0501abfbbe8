"""Key files: the repository's identity, sealed once for each way in. Written before the repository exists, never overwritten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress

from iot_backup.core import layout
from iot_backup.crypto.age import Unwrapper
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.sealing import opened, sealed_by, sealed_to
from iot_backup.errors import CorruptData, InvalidSpec, IotBackupError, KeyMissing, NotFound, StorageUnavailable, Untrusted, WrongKey
from iot_backup.repository.records import RepositoryRecord
from iot_backup.repository.writing import found, settled
from iot_backup.storage.store import Store

SCRYPT = "scrypt"
RECIPIENTS = "recipients"
_TRIES = 4
"""Key files tried, newest first, and the first one ever: each passphrase takes a second, and anyone with credentials can add files."""


def content(identity: Identity, repository_id: str, namespace: str) -> bytes:
    """An identity file as `age -i` takes it, bound to one repository, so that another's key file proves nothing here."""
    lines = (f"# repository: {repository_id}", f"# namespace: {namespace}", f"# public key: {identity.recipient}", identity.text)
    return "".join(f"{line}\n" for line in lines).encode()


def write(store: Store, record: RepositoryRecord, plain: bytes, passphrase: Passphrase | None, recipients: Sequence[str]) -> None:
    """Seal the identity for each way in, write, read back, open. KeyMissing if there is no way in; InvalidSpec for a bad recipient."""
    if passphrase is None and not recipients:
        raise KeyMissing("there is no key: set spec.encryption.secretRef (a passphrase) or spec.encryption.recipients (age1...)")
    if recipients:
        _written(store, layout.key_file(record.recipient_digest, 1, RECIPIENTS), sealed_to(recipients, plain))
    if passphrase is not None:
        key = layout.key_file(record.recipient_digest, 1, SCRYPT)
        _written(store, key, sealed_by(passphrase, plain))
        if opened(store.read(key), passphrase) != plain:
            raise CorruptData(f"{key} was written and does not give the identity back; no repository was created")


def present(store: Store, record: RepositoryRecord) -> bool:
    """Whether there is any way in. Asked by name first, since a listing may be old."""
    for way in (SCRYPT, RECIPIENTS):
        try:
            store.head(layout.key_file(record.recipient_digest, 1, way))
        except NotFound:
            continue
        return True
    return bool(_listed(store, record))


def by_passphrase(store: Store, record: RepositoryRecord, namespace: str, passphrase: Passphrase) -> Identity:
    """The identity of this very repository. KeyMissing if no file is sealed so; WrongKey, CorruptData, Untrusted (another's file)."""
    for plain in _contents(store, record, SCRYPT, passphrase):
        identity = _identity_in(plain)
        if identity and is_of(identity, record) and plain == content(identity, record.repository_id, namespace):
            return identity
    raise Untrusted(
        f"the key file opens, but belongs to another repository than repo.json ({record.repository_id}, namespace {namespace}): "
        "one of them was copied here or replaced. If that was you, set spec.encryption.fingerprint."
    )


def by_identity(store: Store, record: RepositoryRecord, brought: Identity) -> tuple[Identity, bool]:
    """The repository's identity from one that a person brought, and whether it proves the repository.

    It does if it *is* the repository's. One of the people's recipients opens a key file, but anybody can seal a file to them.
    """
    if brought.recipient == record.recipient:
        return brought, is_of(brought, record)
    with suppress(KeyMissing):
        for plain in _contents(store, record, RECIPIENTS, brought):
            identity = _identity_in(plain)
            if identity and is_of(identity, record):
                return identity, False
    raise WrongKey(f"the identity of {brought.recipient} neither is the repository's ({record.recipient}) nor opens a key file of it")


def is_of(identity: Identity, record: RepositoryRecord) -> bool:
    """Whether recipient and root of the record derive from this identity."""
    return identity.recipient == record.recipient and identity.root.public.hex() == record.root


def _written(store: Store, key: str, sealed: bytes) -> None:
    if not settled(store, key, sealed):
        raise StorageUnavailable(f"{key} holds other bytes than were just written under this new name; no repository was created")


def _identity_in(plain: bytes) -> Identity | None:
    try:
        return Identity.parsed(plain.decode("ascii", "replace"))
    except InvalidSpec:
        return None


def _contents(store: Store, record: RepositoryRecord, way: str, key: Unwrapper) -> Iterator[bytes]:
    """What the key files hold that this key opens, each to be judged: a file may have been added. KeyMissing, WrongKey, CorruptData if none opens."""
    failures: list[IotBackupError] = []
    count = 0
    for name in _names(store, record, way):
        try:
            sealed = found(store, name)
            if sealed is None:
                continue
            plain = opened(sealed, key)
        except (WrongKey, CorruptData) as error:
            failures.append(type(error)(f"{name}: {error}"))
            continue
        count += 1
        yield plain
    if count:
        return
    if not failures:
        raise KeyMissing(f"the repository has no key file of the kind .{way} for {record.recipient}: the key given cannot open it")
    raise next((e for e in failures if isinstance(e, WrongKey)), failures[0])


def _names(store: Store, record: RepositoryRecord, way: str) -> list[str]:
    serials = sorted({serial for serial, listed in _listed(store, record) if listed == way}, reverse=True)
    return [layout.key_file(record.recipient_digest, serial, way) for serial in dict.fromkeys([*serials[:_TRIES], 1])]


def _listed(store: Store, record: RepositoryRecord) -> list[tuple[int, str]]:
    parsed = (layout.key_file_parts(info.key) for info in store.list(layout.KEYS))
    return [(serial, way) for digest, serial, way in filter(None, parsed) if digest == record.recipient_digest]
