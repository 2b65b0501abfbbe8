"""Key files: the repository's identity, sealed once for each way in. Written before the repository exists, never overwritten."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, Literal

from iot_backup.core import layout
from iot_backup.crypto.age import Unwrapper
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.sealing import opened, sealed_by, sealed_to
from iot_backup.errors import CorruptData, InvalidSpec, IotBackupError, KeyMissing, NotFound, StorageUnavailable, Untrusted, WrongKey
from iot_backup.repository import records
from iot_backup.repository.records import RepositoryRecord
from iot_backup.repository.writing import found, settled
from iot_backup.storage.store import Store

Way = Literal["scrypt", "recipients"]
SCRYPT: Final = "scrypt"
RECIPIENTS: Final = "recipients"
MOST: Final = {SCRYPT: 32, RECIPIENTS: 64}
"""Key files tried, the newest and the oldest: a passphrase takes a second each, and anyone with credentials can add files."""
_UNLISTED = 8
"""Serials asked for by name where a listing shows nothing: it may be old."""


@dataclass(frozen=True)
class KeyFile:
    """One way to the identity."""

    serial: int
    way: Way
    key: str
    """In the store."""
    earlier: int | None = None
    """Its generation, where a later one followed: it opens what was written until then, and nothing after."""

    @property
    def name(self) -> str:
        """How a person calls it."""
        return f"{self.serial}.{self.way}" + (f"@{self.earlier}" if self.earlier else "")


def content(identity: Identity, repository_id: str, namespace: str) -> bytes:
    """An identity file as `age -i` takes it, bound to one repository, so that another's key file proves nothing here."""
    older = (line for old in identity.older for line in (f"# before: {old.recipient}", old.text))
    lines = (f"# repository: {repository_id}", f"# namespace: {namespace}", f"# public key: {identity.recipient}", identity.text, *older)
    return "".join(f"{line}\n" for line in lines).encode()


def write(store: Store, record: RepositoryRecord, plain: bytes, passphrase: Passphrase | None, recipients: Sequence[str]) -> None:
    """The first key files, one for each way in, before there is a repository. KeyMissing if there is no way in; what `put` raises."""
    if passphrase is None and not recipients:
        raise KeyMissing("there is no key: set spec.encryption.secretRef (a passphrase) or spec.encryption.recipients (age1...)")
    ways: tuple[tuple[Way, Passphrase | Sequence[str] | None], ...] = ((RECIPIENTS, recipients), (SCRYPT, passphrase))
    for way, opener in ways:
        file = named(record, 1, way)
        if opener and not put(store, file, plain, opener):
            raise StorageUnavailable(f"{file.key} holds other bytes than were just written under this new name; no repository was created")


def put(store: Store, file: KeyFile, plain: bytes, opener: Passphrase | Sequence[str]) -> bool:
    """Seal the identity into a new file for a passphrase or for people's recipients, read it back, open it where we can.

    False if the name is taken. InvalidSpec for a bad recipient; CorruptData if the file does not give the identity back.
    """
    sealed = sealed_by(opener, plain) if isinstance(opener, Passphrase) else sealed_to(opener, plain)
    if not settled(store, file.key, sealed):
        return False
    if isinstance(opener, Passphrase) and opened(store.read(file.key), opener) != plain:
        raise CorruptData(f"{file.key} was written and does not give the identity back; it was not taken into use")
    return True


def listed(store: Store, record: RepositoryRecord, generation: int | None = None) -> list[KeyFile]:
    """The key files of the newest generation, or of that one, by serial. A listing may be old: absence proves nothing."""
    parsed = (layout.key_file_parts(info.key) for info in store.list(layout.KEYS))
    wanted = _digest(record, generation)
    ours = {(serial, way) for digest, serial, way in filter(None, parsed) if digest == wanted}
    return [named(record, serial, SCRYPT if way == SCRYPT else RECIPIENTS, generation) for serial, way in sorted(ours)]


def named(record: RepositoryRecord, serial: int, way: Way, generation: int | None = None) -> KeyFile:
    """The key file of that serial, whether it is there or not; of the newest generation, or of that one."""
    earlier = generation if generation != record.generation else None
    return KeyFile(serial, way, layout.key_file(_digest(record, generation), serial, way), earlier)


def _digest(record: RepositoryRecord, generation: int | None) -> str:
    return record.recipient_digest if generation is None else records.digest(record.recipients[generation - 1])


def exists(store: Store, file: KeyFile) -> bool:
    try:
        store.head(file.key)
    except NotFound:
        return False
    return True


def present(store: Store, record: RepositoryRecord) -> bool:
    """Whether there is any way in. Asked by name, too, since a listing may be old."""
    first, *others = (named(record, serial, way) for serial in range(1, _UNLISTED + 1) for way in (SCRYPT, RECIPIENTS))
    return exists(store, first) or bool(listed(store, record)) or any(exists(store, file) for file in others)


