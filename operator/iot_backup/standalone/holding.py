"""Holds of a site's repositories, for a person: see them, pin a backup, release one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from iot_backup.core import layout
from iot_backup.crypto.signing import WriterKey
from iot_backup.errors import InvalidSpec, SourceUnavailable
from iot_backup.repository import holds
from iot_backup.repository.holds import Held, Unreadable
from iot_backup.repository.opening import Repository, open_for_backup
from iot_backup.standalone import environment, records, sites
from iot_backup.standalone.config import Backup
from iot_backup.standalone.machine import Machine
from iot_backup.standalone.sites import Site
from iot_backup.storage.opening import open_store


@dataclass(frozen=True)
class Line:
    """One hold. Of one that cannot be read what its name says, and as its message why: retention removes nothing before it is released."""

    storage: str
    chain: str
    id: str
    """The key of one whose name says nothing."""
    reason: str
    time: datetime | None
    message: str

    def row(self) -> tuple[str, ...]:
        return self.id, self.reason, self.chain, self.storage, records.time(self.time) or "", self.message

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        fields = {"id": self.id, "reason": self.reason, "chain": self.chain, "storage": self.storage}
        return {**fields, "time": records.time(self.time), "message": self.message}


def listed(config: Backup, machine: Machine) -> list[Line]:
    """All of the repositories that this machine writes to."""
    lines = []
    for site, repository, _ in _opened(config, machine):
        held, bad = holds.looked_at(repository.catalogue)
        lines += [Line(site.storage, each.chain, each.id, each.reason, each.time, each.message) for each in held]
        lines += [_unreadable(site, each) for each in bad]
    return lines


def _unreadable(site: Site, hold: Unreadable) -> Line:
    id_, reason = layout.hold_parts(hold.key) or (hold.key, "")
    way_out = f"`hold release {id_} --reason {reason}`" if reason else "delete that object"
    return Line(site.storage, "", id_, reason, None, f"{records.spoken(hold.problem)}. Retention removes nothing until it goes: {way_out}")


def added(config: Backup, id_: str, message: str, machine: Machine, now: datetime, reason: holds.Reason = holds.PINNED) -> Line:
    """Hold a backup: no retention takes it, nor what it builds on. SourceUnavailable if there is none of that id; Busy if retention
    was first."""
    for site, repository, writer in _opened(config, machine):
        found = [entry.manifest for entry in repository.catalogue.entries() if entry.manifest and entry.manifest.id == id_]
        if found:
            held = Held(found[0].chain, id_, reason, message)
            holds.confirmed(repository, writer, found[0].member, held, now)
            return Line(site.storage, held.chain, id_, held.reason, now, message)
    raise SourceUnavailable(f"no storage that this machine writes to has a backup {id_}: look at `backup-manager list`")


def released(config: Backup, id_: str, reason: str, machine: Machine) -> str:
    """The storage in which a hold was released. InvalidSpec if there is none."""
    for site, repository, _ in _opened(config, machine):
        if holds.released(repository, id_, reason):
            return site.storage
    raise InvalidSpec(f"nothing holds the backup {id_} for the reason {reason!r}: look at `backup-manager hold list`")


def _opened(config: Backup, machine: Machine) -> Iterator[tuple[Site, Repository, WriterKey]]:
    for site in sites.all_of(config, machine.environ):
        state = machine.state_of(site)
        memory = state.memory()
        if memory is None or not state.has_writer_key:
            continue
        key = WriterKey(state.writer_key())
        store = open_store(site.repository(conditional_writes=memory.conditional_writes), environment.secrets(machine.environ))
        yield site, open_for_backup(store, site.name, memory.trust, key), key
