"""Where a container is, and obstore clients for it. Timeouts and retries are those of `s3_client`."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from obstore.store import AzureStore as Client

from iot_backup.errors import AccessDenied, InvalidSpec, SecretMissing, UntrustedCertificate

if TYPE_CHECKING:
    from obstore.store import AzureConfig, ClientConfig, RetryConfig

_CONTAINER = re.compile(r"(?=.{3,63}$)[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True)
class Location:
    """A container, how to reach it, and the words for messages."""

    container: str
    account: str
    key: str = field(repr=False)
    """The account's, base64."""
    endpoint: str | None = None
    """https://host[:port][/account], or http:// where somebody really wants no TLS; None = Azure's own of the account."""
    ca: str | None = field(default=None, repr=False)
    """PEM certificates trusted besides the system's."""
    key_from: str = "AZURE_STORAGE_KEY"
    ca_from: str = "REQUESTS_CA_BUNDLE is not set"

    def __post_init__(self) -> None:
        if not self.account:
            raise SecretMissing("the Azure account is not named: set AZURE_STORAGE_ACCOUNT, or backup.storage.azure.account")
        if not _CONTAINER.fullmatch(self.container):
            raise InvalidSpec(
                f"{self.container!r} cannot be the name of a container: 3 to 63 lower-case letters, digits and single dashes. "
                "Correct backup.storage.azure.container."
            )
        found = urlsplit(self.url)
        if found.scheme not in ("https", "http") or not found.hostname:
            raise InvalidSpec(f"the Azure endpoint {self.endpoint!r} is not an address: write https://host or https://host:port/account")
        try:
            base64.b64decode(self.key, validate=True)
        except (binascii.Error, ValueError):
            raise AccessDenied(
                f"{self.key_from} holds no account key: it must be base64, as the portal shows it under Access keys"
            ) from None

    @property
    def url(self) -> str:
        """The address people know."""
        return (self.endpoint or f"https://{self.account}.blob.core.windows.net").rstrip("/")


def client(location: Location, options: ClientConfig, retries: RetryConfig) -> Client:
    """Of one container. UntrustedCertificate for certificates that cannot be read."""
    options = {**options, "allow_http": location.url.startswith("http://")}
    if location.ca is not None:
        options["root_certificate"] = location.ca
    config: AzureConfig = {"account_name": location.account, "account_key": location.key, "endpoint": location.url}
    try:
        return Client(location.container, config=config, client_options=options, retry_config=retries)
    except ValueError as error:
        # obstore's text may hold what it could not read, so it is not repeated.
        raise UntrustedCertificate(
            f"the authorities' certificates cannot be read ({location.ca_from}): they must be PEM, "
            "one '-----BEGIN CERTIFICATE-----' block each."
        ) from error
