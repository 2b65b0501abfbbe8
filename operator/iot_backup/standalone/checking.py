"""What a sound config means: each job's repository and chain, and what will not happen yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar

from iot_backup.errors import InvalidSpec
from iot_backup.standalone import apart, environment, sites
from iot_backup.standalone.config import Backup, Job
from iot_backup.standalone.configfile import Problem
from iot_backup.standalone.notifying import channels


@dataclass(frozen=True)
class Line:
    """One job."""

    id: str
    name: str
    type: str
    source: str
    storage: str
    """What it is written to."""
    site: str
    chain: str
    encryption: bool
    enabled: bool


@dataclass(frozen=True)
class Summary:
    """The whole config."""

    jobs: tuple[Line, ...]
    warnings: tuple[str, ...]

    HEADINGS: ClassVar = ("JOB", "TYPE", "SOURCE", "STORAGE", "CHAIN", "ENCRYPTED", "ENABLED", "NAME")

    def rows(self) -> list[tuple[str, ...]]:
        return [
            (job.id, job.type, job.source, job.storage, job.chain, _yes(job.encryption), _yes(job.enabled), job.name) for job in self.jobs
        ]

    def plain(self) -> dict[str, Any]:
        return {"jobs": [asdict(job) for job in self.jobs], "warnings": list(self.warnings)}


def summary(backup: Backup, environ: Mapping[str, str], state: Path | None = None) -> Summary:
    """Pure but for `environ`, and for links on the way to sources, storages and `state`: this machine's state folder.

    InvalidSpec for a job that every run refuses: its source lies around its storage.
    """
    lines = []
    for job in backup.jobs:
        check_apart(backup, job, environ)
        site = sites.of_job(backup, job, environ)
        chain = sites.chain(backup, job, environ)
        lines.append(Line(job.id, job.name, job.type, job.source, site.storage, site.name, chain, job.encryption, job.enabled))
    exposed = [apart.exposed(job, state) for job in backup.jobs] if state is not None else []
    return Summary(tuple(lines), (*_warnings(backup, environ), *filter(None, exposed)))


def check_apart(backup: Backup, job: Job, environ: Mapping[str, str]) -> None:
    """InvalidSpec for a job whose source lies around a storage that it writes or copies to: every run of it refuses."""
    for site in (sites.of_job(backup, job, environ), *sites.copies_of(backup, job, environ)):
        try:
            apart.check_source(job, Path(job.source).resolve(), site)
        except InvalidSpec as error:
            raise InvalidSpec(f"job {job.id}: {error.message}") from error


def plain(problem: Problem) -> dict[str, Any]:
    return asdict(problem)


def _warnings(backup: Backup, environ: Mapping[str, str]) -> Iterator[str]:
    if backup.notifications is not None and not channels.names(backup.notifications):
        yield "backup.notifications names no channel that is enabled and whole: nobody is told"
    if any(job.encryption for job in backup.jobs) and not environ.get(environment.PASSPHRASE.key):
        yield f"{environment.PASSPHRASE.key} is not set: jobs that encrypt will refuse to run"
    yield from _without_credentials(backup, environ)
    yield from _crossed(backup, environ)


def _without_credentials(backup: Backup, environ: Mapping[str, str]) -> Iterator[str]:
    """Storages that cannot be reached: a primary stops its jobs, a copy only fails."""
    primaries = {sites.of_job(backup, job, environ).target.type for job in backup.jobs}
    used = primaries | {site.target.type for job in backup.jobs for site in sites.copies_of(backup, job, environ)}
    wanted = {"s3": [environment.ACCESS_KEY.key, environment.SECRET_KEY.key], "azure": [environment.AZURE_KEY.key]}
    if backup.storage.azure is not None and not backup.storage.azure.account:
        wanted["azure"].insert(0, environment.AZURE_ACCOUNT)
    for storage, names in wanted.items():
        missing = [name for name in names if not environ.get(name)]
        if storage in used and missing:
            what = f"jobs that write to {storage} will refuse to run" if storage in primaries else f"copies to {storage} will fail"
            yield f"{' and '.join(missing)} not set: {what}"


def _crossed(backup: Backup, environ: Mapping[str, str]) -> Iterator[str]:
    """A repository cannot be one job's own and another one's copy: whichever comes first decides whose identity it has."""
    own = {sites.of_job(backup, job, environ).label: job.id for job in backup.jobs}
    for job in backup.jobs:
        for site in sites.copies_of(backup, job, environ):
            if site.label in own:
                yield (
                    f"storage {site.storage} is where job {own[site.label]} writes to, and where job {job.id} copies to: "
                    "a copy is refused where another repository is. Let both have the same first storage"
                )


def _yes(value: bool) -> str:
    return "yes" if value else "no"
