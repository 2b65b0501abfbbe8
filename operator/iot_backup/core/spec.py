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

NAME = r"^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$"
Name = Annotated[str, Field(pattern=NAME, max_length=63)]
"""Chain, namespace, id: what object keys are built from (store.md section 1). `..` is refused by layout.py."""
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Wire(BaseModel):
    """A frozen piece of the wire format: camelCase in JSON, unknown fields refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class SecretSource(Wire):
    """Names a Secret's key for messages; its value, if there, is the file `file` below `vocabulary.SECRETS`."""

    secret: str
    key: str
    file: str


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


StoreTarget = Annotated[S3Target | VolumeTarget, Field(discriminator="type")]


class Encryption(Wire):
    """How archives are sealed. `passphrase` is mounted only where the identity is made or opened: probe and restore."""

    algorithm: Literal["Age", "None"] = "Age"
    passphrase: SecretSource | None = None
    recipients: tuple[str, ...] = ()


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
    type: Literal["Full"] = "Full"
    claim: str
    """Name of the source's PersistentVolumeClaim, for manifest and messages."""
    path: str = ""
    """Folder inside the claim."""
    compression: Literal["Zstd", "None"] = "Zstd"
    level: int = Field(default=1, ge=1, le=19)
    allow_empty: bool = False
    timeout_seconds: int = Field(default=86400, ge=1)
    """A run refuses to commit after this many seconds."""


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
    """Signatures and ciphertext are checked whole before the first byte is written."""


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
