"""Holds of a site's repositories and of their copies, for a person: see them, pin a backup, release one.

A hold lies in each storage that has the backup, so it binds there whatever becomes of the others, and whichever of them is written to.
A storage that cannot be asked stops nothing in the others; it is told, and what was asked for is done there when it is asked again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

from iot_backup.core import layout, spec
from iot_backup.core.manifest import Manifest
from iot_backup.crypto.signing import WriterKey
from iot_backup.errors import InvalidSpec, IotBackupError, SourceUnavailable, Untrusted
from iot_backup.repository import holds, writing
from iot_backup.repository.holds import Held, Unreadable
from iot_backup.repository.opening import Repository, open_for_backup
from iot_backup.standalone import catalogue, environment, records, sites
from iot_backup.standalone.config import Backup
from iot_backup.standalone.machine import Machine
from iot_backup.standalone.sites import Site
from iot_backup.storage.opening import open_store

T = TypeVar("T")


@dataclass(frozen=True)
class Line:
    """One hold. Of one that cannot be read what its name says, and as its message why: retention removes nothing before it is released."""

    storages: tuple[str, ...]
    """Where it lies."""
    chain: str
    id: str
    """The key of one whose name says nothing."""
    reason: str
    time: datetime | None
    message: str

    def row(self) -> tuple[str, ...]:
        return self.id, self.reason, self.chain, ", ".join(self.storages), records.time(self.time) or "", self.message

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        fields = {"id": self.id, "reason": self.reason, "chain": self.chain, "storages": list(self.storages)}
        return {**fields, "time": records.time(self.time), "message": self.message}


@dataclass(frozen=True)
class Told:
    """Holds that there are, and why others may not be seen: one sentence for each storage that could not be asked."""

    lines: tuple[Line, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Released:
    """Storages in which a hold was released; `problems` as `Told` has them."""

    storages: tuple[str, ...]
    problems: tuple[str, ...]


def listed(config: Backup, machine: Machine) -> Told:
    """All of the repositories that this machine writes or copies to, each hold once; others of the config, which it does not know, are told.

    What the storage raises, if none can be asked.
    """
    answers, failures = _asked(config, machine, lambda repository, _: holds.looked_at(repository.catalogue))
    if failures and not answers:
        raise next(iter(failures.values()))
    lines: dict[tuple[str, str, str, str], Line] = {}
    unreadable = []
    for site, (found, bad) in answers:
        for held in found:
            key = site.name, held.chain, held.id, held.reason
            line = lines.get(key) or Line((), held.chain, held.id, held.reason, held.time, held.message)
            lines[key] = replace(line, storages=(*line.storages, site.storage))
        unreadable += [_unreadable(site, each) for each in bad]
    asked = {site.label for site, _ in answers} | {site.label for site in failures}
    strange = {site: error for site in _all(config, machine) if site.label not in asked and (error := _strange(site, machine))}
    return Told((*lines.values(), *unreadable), _problems(failures | strange, "and what is held there is not shown"))


def _all(config: Backup, machine: Machine) -> list[Site]:
    """Every repository that a job writes or copies to, each once."""
    of_jobs = (s for j in config.jobs for s in (sites.of_job(config, j, machine.environ), *sites.copies_of(config, j, machine.environ)))
    return list({site.label: site for site in of_jobs}.values())


def _strange(site: Site, machine: Machine) -> IotBackupError | None:
    """Why nobody can tell what is held in a storage that this machine does not write to; None where no repository is."""
    if isinstance(site.target, spec.VolumeTarget) and not Path(site.target.mount).exists():
        return None
    try:
        if writing.found(open_store(site.repository(), environment.secrets(machine.environ)), layout.REPO) is None:
            return None
    except IotBackupError as error:
        return error
    return Untrusted("it holds a repository that this machine does not know, since it never wrote there. Ask on the machine that does")


def _unreadable(site: Site, hold: Unreadable) -> Line:
    id_, reason = layout.hold_parts(hold.key) or (hold.key, "")
    way_out = f"`hold release {id_} --reason {reason}`" if reason else "delete that object"
    told = f"{records.spoken(hold.problem)}. Retention removes nothing until it goes: {way_out}"
    return Line((site.storage,), "", id_, reason, None, told)


def added(config: Backup, id_: str, message: str, machine: Machine, now: datetime, reason: holds.Reason = holds.PINNED) -> Told:
    """Hold a backup in every storage that has it, but where it is damaged in the one it was written to alone: no retention takes it, nor what it
    builds on.

    InvalidSpec for a message that is no text. SourceUnavailable if there is none of that id; where it was held nowhere, what the first storage that could not do so raised: Busy if
    retention was first.
    """

    try:
        message.encode()
    except UnicodeEncodeError as error:  # an argument's bytes that are no UTF-8
        raise InvalidSpec("the sentence that says why is not UTF-8 text: write it in UTF-8, or leave it out") from error

    def held(repository: Repository, writer: WriterKey) -> Manifest | None:
        entry = next((each for each in repository.catalogue.entries() if each.manifest and each.manifest.id == id_), None)
        if entry is not None:
            if not repository.writer_admitted:
                raise Untrusted(
                    "this machine's writer key is not admitted there, and a stranger's hold would stop all retention: run key admit"
                )
            holds.confirmed(repository, writer, entry.member, Held(entry.member.chain, id_, reason, message), now)
        return entry.manifest if entry else None

    answers, failures = _asked(config, machine, held, copies=reason != holds.DAMAGED)
    placed = [(site, manifest) for site, manifest in answers if manifest is not None]
    if not placed:
        missing = SourceUnavailable(f"no storage that this machine writes or copies to has a backup {id_}: look at `backup-manager list`")
        raise next(iter(failures.values()), missing)
    line = Line(tuple(site.storage for site, _ in placed), placed[0][1].chain, id_, reason, now, message)
    return Told((line,), _problems(failures, "so run this again if it has the backup"))


def released(config: Backup, id_: str, reason: str, machine: Machine) -> Released:
    """Release a hold wherever it lies. InvalidSpec if it lies nowhere, or for what is no id; where a storage could not be asked, what that
    one raised."""
    if not catalogue.is_id(id_):
        raise InvalidSpec(f"{id_!r} is not the id of a backup (16 hex digits): look at `backup-manager hold list`")
    answers, failures = _asked(config, machine, lambda repository, _: holds.released(repository, id_, reason))
    storages = tuple(site.storage for site, was_there in answers if was_there)
    if not storages:
        missing = InvalidSpec(f"nothing holds the backup {id_} for the reason {reason!r}: look at `backup-manager hold list`")
        raise next(iter(failures.values()), missing)
    return Released(storages, _problems(failures, "so run this again if it is held there"))


def _asked(
    config: Backup, machine: Machine, what: Callable[[Repository, WriterKey], T], *, copies: bool = True
) -> tuple[list[tuple[Site, T]], dict[Site, IotBackupError]]:
    """The same of every repository that this machine knows, or of those that it writes to alone: answers, and why there is none."""
    answers: list[tuple[Site, T]] = []
    failures: dict[Site, IotBackupError] = {}
    for site, key in _known(config, machine, copies=copies):
        memory = machine.state_of(site).memory()
        if memory is None:
            continue
        try:
            store = open_store(site.repository(conditional_writes=memory.conditional_writes), environment.secrets(machine.environ))
            answers.append((site, what(open_for_backup(store, site.name, memory.trust, key), key)))
        except IotBackupError as error:
            failures[site] = error
    return answers, failures


def _known(config: Backup, machine: Machine, *, copies: bool) -> Iterator[tuple[Site, WriterKey]]:
    """Each repository that this machine writes to, and its `copies`, with the key that is admitted to all of them."""
    seen: set[str] = set()
    for job in config.jobs:
        source = sites.of_job(config, job, machine.environ)
        state = machine.state_of(source)
        if not state.has_writer_key:
            continue
        for site in (source, *(sites.copies_of(config, job, machine.environ) if copies else ())):
            if site.label not in seen:
                seen.add(site.label)
                yield site, WriterKey(state.writer_key())


def _problems(failures: dict[Site, IotBackupError], so: str) -> tuple[str, ...]:
    told = (f"storage {site.storage} was left out, {so}: {records.spoken(error)}" for site, error in failures.items())
    return tuple(dict.fromkeys(told))
