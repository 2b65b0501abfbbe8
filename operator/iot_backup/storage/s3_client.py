"""Where a bucket is, and obstore clients for it, with every timeout and retry said aloud."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import S3Store as Client

from iot_backup.errors import InvalidSpec, UntrustedCertificate

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig, S3Config


@dataclass(frozen=True)
class Location:
    """A bucket, how to reach it, and the words for messages."""

    bucket: str
    region: str = "us-east-1"
    endpoint: str | None = None
    """https://host[:port], or http:// where somebody really wants no TLS; None = AWS."""
    path_style: bool = False
    access_key_id: str | None = field(default=None, repr=False)
    secret_access_key: str | None = field(default=None, repr=False)
    ca: str | None = field(default=None, repr=False)
    """PEM certificates trusted besides the system's."""
    credentials_from: str = "the credentials Secret"
    ca_from: str = "no caBundleSecretRef is set"

    def __post_init__(self) -> None:
        found = urlsplit(self.url)
        if found.scheme not in ("https", "http") or not found.hostname:
            raise InvalidSpec(f"spec.s3.endpoint {self.endpoint!r} is not an address: write https://host or https://host:port")

    @property
    def url(self) -> str:
        """The address people know."""
        return (self.endpoint or f"https://s3.{self.region}.amazonaws.com").rstrip("/")

    @property
    def bucket_url(self) -> str:
        """The address requests go to: with the bucket as the host's first label, unless the style is by path."""
        if self.path_style:
            return self.url
        found = urlsplit(self.url)
        return found._replace(netloc=f"{self.bucket}.{found.netloc}").geturl()


@dataclass(frozen=True)
class Timing:
    """Seconds. A store that stalls is given up, clearly; one that stumbles is asked again for about a minute."""

    greeting: float = 5
    """How long the first contact is tried: a new pod's network may need a moment, a wrong address should be told soon."""
    connect: float = 5
    control: float = 20
    """One small request, whole."""
    transfer: float = 300
    """One part of 8 MiB, whole: four at a time on a line of 1 Mbit/s."""
    idle: float = 30
    """Between two reads of a download."""
    retry: float = 60
    first_wait: float = 0.1
    longest_wait: float = 5

    def retries(self) -> RetryConfig:
        waits = {"init_backoff": timedelta(seconds=self.first_wait), "max_backoff": timedelta(seconds=self.longest_wait), "base": 2}
        return {"max_retries": 100, "retry_timeout": timedelta(seconds=self.retry), "backoff": waits}  # type: ignore[typeddict-item]


def control(timing: Timing) -> tuple[ClientConfig, RetryConfig]:
    """For small requests."""
    return _options(timing, {"timeout": _span(timing.control)}), timing.retries()


def upload(timing: Timing) -> tuple[ClientConfig, RetryConfig]:
    """For parts on their way up."""
    return _options(timing, {"timeout": _span(timing.transfer)}), timing.retries()


def download(timing: Timing) -> tuple[ClientConfig, RetryConfig]:
    """For parts on their way down."""
    return _options(timing, {"timeout": _span(timing.transfer), "read_timeout": _span(timing.idle)}), timing.retries()


def greeting(timing: Timing) -> tuple[ClientConfig, RetryConfig]:
    """For the first contact: one attempt, so that a certificate nobody trusts is told at once."""
    return _options(timing, {"timeout": _span(timing.control)}), {"max_retries": 0}


def _options(timing: Timing, options: ClientConfig) -> ClientConfig:
    return {**options, "connect_timeout": _span(timing.connect), "user_agent": "iot-backup-operator"}


def client(location: Location, options: ClientConfig, retries: RetryConfig) -> Client:
    """Of one bucket. UntrustedCertificate for certificates that cannot be read."""
    options = {**options, "allow_http": location.url.startswith("http://")}
    if location.ca is not None:
        options["root_certificate"] = location.ca
    config: S3Config = {
        "region": location.region,
        "virtual_hosted_style_request": not location.path_style,
        # One key at a time: the bulk call is unknown to some servers.
        "disable_bulk_delete": True,
    }
    if location.endpoint is not None:
        config["endpoint"] = location.bucket_url
    if location.access_key_id is not None and location.secret_access_key is not None:
        config["access_key_id"], config["secret_access_key"] = location.access_key_id, location.secret_access_key
    try:
        return Client(location.bucket, config=config, client_options=options, retry_config=retries)
    except ValueError as error:
        # obstore's text may hold what it could not read, so it is not repeated.
        raise UntrustedCertificate(
            f"the authorities' certificates cannot be read ({location.ca_from}): they must be PEM, "
            "one '-----BEGIN CERTIFICATE-----' block each."
        ) from error


def _span(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)
