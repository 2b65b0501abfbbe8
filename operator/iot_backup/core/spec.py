"""The worker's order: one JSON document on the pod template, the only thing the operator tells a worker.

It travels as the annotation `vocabulary.SPEC`, is mounted by the downward API at `vocabulary.SPEC_FILE`, and its SHA-256
stands in the container's arguments: a worker given any other text exits with 64. It holds no secret. Which Job and pod run
it comes from the environment (`ENV_JOB_NAME`, `ENV_JOB_UID`), since a CronJob's template is older than its Jobs.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.alias_generators import to_camel

from iot_backup.errors import InvalidSpec
from iot_backup.units import SLOWEST

NAME = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
Name = Annotated[str, Field(pattern=NAME, max_length=63)]
"""Chain, namespace, id: what object keys are built from (store.md section 1). `..` is refused by layout.py."""
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


Cipher = Literal["Age", "AES256", "None"]
BackupType = Literal["Full", "Incremental", "Differential", "Configuration"]
Glob = Annotated[str, Field(min_length=1, max_length=1024)]
"""One line of gitignore syntax, matched against paths below the backed-up folder."""
Globs = Annotated[tuple[Glob, ...], Field(max_length=64)]


class Wire(BaseModel):
    """A frozen piece of the wire format: camelCase in JSON, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class SecretSource(Wire):
    """Names a Secret's key for messages; its value, if there, is the file `file` below `vocabulary.SECRETS`.

    Stand-alone `secret` says where the value named `key` comes from ("environment variable"), and there is no file.
    """

    secret: str
    key: str
    file: str = ""


class S3Target(Wire):
    """An S3 bucket. Credentials are two files; `ca` is a PEM bundle trusted besides the system's authorities."""

    type: Literal["s3"] = "s3"
    bucket: str
    prefix: str = ""
    region: str = "us-east-1"
    endpoint: str | None = None
    path_style: bool = False
    conditional_writes: bool = True
    """What the probe found; without them a run looks before it writes, and after."""
    access_key_id: SecretSource | None = None
    secret_access_key: SecretSource | None = None
    ca: SecretSource | None = None


class VolumeTarget(Wire):
    """A mounted claim; `path` is inside it. Everything belongs to `group`: folders 2770, files 0660."""

    type: Literal["volume"] = "volume"
    claim: str
    mount: str = "/store"
    path: str = ""
    group: int = 65532


class AzureTarget(Wire):
    """A container of Azure's Blob Storage; only stand-alone sites have one."""

    type: Literal["azure"] = "azure"
    container: str
    account: str
    prefix: str = ""
    endpoint: str | None = None
    key: SecretSource
    ca: SecretSource | None = None


StoreTarget = Annotated[S3Target | VolumeTarget | AzureTarget, Field(discriminator="type")]


class Encryption(Wire):
    """How archives are sealed. `passphrase` is mounted only where the identity is made or opened: probe and restore."""

    algorithm: Cipher = "Age"
    passphrase: SecretSource | None = None
    recipients: tuple[str, ...] = ()


class Floor(Wire):
    """The newest backup of a chain that somebody remembers: a store that shows only older ones hides something."""

    seq: int = Field(ge=1)
    manifest_sha256: Hex


class Trust(Wire):
    """The repository as the operator pinned it. A worker that finds another one refuses with `Untrusted`."""

    repository_id: str
    fingerprint: Hex
    """SHA-256 of repo.json's exact bytes."""
    recipient: str | None = None
    """The age recipient (age1...), None for `algorithm: None`."""


class Repository(Wire):
    """Where the repository is and whom it belongs to."""

    storage: str
    """Name of the BackupStorage, for messages."""
    namespace: Name
    """Whose it is: a namespace of a cluster, or, with `scope`, a site."""
    scope: Literal["site"] | None = None
    store: StoreTarget
    encryption: Encryption
    writer_key: SecretSource


