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
from iot_backup.errors import Busy, CorruptData, InvalidSpec, KeyMissing, StorageUnavailable, WrongKey
from iot_backup.repository import generations, keyfiles, records, writers
from iot_backup.repository.keyfiles import MOST, RECIPIENTS, SCRYPT, KeyFile, Way
from iot_backup.repository.records import GenerationRecord, RepositoryRecord, WriterRecord
from iot_backup.repository.writers import Keys
from iot_backup.repository.writing import found, settled
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
    """The ways in, by serial, and behind them those of earlier generations, which open what was written until then. InvalidSpec where nothing is encrypted."""
    _check_encrypted(record)
    return [file for generation in range(record.generation, 0, -1) for file in keyfiles.listed(store, record, generation)]


def add(store: Store, record: RepositoryRecord, namespace: str, identity: Identity, opener: Passphrase | Sequence[str]) -> KeyFile:
    """A new way in beside those that are there: a passphrase, or a key file for one or more people's recipients (age1...).

    WrongKey if the identity is not this repository's; InvalidSpec for a bad recipient, or if there are too many ways already.
    """
    mine = _own(record, identity)
    if not isinstance(opener, Passphrase) and not opener:
        raise InvalidSpec("there is no recipient to add: name one (age1...), or a passphrase")
    way: Way = SCRYPT if isinstance(opener, Passphrase) else RECIPIENTS
    present = keyfiles.listed(store, record)
    if sum(file.way == way for file in present) >= MOST[way]:
        raise InvalidSpec(f"the repository has {MOST[way]} key files of the kind .{way}, and more are not looked at: remove one first")
    plain = keyfiles.content(mine, record.repository_id, namespace)
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

    It must be one of the newest generation, which opens everything, whichever generation `wanted` is of. InvalidSpec if there is no such
    file, or the key opens none but this; WrongKey, KeyMissing, CorruptData if it opens none at all; Busy if somebody else removed that one meanwhile.
    """
    _check_encrypted(record)
    if not keyfiles.exists(store, wanted):
        raise InvalidSpec(f"the repository has no key file {wanted.name}: nothing was removed. List the ways in first.")
    left = next((file for _, file in keyfiles.opened_files(store, record, namespace, remaining) if file != wanted), None)
    if left is None:
        raise InvalidSpec(
            f"the key given opens no key file but {wanted.name}: nothing was removed, since nobody would be seen to get in. "
            "Give a key that opens another one, or add one first."
        )
    _taken_away(store, wanted, left)


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
    The key files of earlier generations that the old passphrase opens are removed as well: the new one's file opens what they open.
    Busy if somebody else removed that one meanwhile.
    """
    if old == new:
        raise InvalidSpec("the new passphrase is the old one: nothing was changed")
    earlier = list(keyfiles.opened_earlier(store, record, old))
    try:
        replaced = _replaced(store, record, namespace, old, required=not earlier)
    except (WrongKey, KeyMissing) as error:
        raise _nothing_left(store, record, namespace, new) or error from None
    identity, added = _opened_by(store, record, namespace, new) or _added_for(store, record, namespace, replaced, new)
    first = writers.admitted(store, record, namespace, writer.id) if writer else None
    if writer and first:
        ours = writers.described(
            Keys(writer, new), repository_id=record.repository_id, namespace=namespace, now=now, passphrase_serial=added.serial
        )
        writers.tell(store, record, namespace, first, ours, identity.root)
    # The newest generation's last: as long as one is there the old passphrase is known to be half removed.
    gone = (*earlier, *(file for _, file in replaced))
    for file in gone:
        _taken_away(store, file, added)
    return Rotated(added, gone)


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
    mine = _own(record, identity)
    if (data := found(store, layout.generation(record.generation + 1))) is not None:
        raise InvalidSpec(
            f"{layout.generation(record.generation + 1)} is there already: nothing was renewed. If it is yours, as after a renewal that was cut off "
            f"at its end, set spec.encryption.fingerprint to {records.fingerprint(data)}; if it is not, find out who made it, and remove it."
        )
    fresh = replace(Identity.generated(), older=(mine.alone, *mine.older))
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
    return Renewed(renewed, generations.write(store, generation, mine.root), fresh)


