"""One backup of one job: from the config to a committed backup, remembered."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from iot_backup.core import layout, spec
from iot_backup.core.layout import Member
from iot_backup.core.report import BackupResult, Warn
from iot_backup.errors import AccessDenied, Internal, InvalidSpec, IotBackupError, Untrusted
from iot_backup.repository import clocks, creation, generations
from iot_backup.repository.writers import Keys
from iot_backup.repository.writing import found
from iot_backup.standalone import apart, copies, environment, records, sites
from iot_backup.standalone.config import Backup, Job
from iot_backup.standalone.journal import Journal
from iot_backup.standalone.machine import Machine, make_folder
from iot_backup.standalone.records import Record
from iot_backup.standalone.sites import Site
from iot_backup.standalone.state import Head, Memory, State
from iot_backup.storage.opening import open_store
from iot_backup.storage.secret_values import Secrets
from iot_backup.worker import keys
from iot_backup.worker.backup import backup as run_backup
from iot_backup.worker.cancelling import Cancel
from iot_backup.worker.progress import Progress

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Wish:
    """What a command asks for besides the job."""

    type: str | None = None
    """Another one than the config's."""
    accept_newest: bool = False
    """Although this machine remembers a newer backup than the store shows."""
    bandwidth_limit: int | None = None
    """Bytes per second."""


@dataclass(frozen=True)
class Before:
    """What is known before a run begins."""

    memory: Memory
    warnings: tuple[Warn, ...]


def type_of(job: Job, asked: str | None) -> spec.BackupType:
    """As the command asks, else as the config says. InvalidSpec for what a job cannot become."""
    if asked is not None and job.type == "configuration":
        raise InvalidSpec(f"job {job.id} is of type configuration, which has no {asked} backups: leave --type out")
    types: dict[str, spec.BackupType] = {
        "full": "Full",
        "incremental": "Incremental",
        "differential": "Differential",
        "configuration": "Configuration",
    }
    return types[asked or job.type]


def expected(config: Backup, job: Job, machine: Machine) -> Head | None:
    """The chain's newest backup, as far as this machine remembers: about what a run will read."""
    site = sites.of_job(config, job, machine.environ)
    memory = machine.state_of(site).memory()
    return memory.heads.get(sites.chain(config, job, machine.environ)) if memory else None


def attempted(config: Backup, job: Job, wish: Wish, machine: Machine, cancel: Cancel, progress: Progress) -> tuple[Record, int]:
    """The record of one try, whatever came of it, and the exit code. The record is kept in the journal, too."""
    record, code = _tried(config, job, wish, machine, cancel, progress)
    try:
        Journal(machine.state).add(record)
    except AccessDenied as error:
        _log.warning("%s", error)
    return record, code


def _tried(config: Backup, job: Job, wish: Wish, machine: Machine, cancel: Cancel, progress: Progress) -> tuple[Record, int]:
    start = datetime.now(UTC)
    try:
        record = execute(config, job, wish, machine, cancel, progress)
    except IotBackupError as error:
        return records.of_failure(job.id, wish.type or job.type, error, start, datetime.now(UTC)), error.exit_code
    except Exception as error:  # noqa: BLE001 - a defect of ours must reach the record, too
        _log.debug("defect", exc_info=True)
        defect = Internal(f"{type(error).__name__}: {error}. This is a defect: please report it, with what --verbose prints.")
        return records.of_failure(job.id, wish.type or job.type, defect, start, datetime.now(UTC)), defect.exit_code
    return record, record.exit_code


def execute(config: Backup, job: Job, wish: Wish, machine: Machine, cancel: Cancel, progress: Progress) -> Record:
    """Back the job's source up now. Everything that `errors` knows; after an error the store is as it was, plus announced garbage."""
    type_ = type_of(job, wish.type)
    if job.encryption:
        environment.check_passphrase(machine.environ, job.id)
    site, chain = sites.of_job(config, job, machine.environ), sites.chain(config, job, machine.environ)
    source = Path(job.source).resolve()
    for each in (site, *sites.copies_of(config, job, machine.environ)):
        apart.check_source(job, source, each)
    state = machine.state_of(site)
    with state.alone(chain):
        newcomer = not state.has_writer_key
        secrets = environment.secrets(machine.environ, writer=state.writer_key())
        before = _before(site, state, secrets, machine.fingerprint, newcomer=newcomer)
        if wish.accept_newest:
            state.remember(lambda memory: (memory or before.memory).without_head(chain))
        head = None if wish.accept_newest else before.memory.heads.get(chain)
        order = spec.BackupOrder(
            repository=site.repository(conditional_writes=before.memory.conditional_writes),
            trust=before.memory.trust,
            chain=chain,
            job=job.id,
            type=type_,
            claim=job.source,
            floor=head.floor if head else None,
            damaged=tuple(before.memory.damaged),
            include=job.include,
            exclude=job.exclude,
            one_file_system=job.one_file_system,
            max_chain_length=job.max_chain_length,
            timeout_seconds=job.timeout_hours * 3600,
            allow_empty=job.allow_empty,
            compression="Zstd" if job.compression else "None",
            bandwidth_limit=wish.bandwidth_limit,
        )
        spared = tuple(map(Path, sites.folders(config, machine.environ)))
        result, warnings = run_backup(order, secrets, source, cancel, progress, spared=spared)
        state.remember(lambda memory: (memory or before.memory).with_head(chain, _head(result)))
    cancel.commit_ended()
    answers = copies.made(config, job, machine, cancel, wish.bandwidth_limit)
    told = (*_exposed(job, machine.state), *before.warnings, *warnings, *copies.warnings(answers))
    return replace(records.of_result(job.id, _archive(site, result), result, told), copies=answers)