class BackupOrder(Wire):
    """One backup of one tree."""

    kind: Literal["backup"] = "backup"
    repository: Repository
    trust: Trust
    chain: Name
    job: str
    """Name of the BackupJob, for manifest and messages."""
    schedule: str | None = None
    """Name of the schedule of several that started this run."""
    type: BackupType = "Full"
    """Incremental builds on the newest member of the chain, Differential on its newest Full; without one they are a Full, and say so."""
    claim: str
    """Name of the source's PersistentVolumeClaim, for manifest and messages."""
    path: str = ""
    """Folder inside the claim."""
    include: Globs = ()
    """If given, only what one of these matches is backed up, with the folders above it."""
    exclude: Globs = ()
    """What one of these matches is left out, with all that is in it; `!` brings back what an earlier line left out."""
    one_file_system: bool = False
    """Mount points are stored as empty folders."""
    max_chain_length: int = Field(default=30, ge=1, le=100)
    """Members of a chain, its Full included; the run that would exceed it is a Full."""
    floor: Floor | None = None
    damaged: tuple[str, ...] = ()
    """Ids of backups that a verification found damaged: nothing is built on them, nor on what builds on them."""
    compression: Literal["Zstd", "None"] = "Zstd"
    level: int = Field(default=1, ge=1, le=19)
    allow_empty: bool = False
    timeout_seconds: int = Field(default=86400, ge=1)
    """A run refuses to commit after this many seconds."""
    bandwidth_limit: int | None = Field(default=None, ge=SLOWEST)
    """Bytes per second that go to the store and come from it, all streams together; None = as fast as they can."""


OnConflict = Literal["Overwrite", "KeepNewer", "SkipExisting", "Mirror"]
"""What becomes of a path that is in the target already: replaced; kept where its mtime is newer; kept. What is not in the backup
stays, but with Mirror."""


class RestoreOrder(Wire):
    """One member of a repository into one folder."""

    kind: Literal["restore"] = "restore"
    repository: Repository
    trust: Trust | None = None
    """None only where nobody ever pinned the repository: the worker then needs the identity to trust it."""
    archive: Name
    """Id of the member to restore."""
    chain: Name | None = None
    """Where to look first; None = look through all chains of the repository."""
    claim: str
    identity: SecretSource | None = None
    """An age identity (AGE-SECRET-KEY-1...) that a person brought for this restore; else the passphrase opens one."""
    verify: bool = True
    """Signatures and ciphertext of all that is needed are checked whole before the first byte is written."""
    type: Literal["Full", "Selective"] = "Full"
    include: Globs = ()
    """Selective: what to bring back; nothing that matches is an error."""
    exclude: Globs = ()
    on_conflict: OnConflict = "Overwrite"
    mode: Literal["Restore", "Plan"] = "Restore"
    """Plan: say what a restore would do, and write nothing."""
    devices: bool = False
    """Make device nodes, too; only root may."""
    floor: Floor | None = None
    bandwidth_limit: int | None = Field(default=None, ge=SLOWEST)
    """Bytes per second that go to the store and come from it, all streams together; None = as fast as they can."""


class ProbeOrder(Wire):
    """Look at a store; create the repository if there is none; admit our writer if we may."""

    kind: Literal["probe"] = "probe"
    repository: Repository
    fingerprint: Hex | None = None
    """spec.encryption.fingerprint, or the one in status: what the repository must be."""
    create: bool = True


Order = Annotated[BackupOrder | RestoreOrder | ProbeOrder, Field(discriminator="kind")]
_ORDER: TypeAdapter[BackupOrder | RestoreOrder | ProbeOrder] = TypeAdapter(Order)


def encode(order: BackupOrder | RestoreOrder | ProbeOrder) -> str:
    """The order as the JSON text that goes on the pod template; the same order always gives the same text."""
    return order.model_dump_json(by_alias=True, exclude_none=True)


def digest(text: str) -> str:
    """SHA-256 of the text, hex: what the container's arguments carry."""
    return hashlib.sha256(text.encode()).hexdigest()


def decode(text: str, expected_digest: str) -> BackupOrder | RestoreOrder | ProbeOrder:
    """Read an order back. Raises InvalidSpec if it is not the text the container was started for, or not an order."""
    if digest(text) != expected_digest:
        raise InvalidSpec(
            "the worker's spec is not the one this container was started for: its SHA-256 differs from --spec-sha256; "
            "the annotation was edited. Delete the pod or Job and let the operator make a new one."
        )
    try:
        return _ORDER.validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InvalidSpec(
            f"the worker's spec cannot be read: {where}: {first['msg']}. Do operator and worker image have the same version?"
        ) from error
