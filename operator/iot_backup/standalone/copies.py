"""Copies of a job's backups in its further storages, made after each run; and commands that look at a copy instead of the primary.

The backup is complete before a copy begins, and stays so whatever becomes of it: a copy that fails is told in the record, and the next
run copies what is missing.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from iot_backup.core import layout, spec
from iot_backup.core.report import Warn
from iot_backup.errors import Busy, Cancelled, Internal, InvalidSpec, IotBackupError, StorageUnavailable
from iot_backup.repository import copying
from iot_backup.repository.opening import Repository, open_to_look
from iot_backup.standalone import environment, records, sites
from iot_backup.standalone.config import Backup, Job
from iot_backup.standalone.configfile import nearest
from iot_backup.standalone.machine import Machine, make_folder
from iot_backup.standalone.sites import Site
from iot_backup.standalone.state import Head, Memory, State
from iot_backup.storage.opening import open_store
from iot_backup.storage.store import Store
from iot_backup.storage.throttled import throttled
from iot_backup.worker.cancelling import Cancel

COMPLETED = "completed"
FAILED = "failed: "
"""What the record's entry of a storage begins with, if its copy failed."""
PATIENCE = 600.0
"""Seconds without a byte or a step after which a storage is given up; slow ones are not stalled ones."""
_LOOK = 0.1
"""Seconds between two looks at a copy."""
_STOP = 1.0
"""Seconds that a copy has for its next step when the run is stopped."""

_log = logging.getLogger(__name__)


@dataclass
class Pace:
    """Whether a copy still moves. It stops at the next step once it was given up."""

    cancel: Cancel
    moved: float
    """When it last did, on the monotonic clock."""
    given_up: bool = False

    def step(self, _bytes: int) -> None:
        """For `copying.Watch`."""
        if self.given_up or self.cancel.requested.is_set():
            raise Cancelled("the run was stopped while it copied; the next run copies the rest")
        self.moved = time.monotonic()


def made(config: Backup, job: Job, machine: Machine, cancel: Cancel, rate: int | None, patience: float = PATIENCE) -> dict[str, str]:
    """Copy to each further storage of the job, one after the other: by its name `completed`, or `failed: ` and why. Raises nothing of ours.

    `rate`: bytes per second. `patience`: seconds, as PATIENCE.
    """
    answers = {}
    for site in sites.copies_of(config, job, machine.environ):
        pace = Pace(cancel, time.monotonic())
        problem = watched(partial(_copied, config, job, site, machine, pace, rate, patience), pace, patience)
        answers[site.storage] = FAILED + records.spoken(problem) if problem else COMPLETED
    return answers


def warnings(answers: Mapping[str, str]) -> Iterator[Warn]:
    """What a person must know of `made`'s answers."""
    for storage, answer in answers.items():
        if answer != COMPLETED:
            message = f"the backup is complete, but its copy in storage {storage} is not: {answer.removeprefix(FAILED)}"
            yield Warn(reason="CopyFailed", message=message)


def viewed(config: Backup, storage: str | None, environ: Mapping[str, str]) -> Backup:
    """The config as one storage shows it: each job that is written or copied there has it as its only storage. InvalidSpec if none is."""
    if storage is None:
        return config
    jobs = tuple(
        job.model_copy(update={"storage": (storage,), "chain": sites.chain(config, job, environ)})
        for job in config.jobs
        if job.destination is None and storage in sites.storages(config, job)
    )
    if not jobs:
        used = {name: None for job in config.jobs if job.destination is None for name in sites.storages(config, job)}
        near = nearest(storage, used)
        raise InvalidSpec(
            f"no job has a storage {storage!r}; " + (f"did you mean {near!r}?" if near else f"there are: {', '.join(used) or 'none'}")
        )
    return config.model_copy(update={"jobs": jobs})


def lags(config: Backup, storage: str | None, machine: Machine) -> list[str]:
    """Sentences on chains of which this machine knows newer backups in the primary than in that copy: late, not lost."""
    behind: dict[str, None] = {}
    for job in config.jobs:
        if storage is None or job.destination is not None or storage not in sites.storages(config, job)[1:]:
            continue
        primary, copy = (machine.state_of(site).memory() for site in (_primary(config, job, machine), _copy(config, job, storage, machine)))
        chain = sites.chain(config, job, machine.environ)
        newest = primary.heads.get(chain) if primary else None
        there = copy.heads.get(chain) if copy else None
        if newest and newest.seq > (there.seq if there else 0):
            has = f"has it up to number {there.seq}" if there else "has nothing of it that this machine knows of"
            behind[f"storage {storage} lags: chain {chain} is at number {newest.seq}, and the copy {has}"] = None
    return list(behind)


