"""The manifest of one backup: what lies in the store, whose it is, and how a person reads it with stock tools.

It is the commit point: a backup exists from the moment its manifest does. It is in clear, so it holds no file names. Its
writer signs its exact bytes (core/signed.py). Fields may be added, a reader ignores what it does not know; a change of
meaning changes `format`.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, PlainSerializer, ValidationError, model_validator
from pydantic.alias_generators import to_camel

from iot_backup.core import signed
from iot_backup.core.layout import Member
from iot_backup.core.spec import BackupType, Cipher, Globs, Hex, Name
from iot_backup.errors import CorruptData

MAX_BYTES = 65536
"""Of the file."""

WITHOUT_PARENT = frozenset({"Full", "Configuration"})
"""Types that stand alone; the others build on a parent."""

Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""Of a member or a writer's key: 16 hex digits."""
RepositoryId = Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
Count = Annotated[int, Field(ge=0, lt=1 << 63)]
Text = Annotated[str, Field(max_length=4096)]
Time = Annotated[AwareDatetime, PlainSerializer(lambda t: t.astimezone(UTC).isoformat().replace("+00:00", "Z"), when_used="json")]
"""UTC in JSON, with the microseconds it has."""


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore", alias_generator=to_camel, validate_by_name=True, validate_by_alias=True)


class StoredObject(_Part):
    """An object of this backup, as it lies in the store."""

    size: Count
    """Bytes."""
    sha256: Hex
    header_sha256: Hex
    """Of what comes before the payload (age header and nonce): a ranged read is tied to this very file by it."""


class Parent(_Part):
    """The member this one builds on."""

    id: Id
    manifest_sha256: Hex


class Compression(_Part):
    algorithm: Literal["Zstd", "None"]
    level: int = Field(ge=0, le=22)


class Counts(_Part):
    """What is in the backup: the whole tree, also where an earlier archive has its contents."""

    files: Count = 0
    """Regular files and hard links."""
    entries: Count = 0
    """Everything."""
    folders: Count = 0
    links: Count = 0
    """Symbolic links."""
    source_bytes: Count = 0
    """Of all contents, without the holes of sparse files, wherever they are stored."""
    skipped: Count = 0
    """Sockets and whatever else a backup leaves out."""
    changed_while_read: Count = 0
    unreadable: Count = 0


class Owner(_Part):
    uid: Count
    gid: Count


class Source(_Part):
    """Where the data came from."""

    claim: Text
    path: Text = ""
    job: Text = ""
    schedule: Text | None = None
    include: Globs = ()
    exclude: Globs = ()
    one_file_system: bool = False