def admit(store: Store, record: RepositoryRecord, namespace: str, identity: Identity, key_id: str, now: datetime) -> WriterRecord:
    """Admit a writer that asked for it (`writers.applicants`). The caller has compared the id with what that writer's cluster shows.

    InvalidSpec if nobody of that id asked; WrongKey if the identity is not this repository's; Untrusted for a forged application.
    """
    mine = _own(record, identity)
    wish = writers.applicant(store, record, namespace, layout.checked(key_id, "writer"))
    if wish is None:
        raise InvalidSpec(
            f"writer {key_id} did not ask to be admitted to this repository: its probe does, once its storage has this repository's fingerprint"
        )
    admission = writers.admission(wish.model_copy(update={"admission_time": now}), mine.root)
    return writers.admit(store, record, namespace, admission, key_id)


def _replaced(store: Store, record: RepositoryRecord, namespace: str, old: Passphrase, *, required: bool) -> list[tuple[Identity, KeyFile]]:
    """The newest generation's key files that this passphrase opens. Where none need be, because an earlier one's is left: none, instead of an error."""
    try:
        replaced = list(keyfiles.opened_files(store, record, namespace, old))
    except (WrongKey, KeyMissing, CorruptData):
        if required:
            raise
        return []
    if required and not replaced:
        raise keyfiles.anothers(record, namespace)
    return replaced


def _nothing_left(store: Store, record: RepositoryRecord, namespace: str, new: Passphrase) -> WrongKey | None:
    """What to say of an old passphrase that opens nothing where the new one is in its place: it is done, or the old one was mistyped. Nobody can tell."""
    ready = _opened_by(store, record, namespace, new)
    if ready is None:
        return None
    return WrongKey(
        f"the old passphrase opens no key file, and the new one opens {ready[1].name} already: if this is a repeat, the old one is gone and all is done; "
        "if not, the old one is mistyped, and still opens what it did. Nothing was changed."
    )


def _opened_by(store: Store, record: RepositoryRecord, namespace: str, passphrase: Passphrase) -> tuple[Identity, KeyFile] | None:
    """The newest key file that this passphrase opens already, and that opens all generations."""
    try:
        opened = keyfiles.opened_files(store, record, namespace, passphrase)
        return next(((identity, file) for identity, file in opened if not _missing(record, identity)), None)
    except (WrongKey, KeyMissing):
        return None


def _added_for(
    store: Store, record: RepositoryRecord, namespace: str, replaced: list[tuple[Identity, KeyFile]], new: Passphrase
) -> tuple[Identity, KeyFile]:
    """A key file for the new passphrase, by what the old one opened. WrongKey if that was nothing of the newest generation."""
    if not replaced:
        raise WrongKey(
            "the old passphrase opens key files of earlier generations only, and the new one opens none of the newest: nothing was changed. "
            "Give as the new one a passphrase that opens the repository."
        )
    identity = replaced[0][0]
    return identity, add(store, record, namespace, identity, new)


def _taken_away(store: Store, file: KeyFile, left: KeyFile) -> None:
    """Delete a way in, and see that the one that is to be left is still there. Busy if it is not: then the file is back.

    Two who each look, and then each delete what the other one counts on, would leave nothing.
    """
    sealed = found(store, file.key)
    _deleted(store, file)
    if sealed is None or keyfiles.exists(store, left):
        return
    settled(store, file.key, sealed)
    raise Busy(
        f"{left.name} was removed by somebody else while {file.name} was, so that one was put back: list the ways in, then decide anew"
    )


def _deleted(store: Store, file: KeyFile) -> None:
    store.delete(file.key)
    if keyfiles.exists(store, file):
        raise StorageUnavailable(f"{file.key} was to be removed and is still there: the bucket may lock it. It still opens the repository.")


def _check_encrypted(record: RepositoryRecord) -> None:
    if record.recipient is None:
        raise InvalidSpec("the repository is not encrypted (algorithm None): it has no keys, and only the writer that made it counts")


def _own(record: RepositoryRecord, identity: Identity) -> Identity:
    """What of the identity is the repository's. WrongKey if that is not all that opens it."""
    _check_encrypted(record)
    mine = keyfiles.own(record, identity)
    if mine is None or not keyfiles.is_of(mine, record):
        raise WrongKey(f"the identity of {identity.recipient} is not the repository's ({record.recipient}): nothing was changed")
    if missing := _missing(record, mine):
        raise WrongKey(
            f"the identity lacks the lines of earlier generations ({', '.join(sorted(missing))}): a way in made of it would not open older archives. "
            "Take the whole content of a key file."
        )
    return mine


def _missing(record: RepositoryRecord, identity: Identity) -> set[str]:
    """Recipients of generations that the identity does not open."""
    return set(record.recipients) - set(identity.recipients)
