"""From a worker's order and its mounted Secrets to an open store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from iot_backup import vocabulary
from iot_backup.core import layout
from iot_backup.core.spec import Repository, S3Target, SecretSource, VolumeTarget
from iot_backup.errors import AccessDenied, Internal, InvalidSpec, SecretMissing
from iot_backup.storage import keys

if TYPE_CHECKING:
    from iot_backup.storage.store import Store

READ_LIMIT = 1 << 20
"""Bytes of a Secret's value; Kubernetes allows no more."""


def open_store(repository: Repository, secrets_dir: Path = Path(vocabulary.SECRETS)) -> Store:
    """The store of one repository, rooted where `core/layout.py` says. Nothing is asked of an S3 server yet.

    Raises InvalidSpec, SecretMissing, AccessDenied, and StorageUnavailable where a claim is not mounted.
    """
    target = repository.store
    if isinstance(target, S3Target):
        return _s3(target, _root(target.prefix, "spec.s3.prefix", repository), secrets_dir)
    return _volume(target, _root(target.path, "spec.volume.path", repository))


def read_secret(source: SecretSource, secrets_dir: Path) -> str:
    """A mounted Secret's value as text, without the white space around it that editors leave. Raises SecretMissing, AccessDenied."""
    try:
        return read_secret_bytes(source, secrets_dir).decode().strip()
    except UnicodeDecodeError:
        raise SecretMissing(
            f"key {source.key} of Secret {source.secret} is not text. Put the plain value there, not an encoded file."
        ) from None


def read_secret_bytes(source: SecretSource, secrets_dir: Path) -> bytes:
    """A mounted Secret's value as it is. Raises SecretMissing, AccessDenied."""
    path = secrets_dir / source.file
    where = f"Secret {source.secret}"
    if Path(source.file).is_absolute() or ".." in Path(source.file).parts:
        raise InvalidSpec(f"the file {source.file!r} for {where} is not below the folder of Secrets")
    try:
        with path.open("rb") as file:
            value = file.read(READ_LIMIT)
    except FileNotFoundError as error:
        raise SecretMissing(
            f"{where} lacks key {source.key}, or does not exist in this namespace. Add it, or correct the name where the spec gives it."
        ) from error
    except PermissionError as error:
        raise AccessDenied(
            f"{where} is mounted but cannot be read by this run's user. Remove defaultMode or securityContext overrides."
        ) from error
    if not value.strip():
        raise SecretMissing(f"key {source.key} of {where} is empty. Put the value there.")
    return value


def _s3(target: S3Target, root: str, secrets_dir: Path) -> Store:
    # Imported here: a run on a volume needs no S3 client.
    from iot_backup.storage.s3 import S3Store
    from iot_backup.storage.s3_client import Location

    def value(source: SecretSource | None) -> str | None:
        return None if source is None else read_secret(source, secrets_dir)

    location = Location(
        target.bucket,
        region=target.region,
        endpoint=target.endpoint,
        path_style=target.path_style,
        access_key_id=value(target.access_key_id),
        secret_access_key=value(target.secret_access_key),
        ca=value(target.ca),
        credentials_from=f"Secret {target.access_key_id.secret}" if target.access_key_id else "the pod's environment",
        ca_from=f"key {target.ca.key} of Secret {target.ca.secret} and the system's" if target.ca else "no caBundleSecretRef is set",
    )
    return S3Store(location, root, conditional_writes=target.conditional_writes)


def _volume(target: VolumeTarget, root: str) -> Store:
    from iot_backup.storage.volume import VolumeStore

    return VolumeStore(Path(target.mount), root, claim=target.claim, group=target.group)


def _root(prefix: str, field: str, repository: Repository) -> str:
    above = prefix.strip("/")
    try:
        found = "/".join((*keys.parts(above), "")) if above else ""
    except Internal:
        raise InvalidSpec(
            f"{field} {prefix!r} cannot be used: write folders with '/' between them, none empty or beginning with '.'"
        ) from None
    return found + layout.root(repository.namespace)
