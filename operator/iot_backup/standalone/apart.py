"""What must not lie in what: storages, the state folder, sources and targets."""

from __future__ import annotations

import os
from pathlib import Path

from iot_backup.core import spec
from iot_backup.errors import InvalidSpec
from iot_backup.standalone import sites
from iot_backup.standalone.config import Backup, Job
from iot_backup.standalone.machine import Machine
from iot_backup.standalone.sites import Site
from iot_backup.worker.selection import Selection


def spared(config: Backup, machine: Machine) -> tuple[Path, ...]:
    """The folders that no restore writes into or removes, whichever backup it brings back: each local storage, and the state folder."""
    return (*map(Path, sites.folders(config, machine.environ)), machine.state)


def check_target(config: Backup, machine: Machine, target: Path) -> None:
    """InvalidSpec for a target inside a storage or the state folder."""
    place = target.resolve()
    for store in sites.folders(config, machine.environ):
        if place.is_relative_to(Path(store).resolve()):
            raise InvalidSpec(f"the target {target} lies in the storage {store}, among the backups. Restore into another folder.")
    if place.is_relative_to(machine.state.resolve()):
        raise InvalidSpec(
            f"the target {target} lies in the state folder {machine.state}, among what this machine remembers. Restore into another folder."
        )


def check_source(job: Job, source: Path, site: Site) -> None:
    """InvalidSpec for a source, already resolved, around a storage of its backups that the job does not leave out.

    What another path leads to (a bind mount, say) is left out without a word of the config, and noted: see worker/spared.py.
    """
    if not isinstance(site.target, spec.VolumeTarget):
        return
    store = Path(site.target.mount).resolve()
    if store.is_relative_to(source) and _takes(job, path := str(store.relative_to(source))):
        advice = "" if path == "." else f", or leave it out (exclude: /{path}/)"
        raise InvalidSpec(
            f"the source {source} contains the storage {store}: each backup would hold all earlier ones. Put it elsewhere{advice}."
        )


def exposed(job: Job, state: Path) -> str | None:
    """What to say where the job's backups hold the state folder."""
    source, folder = Path(job.source).resolve(), state.resolve()
    if not folder.is_relative_to(source):
        return None
    path = str(folder.relative_to(source))
    if not _takes(job, path):
        return None
    advice = "" if path == "." else f"leave it out (exclude: /{path}/), or "
    return (
        f"the source of job {job.id} holds the state folder {state}, and so does each backup, with the writer key: {advice}name another one "
        "by --state-dir. A restore leaves the state folder as it is"
    )


def _takes(job: Job, folder: str) -> bool:
    """Whether the job's backups hold this folder of its source."""
    return Selection(job.include, job.exclude).selects(os.fsencode(folder), is_folder=True)
