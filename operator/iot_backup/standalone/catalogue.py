"""What is stored: the repositories of a config, opened to read, and the backups in them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from iot_backup.core import layout, spec
from iot_backup.core import manifest as manifests
from iot_backup.core.manifest import Manifest
from iot_backup.errors import InvalidSpec, IotBackupError, KeyMissing, RolledBack, SourceUnavailable, Untrusted
from iot_backup.repository import floor, generations
from iot_backup.repository.catalogue import Entry
from iot_backup.repository.lineage import lineage
from iot_backup.repository.opening import Repository, open_for_restore, open_to_look
from iot_backup.repository.records import RepositoryRecord
from iot_backup.repository.trust import vanished
from iot_backup.repository.writing import found
from iot_backup.standalone import environment, records, sites
from iot_backup.standalone.config import Backup, Job
from iot_backup.standalone.configfile import nearest
from iot_backup.standalone.journal import Journal
from iot_backup.standalone.machine import Machine
from iot_backup.standalone.records import Record
from iot_backup.standalone.sites import Site
from iot_backup.standalone.state import Memory
from iot_backup.storage.opening import open_store
from iot_backup.storage.secret_values import HeldSecrets
from iot_backup.storage.store import Store
from iot_backup.worker import keys


@dataclass(frozen=True)
class Opened:
    """One repository, trusted."""

    site: Site
    repository: Repository
    trust: spec.Trust
    memory: Memory | None

    @property
    def root(self) -> str:
        return layout.root(self.site.name, self.site.repository().scope)


@dataclass(frozen=True)
class Key:
    """How a command opens what is sealed."""

    identity: Path | None = None
    """A file with an age identity; None: the passphrase in the environment."""

    def secrets(self, machine: Machine) -> HeldSecrets:
        return environment.secrets(machine.environ, identity=self.identity)

    @property
    def source(self) -> spec.SecretSource | None:
        return environment.IDENTITY if self.identity else None


def opened(site: Site, machine: Machine, key: Key, *, sealed: bool) -> Opened | None:
    """The site's repository; None where there is none and never was. `sealed`: also archives and indexes will be opened.

    Untrusted for one that is remembered, or that a person vouches for, and is not there, or is another one.
    A remembered repository needs no key to be listed. One that is not must prove itself by its key, or be the one of `machine.fingerprint`.
    """
    memory = machine.state_of(site).memory()
    if memory is None and isinstance(site.target, spec.VolumeTarget) and not Path(site.target.mount).exists():
        if machine.fingerprint:
            raise vanished(machine.fingerprint)
        return None
    secrets = key.secrets(machine)
    repository = site.repository()
    store = open_store(repository, secrets)
    trust = memory.trust if memory and not machine.fingerprint else _vouched(store, machine.fingerprint, memory)
    if trust is not None and not (sealed and site.encrypted):
        return Opened(site, open_to_look(store, site.name, trust), trust, memory)
    if trust is None and found(store, layout.REPO) is None:
        return None
    if site.encrypted and key.identity is None and not machine.environ.get(environment.PASSPHRASE.key):
        raise KeyMissing(
            f"the repository in storage {site.storage} is sealed{'' if trust else ', and this machine does not know it'}: set "
            f"{environment.PASSPHRASE.key}, or bring an age identity with --identity"
        )
    passphrase = keys.passphrase(repository, secrets) if key.identity is None else None
    there = open_for_restore(store, site.name, trust, passphrase, keys.brought(key.source, secrets))
    return Opened(site, there, trust or _proven(store, there.record), memory)


def listed(config: Backup, job: Job | None, machine: Machine, key: Key) -> tuple[list[Record], list[IotBackupError]]:
    """All backups, or those of one job, oldest first; and what is missed: chains that show less than this machine remembers, and
    beside repositories that are there those that are not.

    A backup that does not count has status failed and its error; nothing tells which job's it was, so each job of its chain has it.
    """
    where = [sites.of_job(config, job, machine.environ)] if job else sites.all_of(config, machine.environ)
    found_records: list[Record] = []
    losses: list[IotBackupError] = []
    without: list[Site] = []
    for site in where:
        there = opened(site, machine, key, sealed=False)
        if there is None:
            without.append(site)
            continue
        entries = sorted(there.repository.catalogue.entries(), key=_age)
        meant = entries if job is None else _of_job(entries, job, chains_of(config, job, entries, machine))
        found_records.extend(record_of(there.root, entry) for entry in meant)
        losses.extend(_losses(there, entries))
    # Where nothing is anywhere, nothing was backed up yet, as far as anybody can tell: an empty list says so.
    if job is None and len(without) < len(where):
        losses.extend(error for site in without if (error := missed(config, site, machine)))
    return found_records, losses


def missed(config: Backup, site: Site, machine: Machine) -> SourceUnavailable | None:
    """What to say of a storage that holds no repository; None where nobody can expect one.

    Expected are jobs that are enabled. On a machine that ran a job of the config they are those that it has a record of a backup of; one that
    ran none (a verifier) must take the config's word, and expects all.
    """
    ours = [job for job in config.jobs if job.enabled and sites.of_job(config, job, machine.environ).label == site.label]
    try:
        ran = {job.id: Journal(machine.state).of(job.id) for job in config.jobs}
    except OSError:
        ran = {job.id: [] for job in config.jobs}  # records of another user tell us nothing
    expected = [job.id for job in ours if not any(ran.values()) or any(record.id for record in ran[job.id])]
    if not expected:
        return None
    whose = f"job{'' if len(expected) == 1 else 's'} {', '.join(expected)}"
    return SourceUnavailable(
        f"storage {site.storage} holds no repository of site {site.name}: {whose} cannot be verified. Is the storage mounted, and backup.site right?"
    )


def chains_of(config: Backup, job: Job, entries: Iterable[Entry], machine: Machine) -> set[str]:
    """The chains that hold a backup of the job, and the one that its next backup belongs to."""
    held = {entry.member.chain for entry in entries if entry.manifest and entry.manifest.source.job == job.id}
    return held | {sites.chain(config, job, machine.environ)}


def _of_job(entries: Iterable[Entry], job: Job, chains: Collection[str]) -> list[Entry]:
    """The job's backups, and what does not count in its chains."""
    return [e for e in entries if (e.manifest.source.job == job.id if e.manifest else e.member.chain in chains)]