def by_passphrase(store: Store, record: RepositoryRecord, namespace: str, passphrase: Passphrase) -> tuple[Identity, KeyFile]:
    """The identity of this very repository, and the file it was in.

    KeyMissing if no file is sealed so; WrongKey, CorruptData, Untrusted (another's file).
    """
    for found_ in opened_files(store, record, namespace, passphrase):
        return found_
    raise anothers(record, namespace)


def anothers(record: RepositoryRecord, namespace: str) -> Untrusted:
    """What to say where a key file opens, and what is in it is of no use here."""
    return Untrusted(
        f"the key file opens, but belongs to another repository than repo.json ({record.repository_id}, namespace {namespace}): "
        "one of them was copied here or replaced. If that was you, set spec.encryption.fingerprint."
    )


def opened_files(store: Store, record: RepositoryRecord, namespace: str, key: Passphrase | Identity) -> Iterator[tuple[Identity, KeyFile]]:
    """Every key file of this very repository that the key opens, newest first. KeyMissing, WrongKey, CorruptData if it opens none."""
    for plain, file in _contents(store, record, SCRYPT if isinstance(key, Passphrase) else RECIPIENTS, key):
        identity = _identity_in(plain)
        if identity and is_of(identity, record) and plain == content(identity, record.repository_id, namespace):
            yield identity, file


def opened_earlier(store: Store, record: RepositoryRecord, key: Passphrase | Identity) -> Iterator[KeyFile]:
    """Every key file of an earlier generation that the key opens. None where it opens none: a later one's hold the same and more."""
    way: Way = SCRYPT if isinstance(key, Passphrase) else RECIPIENTS
    for generation in range(record.generation - 1, 0, -1):
        with suppress(KeyMissing, WrongKey, CorruptData):
            for plain, file in _contents(store, record, way, key, generation):
                identity = _identity_in(plain)
                if identity and own(record, identity):
                    yield file


def by_identity(store: Store, record: RepositoryRecord, brought: Identity) -> tuple[Identity, bool]:
    """The repository's identity from what a person brought, and whether it proves the repository. WrongKey, CorruptData.

    A person's file may hold identities of other things, in any order: none of them is returned. It proves the repository if the
    newest generation's is among them. One of the people's recipients opens a key file, but anybody can seal a file to them.
    That of an earlier generation opens what was sealed to it.
    """
    mine = own(record, brought)
    if mine and is_of(mine, record):
        return mine, True
    with suppress(KeyMissing, *((WrongKey, CorruptData) if mine else ())):
        for plain, _ in _contents(store, record, RECIPIENTS, brought):
            held = _identity_in(plain)
            identity = own(record, held) if held else None
            if identity and is_of(identity, record):
                return identity, False
    if mine:
        return mine, False
    raise WrongKey(
        f"the identity of {' and '.join(brought.recipients)} neither is the repository's ({record.recipient}) nor opens a key file of it"
    )


def own(record: RepositoryRecord, identity: Identity) -> Identity | None:
    """Those of the identities that are the repository's, the newest generation's first. None if none is.

    Whatever else a file holds is a person's own, and is sealed into no key file: that would tell it to all who can open the repository.
    """
    held = {each.recipient: each.alone for each in (identity, *identity.older)}
    mine = [held[recipient] for recipient in reversed(record.recipients) if recipient in held]
    return Identity(mine[0].secret, tuple(mine[1:])) if mine else None


def is_of(identity: Identity, record: RepositoryRecord) -> bool:
    """Whether recipient and root of the record derive from this identity."""
    return identity.recipient == record.recipient and identity.root.public.hex() == record.root


def _identity_in(plain: bytes) -> Identity | None:
    try:
        return Identity.parsed(plain.decode("ascii", "replace"))
    except InvalidSpec:
        return None


def _contents(
    store: Store, record: RepositoryRecord, way: Way, key: Unwrapper, generation: int | None = None
) -> Iterator[tuple[bytes, KeyFile]]:
    """What the key files hold that this key opens, each to be judged: a file may have been added. KeyMissing, WrongKey, CorruptData if none opens."""
    failures: list[IotBackupError] = []
    count = 0
    for file in _tried(store, record, way, generation):
        try:
            sealed = found(store, file.key)
            if sealed is None:
                continue
            plain = opened(sealed, key)
        except (WrongKey, CorruptData) as error:
            failures.append(type(error)(f"{file.key}: {error}"))
            continue
        count += 1
        yield plain, file
    if count:
        return
    if not failures:
        raise KeyMissing(f"the repository has no key file of the kind .{way} for {record.recipient}: the key given cannot open it")
    raise next((e for e in failures if isinstance(e, WrongKey)), failures[0])


def _tried(store: Store, record: RepositoryRecord, way: Way, generation: int | None) -> list[KeyFile]:
    """Newest first; of too many the newest and the oldest, since whoever adds rubbish cannot do so in front of both."""
    serials = [file.serial for file in reversed(listed(store, record, generation)) if file.way == way]
    half = MOST[way] // 2
    if len(serials) > MOST[way]:
        serials = serials[:half] + serials[-half:]
    return [named(record, serial, way, generation) for serial in dict.fromkeys([*serials, 1] if serials else range(1, _UNLISTED + 1))]
