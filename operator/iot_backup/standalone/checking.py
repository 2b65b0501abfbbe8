"""What a sound config means: each job's repository and chain, and what will not happen yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from iot_backup.standalone import environment, sites
from iot_backup.standalone.config import AZURE, USABLE, Backup
from iot_backup.standalone.configfile import Problem


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


def summary(backup: Backup, environ: Mapping[str, str]) -> Summary:
    """Pure but for `environ`."""
    lines = []
    for job in backup.jobs:
        site = sites.of_job(backup, job, environ)
        chain = sites.chain(backup, job, environ)
        lines.append(Line(job.id, job.name, job.type, job.source, site.storage, site.name, chain, job.encryption, job.enabled))
    return Summary(tuple(lines), tuple(_warnings(backup, environ)))


def plain(problem: Problem) -> dict[str, Any]:
    return asdict(problem)


def _warnings(backup: Backup, environ: Mapping[str, str]) -> Iterator[str]:
    if AZURE in backup.storage.names:
        yield "backup.storage.azure is not written to yet"
    first = {(job.storage or backup.storage.usable)[0] for job in backup.jobs if job.destination is None}
    if len(backup.storage.usable) > 1 and first:
        rest = ", ".join(name for name in USABLE if name in backup.storage.usable and name not in first)
        if rest:
            yield f"copies are not made yet: backups are written to {', '.join(sorted(first))}, not to {rest}"
    if backup.notifications is not None:
        yield "backup.notifications is not used yet: nobody is told"
    if any(job.schedule for job in backup.jobs):
        yield "schedules are not run yet: call `backup-manager execute JOB` from cron or a systemd timer"
    if any(job.encryption for job in backup.jobs) and not environ.get(environment.PASSPHRASE.key):
        yield f"{environment.PASSPHRASE.key} is not set: jobs that encrypt will refuse to run"
    used = {sites.of_job(backup, job, environ).target.type for job in backup.jobs}
    missing = [source.key for source in (environment.ACCESS_KEY, environment.SECRET_KEY) if not environ.get(source.key)]
    if "s3" in used and missing:
        yield f"{' and '.join(missing)} not set: jobs that write to s3 will refuse to run"


def _yes(value: bool) -> str:
    return "yes" if value else "no"
