"""Names of everything the operator creates: the same facts always give the same name, so a second try finds the first."""

from __future__ import annotations

import hashlib

JOB_LIMIT = 63
"""A Job's name becomes a label on its pods."""
CRON_JOB_LIMIT = 52
"""Kubernetes appends 11 characters for the Jobs."""


def digest(*facts: str, length: int = 8) -> str:
    """`length` hex digits that stand for the facts, in this order."""
    return hashlib.sha256("\0".join(facts).encode()).hexdigest()[:length]


def fitted(name: str, limit: int) -> str:
    """The name itself, or as much of it as fits before a dash and 8 hex of its SHA-256."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9].rstrip('.-')}-{digest(name)}"


def with_digest(name: str, *facts: str, limit: int = JOB_LIMIT) -> str:
    """`<name>-<8 hex of the facts>`; a long name is cut, and then counts among the facts."""
    cut = name[: limit - 9].rstrip(".-")
    return f"{cut}-{digest(*facts) if cut == name else digest(name, *facts)}"


def label(name: str) -> str:
    """A resource's name as a label value (vocabulary.OWNER_NAME)."""
    return fitted(name, 63)


def cron_job(backup_job: str, schedule: str | None) -> str:
    """The CronJob of a BackupJob, or of one of its several schedules: `a` with `b-c` must not meet `a-b` with `c`."""
    if schedule is None:
        return fitted(backup_job, CRON_JOB_LIMIT)
    return with_digest(f"{backup_job}-{schedule}", backup_job, schedule, limit=CRON_JOB_LIMIT)


def job_of(name: str) -> str:
    """The Job of a Backup made by hand or of a RestoreJob: the same name where it fits."""
    return fitted(name, JOB_LIMIT)


def job_beside(name: str, uid: str) -> str:
    """The Job's name where another object's Job has the first choice; also a Backup's, where a stranger has it."""
    return f"{name[: JOB_LIMIT - 7].rstrip('.-')}-{digest(uid, length=6)}"


def requested_backup(backup_job: str, uid: str, request: str) -> str:
    """The Backup that the run-requested-at annotation with this value asks for."""
    return with_digest(backup_job, uid, request)


def probe(storage: str, uid: str, generation: int, request: str, previous: str) -> str:
    """The probe Job that follows the one with uid `previous` ('' for the first)."""
    return with_digest(f"{storage}-probe", uid, str(generation), request, previous)


def writer_key(storage: str) -> str:
    """The Secret that holds this namespace's writer key for the storage."""
    return f"{storage}-writer-key"
