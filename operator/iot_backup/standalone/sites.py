"""Which repository a job's backups belong to, and in which chain: decisions over the config, nothing is touched."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass

from iot_backup.core import spec
from iot_backup.errors import InvalidSpec
from iot_backup.standalone import environment
from iot_backup.standalone.config import AZURE, LOCAL, PLAIN_SUFFIX, Backup, Job
from iot_backup.standalone.configfile import nearest


@dataclass(frozen=True)
class Site:
    """One repository of the config: a site has one for each storage, and another for what is not encrypted."""

    name: str
    """Its root is `site/<name>/`."""
    storage: str
    """As the config names it, or a job's `destination`."""
    target: spec.StoreTarget

    @property
    def encrypted(self) -> bool:
        return not self.name.endswith(PLAIN_SUFFIX)

    @property
    def label(self) -> str:
        """Names its folder in the state folder. A storage that moves keeps it: what was remembered of it still holds."""
        storage = self.storage
        if storage.startswith("/"):
            storage = f"destination-{hashlib.sha256(storage.encode()).hexdigest()[:12]}"
        return f"{self.name}@{storage}"

    def repository(self, *, conditional_writes: bool = True) -> spec.Repository:
        """As orders name it. `conditional_writes`: what a probe found."""
        target = self.target
        if isinstance(target, spec.S3Target):
            target = target.model_copy(update={"conditional_writes": conditional_writes})
        algorithm = "Age" if self.encrypted else "None"
        return spec.Repository(
            storage=self.storage,
            namespace=self.name,
            scope="site",
            store=target,
            encryption=spec.Encryption(algorithm=algorithm, passphrase=environment.PASSPHRASE if self.encrypted else None),
            writer_key=environment.WRITER,
        )


def job(backup: Backup, id_: str) -> Job:
    """The job of that id. InvalidSpec with the nearest one."""
    known = {each.id: each for each in backup.jobs}
    if id_ not in known:
        near = nearest(id_, known)
        advice = f"did you mean {near!r}?" if near else f"there are: {', '.join(known) or 'none'}"
        raise InvalidSpec(f"the config has no job {id_!r}; {advice}")
    return known[id_]


def of_job(backup: Backup, wanted: Job, environ: Mapping[str, str]) -> Site:
    """Where the job's backups are written to."""
    storage = wanted.destination or storages(backup, wanted)[0]
    return Site(_name(backup, wanted), storage, _target(backup, storage, environ))


def copies_of(backup: Backup, wanted: Job, environ: Mapping[str, str]) -> list[Site]:
    """Where its backups are copied to, in the order of the config."""
    further = () if wanted.destination else storages(backup, wanted)[1:]
    return [
        Site(_name(backup, wanted), storage, _target(backup, storage, environ))
        for storage in dict.fromkeys(further)
        if storage != storages(backup, wanted)[0]
    ]


def storages(backup: Backup, wanted: Job) -> tuple[str, ...]:
    """The names of a job's storages, unless it has a `destination`; the first is the primary."""
    return wanted.storage or backup.storage.names


def all_of(backup: Backup, environ: Mapping[str, str]) -> list[Site]:
    """Every repository that a job uses, each once, in the order of the jobs."""
    return list({site.label: site for site in (of_job(backup, each, environ) for each in backup.jobs)}.values())


def folders(backup: Backup, environ: Mapping[str, str]) -> tuple[str, ...]:
    """Those of all local storages, each once: also of copies, of destinations, and of a storage that no job uses."""
    local = [backup.storage.local.path] if backup.storage.local is not None else []
    used = [site.target for each in backup.jobs for site in (of_job(backup, each, environ), *copies_of(backup, each, environ))]
    return tuple(dict.fromkeys([*local, *(target.mount for target in used if isinstance(target, spec.VolumeTarget))]))


def chain(backup: Backup, wanted: Job, environ: Mapping[str, str]) -> str:
    """The chain that the job's backups belong to: its own word, else the first full job of that source in the same repository."""
    if wanted.chain is not None:
        return wanted.chain
    label = of_job(backup, wanted, environ).label
    fulls = (
        other
        for other in backup.jobs
        if (other.type, other.source) == ("full", wanted.source) and of_job(backup, other, environ).label == label
    )
    first = None if wanted.type == "configuration" else next(fulls, None)
    return (first.chain or first.id) if first else wanted.id


def _name(backup: Backup, wanted: Job) -> str:
    return backup.site if wanted.encryption else backup.site + PLAIN_SUFFIX


def _target(backup: Backup, storage: str, environ: Mapping[str, str]) -> spec.StoreTarget:
    if storage.startswith("/"):
        return _folder(storage)
    if storage == LOCAL:
        assert backup.storage.local is not None, "a job names storages that there are"
        return _folder(backup.storage.local.path)
    if storage == AZURE:
        return _azure(backup, environ)
    s3 = backup.storage.s3
    assert s3 is not None, "a job names storages that there are"
    return spec.S3Target(
        bucket=s3.bucket,
        prefix=s3.prefix,
        region=s3.region,
        endpoint=s3.endpoint,
        path_style=bool(s3.endpoint) if s3.path_style is None else s3.path_style,
        access_key_id=environment.ACCESS_KEY,
        secret_access_key=environment.SECRET_KEY,
        ca=environment.CA if environ.get(environment.CA.key) else None,
    )


def _azure(backup: Backup, environ: Mapping[str, str]) -> spec.AzureTarget:
    azure = backup.storage.azure
    assert azure is not None, "a job names storages that there are"
    return spec.AzureTarget(
        container=azure.container,
        account=azure.account or environ.get(environment.AZURE_ACCOUNT, ""),
        prefix=azure.prefix,
        endpoint=azure.endpoint or environ.get(environment.AZURE_ENDPOINT) or None,
        key=environment.AZURE_KEY,
        ca=environment.AZURE_CA if environ.get(environment.AZURE_CA.key) else None,
    )


def _folder(path: str) -> spec.VolumeTarget:
    return spec.VolumeTarget(claim=path, mount=path, group=os.getegid())
