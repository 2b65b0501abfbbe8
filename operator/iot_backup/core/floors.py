"""What is remembered of a chain, so that a store that shows less of it is noticed (docs/architecture.md).

A repository and a chain are named by their ids, never by a BackupStorage: one that is made anew elsewhere starts without memory.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from iot_backup.core import spec

if TYPE_CHECKING:
    from collections.abc import Iterable

    from iot_backup.api.backup import Backup
    from iot_backup.api.backupjob import BackupJob
    from iot_backup.core.conditions import Json
    from iot_backup.core.report import BackupResult

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_ROUNDING = timedelta(seconds=1)
"""Times in status are cut to whole seconds."""


@dataclass(frozen=True)
class Chain:
    """A history in a repository."""

    repository_id: str
    name: str


@dataclass(frozen=True)
class Known:
    """A member that was reported as committed and that counts."""

    chain: Chain
    seq: int
    manifest_sha256: str
    completed: datetime

    @property
    def order(self) -> tuple[int, datetime]:
        """Newest last; two runs at once may have taken the same seq."""
        return self.seq, self.completed


def floor(chain: Chain, backups: Iterable[Backup], jobs: Iterable[BackupJob]) -> spec.Floor | None:
    """The newest member of the chain that any Backup or BackupJob remembers; None if none does."""
    known = [k for k in [*map(_of_backup, backups), *map(_of_job, jobs)] if k and k.chain == chain]
    newest = max(known, key=lambda k: k.order, default=None)
    return spec.Floor(seq=newest.seq, manifest_sha256=newest.manifest_sha256) if newest else None


def newest(job: BackupJob, backups: Iterable[Backup]) -> Json | None:
    """`status.newest` of a BackupJob: the newest member of the chain it last wrote to; deleting Backups does not lower it."""
    known = [k for k in [*map(_of_backup, backups), _of_job(job)] if k]
    if not known:
        return None
    chain = max(known, key=lambda k: (k.completed, k.seq)).chain
    found = max((k for k in known if k.chain == chain), key=lambda k: k.order)
    return {
        "repositoryId": chain.repository_id,
        "chain": chain.name,
        "seq": found.seq,
        "manifestSha256": found.manifest_sha256,
        "completionTime": found.completed.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }


def hidden_from(result: BackupResult, repository_id: str, backups: Iterable[Backup], jobs: Iterable[BackupJob]) -> str | None:
    """What the store did not show to a run that began after it was completed, as a sentence; None if nothing.

    For runs that were started without a floor, which are those of CronJobs.
    """
    floor_ = floor(
        Chain(repository_id, result.chain),
        (b for b in backups if b.status.archive != result.archive and _before(b.status.completion_time, result)),
        (j for j in jobs if j.status.newest and _before(j.status.newest.completion_time, result)),
    )
    if floor_ is None or result.seq > floor_.seq or floor_.manifest_sha256 == result.manifest_sha256:
        return None
    return (
        f"the store did not show this run backup {floor_.seq} of chain {result.chain}, which was completed before it began: it took number "
        f"{result.seq} itself; if nobody deleted that backup on purpose, find out who changes or rolls back the store"
    )


def _before(completed: datetime | None, result: BackupResult) -> bool:
    return completed is not None and completed + _ROUNDING <= result.start_time


def _of_backup(backup: Backup) -> Known | None:
    status = backup.status
    return _known(status.repository_id, status.chain, status.seq, status.manifest_sha256, status.completion_time)


def _of_job(job: BackupJob) -> Known | None:
    noted = job.status.newest
    return _known(noted.repository_id, noted.chain, noted.seq, noted.manifest_sha256, noted.completion_time) if noted else None


def _known(repository_id: str | None, chain: str | None, seq: int | None, sha256: str | None, completed: datetime | None) -> Known | None:
    if repository_id is None or chain is None or seq is None or sha256 is None:
        return None
    return Known(Chain(repository_id, chain), seq, sha256, completed or _EPOCH)
