"""Who can open a repository, and who may write to it: what a person with its identity changes.

Nothing is sealed anew but the identity itself: every way in opens all archives. So a way that is taken away is no secret that
is taken back: who opened the repository before may have kept the identity, and a versioned bucket keeps the old key file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime

from iot_backup.core import layout
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.signing import WriterKey
from iot_backup.errors import InvalidSpec, StorageUnavailable, WrongKey
from iot_backup.repository import generations, keyfiles, writers
from iot_backup.repository.keyfiles import MOST, RECIPIENTS, SCRYPT, KeyFile, Way
from iot_backup.repository.records import GenerationRecord, RepositoryRecord, WriterRecord
from iot_backup.repository.writers import Keys
from iot_backup.repository.writing import found
from iot_backup.storage.store import Store

_ATTEMPTS = 8
"""Serials tried when others add key files at the same time, or a listing is old."""


@dataclass(frozen=True)
class Renewed:
    """A repository with a new identity."""

    record: RepositoryRecord
    fingerprint: str
    """To be set in spec.encryption.fingerprint of every storage that writes to it."""
    identity: Identity = field(repr=False)


@dataclass(frozen=True)
class Rotated:
    """What became of a passphrase."""

    added: KeyFile
    removed: tuple[KeyFile, ...]


def ways(store: Store, record: RepositoryRecord) -> list[KeyFile]:
    """The ways in, by serial. InvalidSpec where nothing is encrypted."""
    _check_encrypted(record)
    return keyfiles.listed(store, record)


def add(store: Store, record: RepositoryRecord, namespace: str, identity: Identity, opener: Passphrase | Sequence[str]) -> KeyFile:
    """A new way in beside those that are there: a passphrase, or a key file for one or more people's recipients (age1...).

    WrongKey if the identity is not this repository's; InvalidSpec for a bad recipient, or if there are too many ways already.
    """
    _check_own(record, identity)
    if not isinstance(opener, Passphrase) and not opener:
        raise InvalidSpec("there is no recipient to add: name one (age1...), or a passphrase")
    way: Way = SCRYPT if isinstance(opener, Passphrase) else RECIPIENTS
    present = keyfiles.listed(store, record)
    if sum(file.way == way for file in present) >= MOST[way]:
        raise InvalidSpec(f"the repository has {MOST[way]} key files of the kind .{way}, and more are not looked at: remove one first")
    plain = keyfiles.content(identity, record.repository_id, namespace)
    first = max((file.serial for file in present), default=0) + 1
    for serial in range(first, min(first + _ATTEMPTS, layout.LAST + 1)):
        file = keyfiles.named(record, serial, way)
        if keyfiles.put(store, file, plain, opener):
            return file
    raise StorageUnavailable(
        f"no name for a key file was free: others add some at the same time, or hold the last one. Nothing was added; look at {layout.KEYS}"
    )


def remove(store: Store, record: RepositoryRecord, namespace: str, wanted: KeyFile, remaining: Passphrase | Identity) -> None:
    """Delete one way in. `remaining` is a key that must be seen to open another key file first: the last way that works is never removed.

    InvalidSpec if there is no such file, or the key opens none but this; WrongKey, KeyMissing, CorruptData if it opens none at all.
    """
    _check_encrypted(record)
    if not keyfiles.exists(store, wanted):
        raise InvalidSpec(f"the repository has no key file {wanted.serial}.{wanted.way}: nothing was removed. List the ways in first.")
    if all(file == wanted for _, file in keyfiles.opened_files(store, record, namespace, remaining)):
        raise InvalidSpec(
            f"the key given opens no key file but {wanted.serial}.{wanted.way}: nothing was removed, since nobody would be seen to get in. "
            "Give a key that opens another one, or add one first."
        )
    _deleted(store, wanted)


def rotate(
    store: Store,
    record: RepositoryRecord,
    namespace: str,
    old: Passphrase,
    new: Passphrase,
    *,
    writer: WriterKey | None,
    now: datetime,
) -> Rotated:
    """Put a new passphrase in the place of an old one: add, tell the writer's record, remove. Can be repeated after a crash at any point.

    `writer`: whose record is told at once, if it is admitted; others' are when their probe next opens the repository with the new
    passphrase, and until their Secret has it they see `WrongKey` within the hour. WrongKey if the old passphrase opens nothing.
    """
    if old == new:
        raise InvalidSpec("the new passphrase is the old one: nothing was changed")
    replaced = list(keyfiles.opened_files(store, record, namespace, old))
    if not replaced:
        raise keyfiles.anothers(record, namespace)
    identity = replaced[0][0]
    added = _opened_by(store, record, namespace, new) or add(store, record, namespace, identity, new)
    first = writers.admitted(store, record, namespace, writer.id) if writer else None
    if writer and first:
        ours = writers.described(
            Keys(writer, new), repository_id=record.repository_id, namespace=namespace, now=now, passphrase_serial=added.serial
        )
        writers.tell(store, record, namespace, first, ours, identity.root)
    for _, file in replaced:
        _deleted(store, file)
    return Rotated(added, tuple(file for _, file in replaced))


def renew(
    store: Store,
    record: RepositoryRecord,
    namespace: str,
    identity: Identity,
    passphrase: Passphrase | None,
    recipients: Sequence[str],
    *,
    fingerprint: str,
    now: datetime,
) -> Renewed:
    """A new identity and root, for when the old one is known to others. New archives go to it, as soon as a storage is told its fingerprint.

    The key files of the new one hold the old ones, too, so they open everything. All admitted writers are admitted again, by the new
    root: look at `writers.listed` first. `fingerprint`: the one that was trusted until now. Nothing is renewed unless this returns.
    WrongKey, KeyMissing, InvalidSpec; StorageUnavailable where somebody else renewed it.
    """
    _check_own(record, identity)
    if found(store, layout.generation(record.generation + 1)) is not None:
        raise InvalidSpec(
            f"{layout.generation(record.generation + 1)} is there already: nothing was renewed. If it is yours, renew with its fingerprint; "
            "if it is not, find out who made it, and remove it."
        )
    fresh = replace(Identity.generated(), older=(identity.alone, *identity.older))
    generation = GenerationRecord(
        repository_id=record.repository_id,
        number=record.generation + 1,
        previous=fingerprint,
        recipient=fresh.recipient,
        root=fresh.root.public.hex(),
        creation_time=now,
    )
    renewed = generations.described(record, generation)
    plain = keyfiles.content(fresh, record.repository_id, namespace)
    keyfiles.write(store, renewed, plain, passphrase, recipients)
    for writer in writers.listed(store, record, namespace):
        # Which passphrase its cluster has, and whether it opens the new key file, its probe finds out.
        told = writer.model_copy(update={"admission_time": now, "passphrase_tag": None, "passphrase_serial": None})
        writers.renew(store, renewed, namespace, writers.admission(told, fresh.root), writer.key_id)
    return Renewed(renewed, generations.write(store, generation, identity.root), fresh)


def admit(store: Store, record: RepositoryRecord, namespace: str, identity: Identity, key_id: str, now: datetime) -> WriterRecord:
    """Admit a writer that asked for it (`writers.applicants`). The caller has compared the id with what that writer's cluster shows.

    InvalidSpec if nobody of that id asked; WrongKey if the identity is not this repository's; Untrusted for a forged application.
    """
    _check_own(record, identity)
    wish = writers.applicant(store, record, namespace, layout.checked(key_id, "writer"))
    if wish is None:
        raise InvalidSpec(
            f"writer {key_id} did not ask to be admitted to this repository: its probe does, once its storage has this repository's fingerprint"
        )
    admission = writers.admission(wish.model_copy(update={"admission_time": now}), identity.root)
    return writers.admit(store, record, namespace, admission, key_id)


def _opened_by(store: Store, record: RepositoryRecord, namespace: str, passphrase: Passphrase) -> KeyFile | None:
    """The newest key file that this passphrase opens already."""
    try:
        return next((file for _, file in keyfiles.opened_files(store, record, namespace, passphrase)), None)
    except WrongKey:
        return None


def _deleted(store: Store, file: KeyFile) -> None:
    store.delete(file.key)
    if keyfiles.exists(store, file):
        raise StorageUnavailable(f"{file.key} was to be removed and is still there: the bucket may lock it. It still opens the repository.")


def _check_encrypted(record: RepositoryRecord) -> None:
    if record.recipient is None:
        raise InvalidSpec("the repository is not encrypted (algorithm None): it has no keys, and only the writer that made it counts")


def _check_own(record: RepositoryRecord, identity: Identity) -> None:
    _check_encrypted(record)
    if not keyfiles.is_of(identity, record):
        raise WrongKey(f"the identity of {identity.recipient} is not the repository's ({record.recipient}): nothing was changed")
    if missing := set(record.recipients) - set(identity.recipients):
        raise WrongKey(
            f"the identity lacks the lines of earlier generations ({', '.join(sorted(missing))}): a way in made of it would not open older archives. "
            "Take the whole content of a key file."
        )
