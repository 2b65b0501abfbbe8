"""What a config file says, checked: the site, its storages, its jobs. Frozen; reading the file is `configfile`'s matter."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ModelWrapValidatorHandler,
    WithJsonSchema,
    model_validator,
)

from iot_backup.core import schedule
from iot_backup.core.layout import checked
from iot_backup.core.spec import Globs
from iot_backup.errors import IotBackupError

LOCAL, S3, AZURE = "local", "s3", "azure"
LONGEST_NAME = 63
"""Characters of what object keys are built from, as `core.layout.checked` has it."""
PLAIN_SUFFIX = "-plain"
"""What the name of a site's repository without encryption ends with: one repository has one cipher."""


def _absolute(path: str) -> str:
    if not PurePosixPath(path).is_absolute():
        raise ValueError(f"{path!r} is not an absolute path: begin it with /")
    return str(PurePosixPath(path))


def _key_part(name: str) -> str:
    try:
        return checked(name, "name")
    except IotBackupError as error:
        raise ValueError(error.message.removeprefix(f"name {name!r} ")) from error


def _cron(text: str) -> str:
    try:
        schedule.five_fields(text)
    except IotBackupError as error:
        raise ValueError(error.message) from error
    return text


def _zone(name: str) -> str:
    try:
        schedule.zone(name)
    except IotBackupError as error:
        raise ValueError(f"{name!r} is no time zone: use an IANA name such as Europe/Berlin or Etc/UTC") from error
    return name


def _address(text: str) -> str:
    host, _, port = text.rpartition(":")
    if text and not (host and port.isdecimal() and int(port) <= 65535):
        raise ValueError(f"{text!r} is no address to listen at: write HOST:PORT, such as 127.0.0.1:9090")
    return text


