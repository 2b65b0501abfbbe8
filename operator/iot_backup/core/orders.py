"""From our resources to the worker's order: what it shall do, where, and whom it may believe."""

from __future__ import annotations

from typing import TYPE_CHECKING

from iot_backup.core import naming, spec
from iot_backup.units import parse_rate

if TYPE_CHECKING:
    from iot_backup.api.backupjob import BackupJob
    from iot_backup.api.backupstorage import S3, BackupStorage, Capabilities, Volume
    from iot_backup.api.restorejob import Resolved, RestoreJob
    from iot_backup.api.workload import Worker


def repository(storage: BackupStorage, *, opens_identity: bool) -> spec.Repository:
    """Where the repository is. The passphrase is named only to runs that make or open the identity."""
    wanted = storage.spec.encryption
    passphrase = None
    if wanted.secret_ref and opens_identity:
        passphrase = spec.SecretSource(secret=wanted.secret_ref.name, key=wanted.secret_ref.key, file="encryption/passphrase")
    return spec.Repository(
        storage=storage.name,
        namespace=storage.namespace,
        store=_s3(storage.spec.s3, storage.status.capabilities) if storage.spec.s3 else _volume(storage.spec.volume),
        encryption=spec.Encryption(algorithm=wanted.algorithm, passphrase=passphrase, recipients=wanted.recipients or ()),
        writer_key=spec.SecretSource(secret=naming.writer_key(storage.name), key="key", file="writer/key"),
    )


def _s3(s3: S3, tried: Capabilities | None) -> spec.S3Target:
    credentials, ca = s3.credentials_secret_ref, s3.ca_bundle_secret_ref
    return spec.S3Target(
        bucket=s3.bucket,
        prefix=s3.prefix,
        region=s3.region,
        endpoint=s3.endpoint,
        path_style=s3.path_style,
        conditional_writes=tried is None or tried.conditional_writes is not False,
        access_key_id=spec.SecretSource(secret=credentials.name, key=credentials.access_key_id_key, file="store/access-key-id"),
        secret_access_key=spec.SecretSource(secret=credentials.name, key=credentials.secret_access_key_key, file="store/secret-access-key"),
        ca=spec.SecretSource(secret=ca.name, key=ca.key, file="ca/ca.crt") if ca else None,
    )


def _volume(volume: Volume | None) -> spec.VolumeTarget:
    assert volume is not None, "a BackupStorage has s3 or volume (api/backupstorage.py)"
    return spec.VolumeTarget(claim=volume.claim_name, path=volume.path, group=volume.group)


def location(storage: BackupStorage) -> str:
    """The store for a person: s3://bucket/prefix or pvc://claim/path."""
    s3, volume = storage.spec.s3, storage.spec.volume
    parts = ("s3:/", s3.bucket, s3.prefix) if s3 else ("pvc:/", volume.claim_name if volume else "", volume.path if volume else "")
    return "/".join(part for part in parts if part)


def trust(storage: BackupStorage) -> spec.Trust | None:
    """The repository as it was pinned; None before the first probe that confirmed one."""
    status = storage.status
    if status.repository_id is None or status.fingerprint is None:
        return None
    return spec.Trust(repository_id=status.repository_id, fingerprint=status.fingerprint, recipient=status.recipient)


def probe(storage: BackupStorage) -> spec.ProbeOrder:
    """Once a repository is pinned a probe creates none: a store that lost it must be seen, not papered over."""
    fingerprint = storage.spec.encryption.fingerprint or storage.status.fingerprint
    return spec.ProbeOrder(repository=repository(storage, opens_identity=True), fingerprint=fingerprint, create=fingerprint is None)


def backup(
    job: BackupJob,
    storage: BackupStorage,
    trusted: spec.Trust,
    *,
    type_: spec.BackupType | None = None,
    schedule: str | None = None,
    floor: spec.Floor | None = None,
) -> spec.BackupOrder:
    """One run of the BackupJob; `type_` None is the job's own, `schedule` the name of the one of several that starts it."""
    volume = job.spec.source.volume
    return spec.BackupOrder(
        repository=repository(storage, opens_identity=False),
        trust=trusted,
        chain=job.chain,
        job=job.name,
        schedule=schedule,
        type=type_ or job.spec.type,
        claim=volume.claim_name,
        path=volume.path,
        include=volume.include or (),
        exclude=volume.exclude or (),
        one_file_system=volume.one_file_system,
        max_chain_length=job.spec.max_chain_length,
        floor=floor,
        compression=job.spec.compression.algorithm,
        level=job.spec.compression.level,
        allow_empty=job.spec.allow_empty,
        timeout_seconds=int(job.spec.timeout.total_seconds()),
        bandwidth_limit=_bandwidth_limit(job.spec.worker),
    )


def restore(restore_job: RestoreJob, storage: BackupStorage, resolved: Resolved, floor: spec.Floor | None = None) -> spec.RestoreOrder:
    """One member, or a part of it, into one claim; or the plan for that."""
    wanted = restore_job.spec
    brought = wanted.identity_secret_ref
    return spec.RestoreOrder(
        repository=repository(storage, opens_identity=True),
        trust=trust(storage),
        archive=resolved.archive or "",
        chain=resolved.chain,
        claim=wanted.target.claim,
        identity=spec.SecretSource(secret=brought.name, key=brought.key, file="identity/identity") if brought else None,
        verify=wanted.verify,
        type=wanted.type,
        include=wanted.include or (),
        exclude=wanted.exclude or (),
        on_conflict=wanted.on_conflict,
        mode=wanted.mode,
        devices=wanted.worker.identity == "Root",
        floor=floor,
        bandwidth_limit=_bandwidth_limit(wanted.worker),
    )


def _bandwidth_limit(worker: Worker) -> int | None:
    return parse_rate(worker.bandwidth_limit) if worker.bandwidth_limit else None