def _exposed(job: Job, state: Path) -> Iterator[Warn]:
    sentence = apart.exposed(job, state)
    if sentence is not None:
        yield Warn(reason="StateInSource", message=sentence)


def _before(site: Site, state: State, secrets: Secrets, fingerprint: str | None, *, newcomer: bool) -> Before:
    """The repository as remembered and checked again, or else as found or made now."""
    memory = state.memory()
    if memory is None or not _is_kept(site, secrets, memory, fingerprint):
        return _met(site, state, secrets, fingerprint, newcomer=newcomer)
    repository = site.repository(conditional_writes=memory.conditional_writes)
    store = open_store(repository, secrets)
    now = datetime.now(UTC)
    order = spec.ProbeOrder(repository=repository, fingerprint=memory.trust.fingerprint, create=False)
    known = Keys(keys.writer(repository, secrets), keys.passphrase(repository, secrets))
    # Costs no second, as opening a key does: the writer's record tells whether the passphrase is still the one it was.
    standing = creation.probe(store, order, known, clocks.compared(now, store.now()).time(now), os.urandom)
    _check_admitted(site, state, admitted=standing.writer_admitted)
    return Before(memory, ())


def _is_kept(site: Site, secrets: Secrets, memory: Memory, fingerprint: str | None) -> bool:
    """Whether what is remembered still holds, although a fingerprint was named: it is that one, or one that was renewed since. Untrusted.

    A unit that names one at each run would otherwise undo the next renewal, for good.
    """
    if fingerprint in (None, memory.trust.fingerprint):
        return True
    store = open_store(site.repository(conditional_writes=memory.conditional_writes), secrets)
    repo_json = found(store, layout.REPO)
    if repo_json is None or not generations.goes_back(store, repo_json, memory.trust, fingerprint):
        return False
    _log.warning(
        "--trust names an earlier identity of the repository in storage %s than this machine trusts already (%s): it was passed over. Leave it out.",
        site.storage,
        memory.trust.fingerprint,
    )
    return True


def _met(site: Site, state: State, secrets: Secrets, fingerprint: str | None, *, newcomer: bool) -> Before:
    """A repository that this machine does not know: made if there is none, else it must prove itself, or a person vouch for it."""
    from iot_backup.worker.probe import probe  # once per storage: it loads the clients of all kinds

    if isinstance(site.target, spec.VolumeTarget):
        make_folder(Path(site.target.mount))
    standing, warnings = probe(spec.ProbeOrder(repository=site.repository(), fingerprint=fingerprint), secrets)
    if not standing.confirmed:
        raise Untrusted(
            f"storage {site.storage} holds a repository that this machine does not know, and nothing proves whose it is. If it is yours, bring the "
            f"state folder back, or say --trust {standing.fingerprint} (compare it with what you noted)."
        )
    _check_admitted(site, state, admitted=standing.writer_admitted)
    trust = spec.Trust(repository_id=standing.repository_id, fingerprint=standing.fingerprint, recipient=standing.recipient)
    fresh = Memory(trust=trust, conditional_writes=standing.capabilities.conditional_writes)
    memory = state.remember(lambda memory: memory.told(trust) if memory else fresh)
    if newcomer and not standing.created:
        message = (
            f"this machine did not remember the repository in storage {site.storage}: its key proved it, and a new writer was admitted. "
            f"Keep the state folder {state.folder} from run to run, or nobody notices when backups are missing"
        )
        warnings = (*warnings, Warn(reason="NotRemembered", message=message))
    return Before(memory, warnings)


def _check_admitted(site: Site, state: State, *, admitted: bool) -> None:
    if admitted:
        return
    if site.encrypted:
        raise Untrusted(
            f"this machine's writer key ({state.folder}) is not admitted to the repository in storage {site.storage}: run key admit"
        )
    raise Untrusted(
        f"the repository in storage {site.storage} is not encrypted, and takes backups only from the machine that made it, by its writer key. "
        f"Bring {state.folder} back from a copy, or begin anew under another backup.site or path."
    )


def _head(result: BackupResult) -> Head:
    return Head(seq=result.seq, manifest_sha256=result.manifest_sha256, source_bytes=result.source_bytes, files=result.files)


def _archive(site: Site, result: BackupResult) -> str:
    member = Member(result.chain, result.start_time.replace(microsecond=0), result.archive)
    cipher = "Age" if site.encrypted else "None"
    return layout.root(site.name, "site") + member.archive(result.type, cipher)
