"""Who can open a repository, and who may write to it: the `key` commands. What they do is `repository.access`'s matter."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.signing import WriterKey
from iot_backup.errors import InvalidSpec, KeyMissing, WrongKey
from iot_backup.repository import access, keyfiles, writers
from iot_backup.repository.keyfiles import KeyFile
from iot_backup.repository.opening import Repository
from iot_backup.repository.records import WriterRecord
from iot_backup.standalone import catalogue, environment, records, sites
from iot_backup.standalone.catalogue import Key, Opened
from iot_backup.standalone.config import Backup
from iot_backup.standalone.machine import Machine
from iot_backup.standalone.sites import Site
from iot_backup.standalone.state import Memory
from iot_backup.worker import keys


@dataclass(frozen=True)
class Access:
    """All ways in, and all writers."""

    fingerprint: str
    recipient: str | None
    ways: tuple[str, ...]
    """Key files, as `<serial>.<way>`."""
    writers: tuple[dict[str, Any], ...]
    """Admitted ones."""
    applicants: tuple[dict[str, Any], ...]
    """Who asks to be admitted."""

    def plain(self) -> dict[str, Any]:
        return {
            "fingerprint": self.fingerprint,
            "recipient": self.recipient,
            "ways": list(self.ways),
            "writers": list(self.writers),
            "applicants": list(self.applicants),
        }


def site(config: Backup, storage: str | None, machine: Machine) -> Site:
    """The encrypted repository of that storage, or the only one. InvalidSpec."""
    known = {each.storage: each for each in sites.all_of(config, machine.environ) if each.encrypted}
    if storage is not None and storage in known:
        return known[storage]
    if storage is None and len(known) == 1:
        return next(iter(known.values()))
    names = ", ".join(known) or "none"
    raise InvalidSpec(
        f"no job encrypts to storage {storage!r}: there are {names}" if storage else f"say which storage is meant with --storage: {names}"
    )


def opened(where: Site, machine: Machine, key: Key, *, sealed: bool) -> Opened:
    """Its repository. SourceUnavailable-like sentences where there is none."""
    there = catalogue.opened(where, machine, key, sealed=sealed)
    if there is None:
        raise InvalidSpec(f"storage {where.storage} holds no repository of site {where.name} yet: the first backup makes it")
    return there


def listed(there: Opened) -> Access:
    """Needs no key."""
    store, record, name = there.repository.store, there.repository.record, there.site.name
    return Access(
        fingerprint=there.trust.fingerprint,
        recipient=record.recipient,
        ways=tuple(spoken(file) for file in access.ways(store, record)),
        writers=tuple(_writer(each) for each in writers.listed(store, record, name)),
        applicants=tuple(_writer(each) for each in writers.applicants(store, record, name)),
    )


def added(there: Opened, machine: Machine, recipients: Sequence[str]) -> KeyFile:
    """A way in for people's recipients, or where there is none for the new passphrase of the environment."""
    opener = tuple(recipients) or new_passphrase(machine)
    return access.add(there.repository.store, there.repository.record, there.site.name, _identity(there.repository), opener)


def removed(there: Opened, machine: Machine, key: Key, name: str) -> KeyFile:
    """Take a way in away; the key given must open another one."""
    repository = there.repository
    known = {spoken(file): file for file in access.ways(repository.store, repository.record)}
    if name not in known:
        raise InvalidSpec(f"the repository has no way in {name!r}: there are {', '.join(known)}")
    secrets = key.secrets(machine)
    remaining = keys.brought(key.source, secrets) or passphrase(machine)
    with machine.state_of(there.site).changing_keys():
        access.remove(repository.store, repository.record, there.site.name, known[name], remaining)
    return known[name]


def rotated(there: Opened, machine: Machine) -> access.Rotated:
    """The new passphrase of the environment in the place of the old one."""
    state = machine.state_of(there.site)
    writer = WriterKey(state.writer_key()) if state.has_writer_key else None
    old, new = passphrase(machine), new_passphrase(machine)
    repository = there.repository
    with state.changing_keys():
        return access.rotate(repository.store, repository.record, there.site.name, old, new, writer=writer, now=datetime.now(UTC))


def renewed(there: Opened, machine: Machine, recipients: Sequence[str]) -> str:
    """A new identity, for when the old one is known to others; this machine trusts it from now on. Its fingerprint.

    WrongKey for a passphrase that is not the repository's: only what was mistyped would open the new one.
    """
    repository = there.repository
    ways_in = _known_passphrase(there, machine) if machine.environ.get(environment.PASSPHRASE.key) else None
    with machine.state_of(there.site).changing_keys():
        done = access.renew(
            repository.store,
            repository.record,
            there.site.name,
            _identity(repository),
            ways_in,
            recipients,
            fingerprint=there.trust.fingerprint,
            now=datetime.now(UTC),
        )
    trust = there.trust.model_copy(update={"fingerprint": done.fingerprint, "recipient": done.record.recipient})
    machine.state_of(there.site).remember(lambda memory: memory.told(trust) if memory else Memory(trust=trust))
    return done.fingerprint


def admitted(there: Opened, key_id: str) -> str:
    """Let a writer that asked for it write backups that count."""
    repository = there.repository
    now = datetime.now(UTC)
    return access.admit(repository.store, repository.record, there.site.name, _identity(repository), key_id, now).key_id


def passphrase(machine: Machine) -> Passphrase:
    """BACKUP_ENCRYPTION_KEY. KeyMissing."""
    return _passphrase(machine, environment.PASSPHRASE.key)


def new_passphrase(machine: Machine) -> Passphrase:
    """BACKUP_ENCRYPTION_KEY_NEW. KeyMissing."""
    return _passphrase(machine, environment.NEW_PASSPHRASE.key)


def _known_passphrase(there: Opened, machine: Machine) -> Passphrase:
    """BACKUP_ENCRYPTION_KEY, seen to open the repository. WrongKey."""
    given = passphrase(machine)
    try:
        keyfiles.by_passphrase(there.repository.store, there.repository.record, there.site.name, given)
    except (WrongKey, KeyMissing) as error:
        raise WrongKey(
            f"the passphrase in {environment.PASSPHRASE.key} opens no key file of the repository, so it may be mistyped: nothing was renewed. "
            "Correct it, or unset it and name people's --recipient; another passphrase is added with `key add` first."
        ) from error
    return given


def spoken(file: keyfiles.KeyFile) -> str:
    """How a person calls a way in."""
    return file.name


def _passphrase(machine: Machine, variable: str) -> Passphrase:
    text = machine.environ.get(variable, "")
    if not text.strip():
        raise KeyMissing(f"the environment variable {variable} is not set: put the passphrase there, never into an argument")
    return Passphrase.cleaned(os.fsencode(text))


def _identity(repository: Repository) -> Identity:
    assert repository.identity is not None, "an encrypted repository opened with its key has one"
    return repository.identity


def _writer(record: WriterRecord) -> dict[str, Any]:
    return {"id": record.key_id, "time": records.time(record.admission_time)}