def _losses(there: Opened, entries: list[Entry]) -> Iterator[RolledBack]:
    for chain, head in (there.memory.heads if there.memory else {}).items():
        try:
            floor.check(chain, entries, head.floor)
        except RolledBack as error:
            yield error


def _age(entry: Entry) -> tuple[datetime, int]:
    """Names have whole seconds; within one the number tells."""
    return entry.member.started, entry.manifest.seq if entry.manifest else 0


def record_of(root: str, entry: Entry) -> Record:
    """One line of the list."""
    if entry.manifest is not None:
        return records.of_manifest(root, entry.manifest)
    problem = records.spoken(entry.problem) if entry.problem else None
    return Record(
        job="",
        type="",
        status=records.FAILED,
        id=entry.member.id,
        archive=root + entry.member.manifest,
        start_time=entry.member.started,
        error=problem,
    )


def backup(config: Backup, id_: str, machine: Machine, key: Key, *, sealed: bool) -> tuple[Opened, Manifest]:
    """The backup of that id, whichever repository has it. SourceUnavailable if none has; CorruptData, Untrusted if it does not count."""
    missing: SourceUnavailable | None = None
    for site in sites.all_of(config, machine.environ):
        there = opened(site, machine, key, sealed=False)
        if there is None:
            continue
        try:
            manifest = there.repository.catalogue.find(id_).manifest
        except SourceUnavailable as error:
            missing = error
            continue
        assert manifest is not None, "find() raises what is wrong with a backup"
        return (unsealed(there, machine, key) if sealed else there), manifest
    raise SourceUnavailable(f"no storage of the config has a backup {id_}: look at `backup-manager list`") from missing