def _list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Days = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=1)]
Folder = Annotated[str, Field(min_length=1), AfterValidator(_absolute)]
Name = Annotated[str, AfterValidator(_key_part)]
"""Part of object keys."""
Cron = Annotated[str, AfterValidator(_cron)]
Zone = Annotated[str, AfterValidator(_zone)]
Listen = Annotated[str, AfterValidator(_address)]
Patterns = Annotated[Globs, Field(strict=False)]
Names = Annotated[
    tuple[str, ...],
    BeforeValidator(_list),
    WithJsonSchema({"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}),
]
"""A list, or the one name in it."""


class Section(BaseModel):
    """A part of the file: unknown keys and values of another type are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class LocalStorage(Section):
    """A folder of this machine, or of a mounted file server."""

    path: Folder
    retention_days: Days | None = None


class S3Storage(Section):
    """A bucket; credentials come from AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY."""

    bucket: Annotated[str, Field(min_length=1)]
    region: str = "us-east-1"
    endpoint: str | None = None
    """Of a server that is not Amazon's: https://host[:port]."""
    path_style: bool | None = None
    """The bucket's name is in the path, not in the host. None: so where there is an endpoint."""
    prefix: str = ""
    retention_days: Days | None = None


class AzureStorage(Section):
    """A container; its account's key comes from AZURE_STORAGE_KEY."""

    container: Annotated[str, Field(min_length=1)]
    account: str | None = None
    """None: AZURE_STORAGE_ACCOUNT."""
    endpoint: str | None = None
    """Of a server that is not Azure's: https://host[:port]/account. None: AZURE_STORAGE_ENDPOINT, else Azure's own of the account."""
    prefix: str = ""
    retention_days: Days | None = None


class Storages(Section):
    """Where backups go; the order in the file counts."""

    local: LocalStorage | None = None
    s3: S3Storage | None = None
    azure: AzureStorage | None = None
    _order: tuple[str, ...] = ()

    @model_validator(mode="wrap")
    @classmethod
    def _as_written(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        made = handler(value)
        if isinstance(value, dict):
            made._order = tuple(name for name in value if getattr(made, name))
        return made

    @property
    def names(self) -> tuple[str, ...]:
        """Those that there are, in the order of the file."""
        return self._order


class Retention(Section):
    """What of a job's backups is kept: whatever one of the rules keeps. Without any, everything is."""

    days: Days | None = None
    """Everything younger than so many days."""
    keep_last: Count | None = None
    """The newest so many."""
    hourly: Count | None = None
    """The last one of each of the newest so many hours that have one; the others alike."""
    daily: Count | None = None
    weekly: Count | None = None
    monthly: Count | None = None
    yearly: Count | None = None


class Job(Section):
    """One thing to back up."""

    id: Name
    name: str = ""
    type: Literal["full", "incremental", "differential", "configuration"] = "full"
    source: Folder
    storage: Annotated[Names | None, Field(strict=False)] = None
    """The first is the primary, which backups are written to; they are copied to the others. None: all, in the order of the file."""
    destination: Folder | None = None
    """A folder, instead of `storage`."""
    chain: Name | None = None
    """Backups of one chain build on each other. None: the id of the first full job of this source."""
    schedule: Cron | None = None
    include: Patterns = ()
    """If given, only what one of these lines of gitignore's syntax matches is backed up."""
    exclude: Patterns = ()
    """What one of them matches is left out; `!` brings back."""
    one_file_system: bool = False
    """Mount points are stored as empty folders."""
    max_chain_length: Annotated[int, Field(ge=1, le=100)] = 30
    """Backups of a chain, its full one included; the run that would exceed it is a full one."""
    timeout_hours: Annotated[int, Field(ge=1, le=1000)] = 24
    """A run that takes longer stores nothing."""
    allow_empty: bool = False
    """A source without any file is no error."""
    compression: bool = True
    encryption: bool = True
    retention_days: Days | None = None
    """The same as `retention.days`. None, and no rule in `retention`: that of the storage."""
    retention: Retention = Retention()
    enabled: bool = True
    """Whether a scheduler starts it; by hand it always runs."""


class Email(Section):
    """Messages by mail."""

    enabled: bool = True
    smtp_server: Annotated[str, Field(min_length=1)] | None = None
    """HOST or HOST:PORT."""
    recipients: Annotated[tuple[str, ...], Field(strict=False)] = ()
    sender: str | None = None
    """None: backup-manager@ this machine."""
    username: str | None = None
    password: str | None = None
    """Best a reference, such as ${SMTP_PASSWORD}."""
    tls: Literal["auto", "starttls", "tls", "none"] = "auto"
    """auto: STARTTLS where the server offers it; a password is only ever sent through TLS. The certificate is always checked."""


class Slack(Section):
    """Messages by a webhook of Slack, Mattermost or what speaks like them."""

    enabled: bool = True
    webhook_url: Annotated[str, Field(pattern=r"^https?://")] | None = None
    channel: str | None = None


Kind = Literal["failure", "recovery", "missed", "suspicious", "verification", "retention"]


class Notifications(Section):
    """Whom to tell of what."""

    email: Email | None = None
    slack: Slack | None = None
    urls: Annotated[tuple[str, ...], Field(strict=False)] = ()
    """Of any service that apprise knows, such as ntfy://host/topic; best references, since they hold secrets."""
    on: Annotated[tuple[Kind, ...], Field(strict=False)] = ("failure", "recovery", "missed", "suspicious", "verification", "retention")
    """What is told of."""


class Backup(Section):
    """The whole of it."""

    site: Name = "default"
    time_zone: Zone | None = None
    """Schedules are read in it: an IANA name. None: TZ's, else this machine's."""
    max_parallel: Annotated[int, Field(ge=1, le=64)] = 1
    """Jobs that `run` has under way at once; those of one chain never are."""
    listen: Listen | None = None
    """Where `run` serves /metrics and /healthz: HOST:PORT; empty for nowhere. None: 127.0.0.1:9090."""
    storage: Storages
    jobs: Annotated[tuple[Job, ...], Field(strict=False)] = ()
    notifications: Notifications | None = None


class File(Section):
    """The file's only key."""

    backup: Backup