def _copied(config: Backup, job: Job, site: Site, machine: Machine, pace: Pace, rate: int | None, patience: float) -> None:
    """Bring one storage up to date with the job's primary."""
    source = _primary(config, job, machine)
    memory = machine.state_of(source).memory()
    if memory is None:
        raise Internal(f"this machine does not remember the repository in storage {source.storage}, which it just wrote to")
    secrets = environment.secrets(machine.environ)
    state = machine.state_of(site)
    with _alone(state, site, pace, patience):
        primary = open_to_look(open_store(source.repository(), secrets), source.name, memory.trust)
        target = _target(site, state, machine, memory.trust, primary, pace)
        done = copying.copy_backups(
            primary,
            throttled(target, rate, time.monotonic, pace.cancel.pause),
            pace.step,
        )
        for each in done.done:
            counts = each.manifest.counts
            head = Head(seq=each.manifest.seq, manifest_sha256=each.manifest_sha256, source_bytes=counts.source_bytes, files=counts.files)
            _remember(state, memory.trust, each.manifest.chain, head)
        if done.problems:
            raise done.problems[0]


def _remember(state: State, trust: spec.Trust, chain: str, head: Head) -> None:
    state.remember(lambda known: (known or Memory(trust=trust)).with_head(chain, head))


def _target(site: Site, state: State, machine: Machine, trust: spec.Trust, primary: Repository, pace: Pace) -> Store:
    """The storage, a replica by then, and remembered as one."""
    if isinstance(site.target, spec.VolumeTarget):
        make_folder(Path(site.target.mount))
    secrets = environment.secrets(machine.environ)
    memory = state.memory()
    store = open_store(site.repository(conditional_writes=memory.conditional_writes if memory else True), secrets)
    if memory is None:
        copying.check_target(primary.store.read(layout.REPO), store)
        from iot_backup.storage.capabilities import probe_capabilities  # once per storage: it loads the clients of all kinds

        conditional = probe_capabilities(store, os.urandom(8).hex()).conditional_writes
        store = open_store(site.repository(conditional_writes=conditional), secrets)
    else:
        conditional = memory.conditional_writes
    copying.adopt(primary, trust, store, pace.step)
    if memory is None or memory.trust != trust:
        state.remember(lambda known: known.told(trust) if known else Memory(trust=trust, conditional_writes=conditional))
    return store


@contextmanager
def _alone(state: State, site: Site, pace: Pace, patience: float) -> Iterator[None]:
    """Hold the storage for one copy, waiting for those of other jobs. Busy, Cancelled."""
    end = time.monotonic() + patience
    while True:
        pace.step(0)
        with ExitStack() as held:
            try:
                held.enter_context(state.copying())
            except Busy as error:
                if time.monotonic() > end:
                    raise Busy(f"another run is still copying to storage {site.storage}; the next run copies what is missing") from error
                time.sleep(_LOOK)
                continue
            yield
            return


def watched(work: Callable[[], None], pace: Pace, patience: float) -> IotBackupError | None:
    """Do it in a thread of its own, and go on without it if it stalls or the run is stopped. What it raised."""
    failure: list[IotBackupError] = []

    def run() -> None:
        try:
            work()
        except IotBackupError as error:
            failure.append(error)
        except Exception as error:  # noqa: BLE001 - a defect of ours must not take the record of a stored backup away
            _log.debug("defect", exc_info=True)
            failure.append(Internal(f"{type(error).__name__}: {error}. This is a defect: please report it, with what --verbose prints."))

    thread = threading.Thread(target=run, name="copy", daemon=True)
    thread.start()
    asked: float | None = None
    while thread.is_alive():
        thread.join(_LOOK)
        now = time.monotonic()
        if now - pace.moved > patience:
            pace.given_up = True
            return StorageUnavailable(f"nothing moved for {patience:.0f} s, so the copy was given up; the next run copies what is missing")
        asked = (asked or now) if pace.cancel.requested.is_set() else None
        if asked is not None and now - asked > _STOP:
            pace.given_up = True
            return Cancelled("the run was stopped while it copied; the next run copies the rest")
    return failure[0] if failure else None


def _primary(config: Backup, job: Job, machine: Machine) -> Site:
    return sites.of_job(config, job, machine.environ)


def _copy(config: Backup, job: Job, storage: str, machine: Machine) -> Site:
    return next(site for site in sites.copies_of(config, job, machine.environ) if site.storage == storage)