def newest(
    config: Backup, job: Job, at: datetime | None, machine: Machine, key: Key, *, accept_newest: bool = False
) -> tuple[Opened, Manifest]:
    """The job's newest backup, or its newest of a moment not after `at`. SourceUnavailable if there is none: nothing else stands in.

    RolledBack if this machine remembers a newer one of the chain than the store shows, unless `accept_newest`.
    """
    site = sites.of_job(config, job, machine.environ)
    there = opened(site, machine, key, sealed=False)
    if there is None:
        raise SourceUnavailable(f"job {job.id} has no backup: storage {site.storage} holds no repository of site {site.name}")
    chain = sites.chain(config, job, machine.environ)
    entries = there.repository.catalogue.entries(chain)
    head = there.memory.heads.get(chain) if there.memory else None
    if head is not None and not accept_newest:
        floor.check(chain, entries, head.floor)
    good = [entry.manifest for entry in entries if entry.manifest and entry.manifest.source.job == job.id]
    fitting = [manifest for manifest in good if at is None or manifest.snapshot_time <= at]
    last = manifests.newest(fitting)
    if last is None:
        first = min((manifest.snapshot_time for manifest in good), default=None)
        since = f"; its first is of {records.time(first)}" if first else ""
        when = f" of {records.time(at)} or before" if at else ""
        raise SourceUnavailable(f"job {job.id} has no backup{when} in storage {site.storage}{since}")
    return there, last


def of_job(config: Backup, there: Opened, job: Job, machine: Machine) -> tuple[list[str], set[str]]:
    """Ids of the job's backups and of what does not count in its chains, and those chains."""
    entries = there.repository.catalogue.entries()
    chains = chains_of(config, job, entries, machine)
    return [entry.member.id for entry in _of_job(entries, job, chains)], chains


def is_id(text: str) -> bool:
    """Whether this is how a backup is called, not a job."""
    return len(text) == 16 and not set(text) - set("0123456789abcdef")


def chosen(
    config: Backup, wanted: str, at: datetime | None, machine: Machine, key: Key, *, accept_newest: bool = False
) -> tuple[Opened, Manifest]:
    """A job's newest backup, or the backup itself. InvalidSpec for what is neither."""
    if any(job.id == wanted for job in config.jobs):
        return newest(config, sites.job(config, wanted), at, machine, key, accept_newest=accept_newest)
    if not is_id(wanted):
        near = nearest(wanted, [job.id for job in config.jobs])
        advice = f"did you mean {near!r}?" if near else "look at `backup-manager list`"
        raise InvalidSpec(f"{wanted!r} is neither a job of the config nor the id of a backup (16 hex digits); {advice}")
    if at is not None:
        raise InvalidSpec("--at chooses among a job's backups: name the job, or leave --at out")
    return backup(config, wanted, machine, key, sealed=False)


def parents(there: Opened, manifest: Manifest) -> list[Manifest]:
    """What the backup builds on, its full one first. ChainBroken if one is missing or does not count."""
    catalogue = there.repository.catalogue
    return list(lineage(catalogue, catalogue.find(manifest.id, manifest.chain)).whole()[:-1])


def unsealed(there: Opened, machine: Machine, key: Key) -> Opened:
    """The same repository, with what opens it."""
    if there.repository.identity is not None or not there.site.encrypted:
        return there
    again = opened(there.site, machine, key, sealed=True)
    assert again is not None, "it was there a moment ago, and is pinned"
    return again


def _vouched(store: Store, fingerprint: str | None, memory: Memory | None) -> spec.Trust | None:
    """Trust in the repository that a person named, if one did, or in what is remembered, where it was renewed since.

    Untrusted if it is another one, or none is there: it was, when it was named.
    """
    if fingerprint is None:
        return None
    repo_json = found(store, layout.REPO)
    if repo_json is None:
        raise vanished(fingerprint)
    if memory and generations.goes_back(store, repo_json, memory.trust, fingerprint):
        return memory.trust
    return _trust(generations.accepted(store, repo_json, fingerprint), fingerprint)


def _proven(store: Store, proven: RepositoryRecord) -> spec.Trust:
    """Trust in the repository that just proved itself. Untrusted if it was replaced meanwhile."""
    for record, fingerprint in generations.all_of(store, store.read(layout.REPO)):
        if record == proven:
            return _trust(record, fingerprint)
    raise Untrusted("the repository was replaced while it was opened: nothing of it was used. Find out who writes to the storage.")


def _trust(record: RepositoryRecord, fingerprint: str) -> spec.Trust:
    return spec.Trust(repository_id=record.repository_id, fingerprint=fingerprint, recipient=record.recipient)
