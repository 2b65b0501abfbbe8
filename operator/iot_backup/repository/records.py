"""The small documents of a repository beside manifests: repo.json, an admitted writer, an announcement."""

from __future__ import annotations

import hashlib
from typing import Annotated, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from iot_backup.core import signed
from iot_backup.core.layout import Member
from iot_backup.core.manifest import Id, RepositoryId, Time
from iot_backup.core.spec import BackupType, Cipher, Hex, Name
from iot_backup.errors import CorruptData

RECIPIENT = r"^age1[a-z0-9]{58}$"


def digest(recipient: str) -> str:
    """16 hex digits of a generation's recipient: they name its key files."""
    return hashlib.sha256(recipient.encode()).hexdigest()[:16]


class Record(BaseModel):
    """A frozen document; a reader ignores fields that it does not know."""

    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)

    def text(self) -> str:
        return self.model_dump_json(by_alias=True, indent=2)


class RepositoryRecord(Record):
    """repo.json: who this repository is. Written once; the SHA-256 of its bytes is the fingerprint.

    Its creator's writer key signs it. That proves nothing to others; the creator knows its own repository again by it.
    """

    format: Literal["iot-backup-operator/repository/v1"] = "iot-backup-operator/repository/v1"
    repository_id: RepositoryId
    cipher: Cipher
    """Of every archive and index in it, for good: another cipher needs another repository."""
    recipient: Annotated[str, Field(pattern=RECIPIENT)] | None
    """What everything is sealed to; None for the cipher `None`."""
    root: Hex | None
    """The Ed25519 key that admits writers."""
    creation_time: Time
    first_writer: Annotated[str, Field(max_length=4096)] | None
    """The signed record of the writer that created the repository: no crash between two objects can leave it without."""

    @model_validator(mode="after")
    def _has_both_keys_or_none(self) -> Self:
        if (self.recipient is None) != (self.root is None):
            raise ValueError("recipient and root belong together")
        if (self.recipient is None) != (self.cipher == "None"):
            raise ValueError("cipher and recipient contradict each other")
        return self

    @property
    def recipient_digest(self) -> str:
        """16 hex digits: names its key files."""
        return digest(self.recipient or "")

    @property
    def recipients(self) -> tuple[str, ...]:
        """Of all generations, the first one first."""
        return () if self.recipient is None else (self.recipient,)

    @property
    def generation(self) -> int:
        """Of its identity: 1 is the one that it was made with."""
        return max(len(self.recipients), 1)


class RenewedRecord(RepositoryRecord):
    """A repository as of a later generation: `recipient` and `root` are that one's. Put together by `generations`, never written."""

    earlier: tuple[str, ...]
    """Recipients of the generations before, the first one first."""

    @property
    def recipients(self) -> tuple[str, ...]:
        return *self.earlier, *super().recipients


class GenerationRecord(Record):
    """generations/<n>: a new identity, signed by the root of the one before. The SHA-256 of its bytes is the fingerprint from then on."""

    format: Literal["iot-backup-operator/generation/v1"] = "iot-backup-operator/generation/v1"
    repository_id: RepositoryId
    number: Annotated[int, Field(ge=2)]
    previous: Hex
    """Fingerprint before: so this one stands for the whole history."""
    recipient: Annotated[str, Field(pattern=RECIPIENT)]
    root: Hex
    creation_time: Time


class WriterRecord(Record):
    """writers/<key id>: a writer's key, admitted by the root's signature. Without a root, signed by the key itself."""

    format: Literal["iot-backup-operator/writer/v1"] = "iot-backup-operator/writer/v1"
    repository_id: RepositoryId
    namespace: Name
    key_id: Id
    public_key: Hex
    passphrase_tag: Hex | None
    """HMAC of the passphrase under the writer key: shows an edited Secret long before a restore would."""
    passphrase_serial: Annotated[int, Field(ge=1)] | None = None
    """Of the key file that this passphrase opens: once it is gone, the passphrase is an old one."""
    admission_time: Time


class Announcement(Record):
    """announce/<id>: a run in progress. What it names is not garbage before deadline + 24 h."""

    format: Literal["iot-backup-operator/announcement/v1"] = "iot-backup-operator/announcement/v1"
    repository_id: RepositoryId
    id: Id
    chain: Name
    writer: Id
    start_time: Time
    deadline: Time
    """On the store's clock."""
    parent: Id | None
    objects: tuple[str, ...]
    """Keys this run may write before its manifest. For people: who acts on them builds them anew."""


class Notice(Record):
    """What a writer says of backups beside their manifests, signed by it."""

    repository_id: RepositoryId
    namespace: Name
    chain: Name
    writer: Id
    time: Time
    """On the store's clock."""


class Victim(Record):
    """A backup that retention takes away."""

    id: Id
    seq: Annotated[int, Field(ge=1)]
    type: BackupType
    start_time: Time
    manifest_sha256: Hex
    reason: Annotated[str, Field(max_length=4096)]

    def member(self, chain: str) -> Member:
        """Where its objects lay, in its chain."""
        return Member(chain, self.start_time.replace(microsecond=0), self.id)


class DoomedRecord(Notice):
    """doomed/<id>: retention is about to take this backup away, and has not finished."""

    format: Literal["iot-backup-operator/doomed/v1"] = "iot-backup-operator/doomed/v1"
    victim: Victim


class RemovedRecord(Notice):
    """removed/<chain>/...: what retention took away. It explains these numbers of the chain, and no others."""

    format: Literal["iot-backup-operator/removed/v1"] = "iot-backup-operator/removed/v1"
    victims: tuple[Victim, ...]


class HoldRecord(Notice):
    """holds/<id>.<reason>: this backup stays. `frozen`: so does everything else of its chain."""

    format: Literal["iot-backup-operator/hold/v1"] = "iot-backup-operator/hold/v1"
    id: Id
    reason: Literal["pinned", "last-good", "frozen", "damaged"]
    message: Annotated[str, Field(max_length=4096)] = ""


R = TypeVar("R", bound=Record)


def encoded(record: Record) -> bytes:
    """An unsigned document's file."""
    return record.text().encode() + b"\n"


def decoded(kind: type[R], data: bytes, what: str) -> R:
    """CorruptData, naming the file and the field."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise CorruptData(f"{what} cannot be read: {where}: {first['msg']}. It is damaged, or made by a newer version.") from error


def decoded_signed(kind: type[R], data: bytes, what: str) -> tuple[R, bytes, bytes]:
    """A signed document, its signed bytes and its signature, which the caller checks. CorruptData."""
    body, signature = signed.taken_apart(data, what)
    return decoded(kind, data, what), body, signature


def fingerprint(repo_json: bytes) -> str:
    """64 hex digits that stand for the whole repository."""
    return hashlib.sha256(repo_json).hexdigest()