class Manifest(_Part):
    """Everything about one backup but the names of its files."""

    format: Literal["iot-backup-operator/manifest/v1"] = "iot-backup-operator/manifest/v1"
    tool: Text
    """Name and version of the program that wrote it."""
    repository_id: RepositoryId
    namespace: Name
    chain: Name
    id: Id
    type: BackupType
    seq: Annotated[int, Field(ge=1, lt=1 << 63)]
    """One more than the highest its writer saw in the chain: order follows it, not the clock."""
    parent: Parent | None = None
    start_time: Time
    """The time in the objects' names, to the second."""
    snapshot_time: Time
    """When the walk began."""
    completion_time: Time
    clock_skew_seconds: Annotated[float, Field(allow_inf_nan=False)] = 0.0
    """Worker's clock minus the store's, at the beginning."""
    writer: Id
    generation: Annotated[int, Field(ge=1)] = 1
    """Of the repository's identity."""
    cipher: Cipher
    recipient: Text | None
    """What archive and index are sealed to (age1...)."""
    compression: Compression
    archive: StoredObject
    index: StoredObject
    """The list of files: names, sizes, hashes; sealed like the archive."""
    state: StoredObject | None = None
    """What the next backup of the chain compares with: sealed by its writer."""
    version_id: Text | None = None
    """The archive's, on a versioned store."""
    counts: Counts
    root_owner: Owner
    """Of the source's root folder."""
    source: Source
    partial: bool = False
    """Some files could not be read."""
    inconsistent_source: bool = False
    """The source was the data folder of a running database."""
    restore: Text = ""
    """How to read the archive by hand."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if (self.cipher == "None") != (self.recipient is None):
            raise ValueError("cipher and recipient contradict each other")
        if (self.type in WITHOUT_PARENT) != (self.parent is None):
            raise ValueError("Full and Configuration have no parent, every other type has one")
        return self

    @property
    def member(self) -> Member:
        """Names the objects of this backup."""
        return Member(self.chain, self.start_time.astimezone(UTC).replace(microsecond=0), self.id)

    @property
    def archive_key(self) -> str:
        return self.member.archive(self.type, self.cipher)


_OPENS = {"Age": "age -d -i identity", "AES256": "python3 restore.py decrypt -i identity", "None": "cat"}
"""What opens a container, by cipher."""


def instructions(member: Member, type_: str, cipher: str, compression: str, key_files: str, parent: str | None = None) -> str:
    """A few sentences for a person without this project; `key_files`: where in the repository the sealed identity is, up to the serial;
    `parent`: id of the backup that this one builds on."""
    name = member.archive(type_, cipher).rpartition("/")[2]
    stages = [f"{_OPENS[cipher]} {name}"]
    if compression == "Zstd":
        stages.append("zstd -d")
    stages.append("tar -xpf - --numeric-owner --xattrs --xattrs-include='*' --acls")
    who = "Stock tools read" if cipher != "AES256" else "restore.py (one file, from the extras of iot-backup-operator) and stock tools read"
    text = f"{who} the archive: {' | '.join(stages)}"
    if parent is not None:
        text += (
            f". It holds what changed since the backup {parent}: extract that one first, in the same way; then remove what the members "
            ".kbackup/deleted/* of this one list (tar xO | xargs -0 rm -rf --), and extract it over that. Large files of which only blocks "
            "changed need restore.py"
        )
    if cipher == "None":
        return text
    return (
        f"{text}. The identity comes from a key file of the repository, N the highest there is: "
        f"age -d {key_files}-N.scrypt > identity asks for the passphrase, "
        f"age -d -i PERSON {key_files}-N.recipients > identity takes the identity of one of the recipients."
    )


def signable(manifest: Manifest) -> bytes:
    """The bytes to sign. CorruptData if the file would be too long."""
    body = signed.signable(manifest.model_dump_json(by_alias=True, indent=2))
    if len(body) + signed.TAIL > MAX_BYTES:
        raise CorruptData(f"the manifest would have {len(body) + signed.TAIL} bytes, and {MAX_BYTES} are the most")
    return body


def decoded(data: bytes, what: str = "the manifest") -> tuple[Manifest, bytes, bytes]:
    """A manifest, the bytes that were signed, and the signature, which the caller checks before it believes a word. CorruptData."""
    if len(data) > MAX_BYTES:
        raise CorruptData(f"{what} has more than {MAX_BYTES} bytes")
    body, signature = signed.taken_apart(data, what)
    try:
        return Manifest.model_validate_json(data), body, signature
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise CorruptData(f"{what} cannot be read: {where}: {first['msg']}. It is damaged, or made by a newer version.") from error


def newest(manifests: list[Manifest]) -> Manifest | None:
    """The last of a chain: by seq; where two runs at once took the same, by time and id."""
    return max(manifests, key=order, default=None)


def next_seq(manifests: list[Manifest]) -> int:
    last = newest(manifests)
    return last.seq + 1 if last else 1


def order(manifest: Manifest) -> tuple[int, datetime, str]:
    """Which of two backups of a chain is the newer one: to be compared."""
    return manifest.seq, manifest.start_time, manifest.id
