"""From a worker's order and its secrets to an open store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from iot_backup.core import layout
from iot_backup.core.spec import AzureTarget, Repository, S3Target, SecretSource, VolumeTarget
from iot_backup.errors import Internal, InvalidSpec
from iot_backup.storage import keys, secret_values

if TYPE_CHECKING:
    from iot_backup.storage.secret_values import Secrets
    from iot_backup.storage.store import Store


def open_store(repository: Repository, secrets: Secrets) -> Store:
    """The store of one repository, rooted where `core/layout.py` says. Nothing is asked of an S3 server yet.

    Raises InvalidSpec, SecretMissing, AccessDenied, and StorageUnavailable where a claim is not mounted.
    """
    target = repository.store
    if isinstance(target, S3Target):
        return _s3(target, _root(target.prefix, "spec.s3.prefix", repository), secrets)
    if isinstance(target, AzureTarget):
        return _azure(target, _root(target.prefix, "backup.storage.azure.prefix", repository), secrets)
    return _volume(target, _root(target.path, "spec.volume.path", repository))


def _s3(target: S3Target, root: str, secrets: Secrets) -> Store:
    # Imported here: a run on a volume needs no S3 client.
    from iot_backup.storage.s3 import S3Store
    from iot_backup.storage.s3_client import Location

    def value(source: SecretSource | None) -> str | None:
        return None if source is None else secret_values.text(secrets, source)

    location = Location(
        target.bucket,
        region=target.region,
        endpoint=target.endpoint,
        path_style=target.path_style,
        access_key_id=value(target.access_key_id),
        secret_access_key=value(target.secret_access_key),
        ca=value(target.ca),
        credentials_from=secrets.holder(target.access_key_id) if target.access_key_id else "the pod's environment",
        ca_from=f"{secrets.entry(target.ca)} and the system's" if target.ca else "no caBundleSecretRef is set",
    )
    return S3Store(location, root, conditional_writes=target.conditional_writes)


def _azure(target: AzureTarget, root: str, secrets: Secrets) -> Store:
    from iot_backup.storage.azure import AzureStore
    from iot_backup.storage.azure_client import Location

    location = Location(
        target.container,
        account=target.account,
        key=secret_values.text(secrets, target.key),
        endpoint=target.endpoint,
        ca=None if target.ca is None else secret_values.text(secrets, target.ca),
        key_from=secrets.holder(target.key),
        ca_from=f"{secrets.entry(target.ca)} and the system's" if target.ca else "REQUESTS_CA_BUNDLE is not set",
    )
    return AzureStore(location, root)


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
    return found + layout.root(repository.namespace, repository.scope)
