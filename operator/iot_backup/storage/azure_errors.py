"""What an Azure store's refusals mean, in words for people. obstore tells them as text, so text is what is read here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from obstore.exceptions import AlreadyExistsError

from iot_backup.errors import (
    AccessDenied,
    AlreadyExists,
    BucketMissing,
    CorruptData,
    InvalidSpec,
    IotBackupError,
    NotFound,
    StorageFull,
    StorageUnavailable,
    UntrustedCertificate,
)
from iot_backup.storage.s3_errors import certificate_of, code_of, status_of

if TYPE_CHECKING:
    from iot_backup.storage.azure_client import Location

SPENT = "InvalidBlockList"
"""The list names blocks that are not there: never sent, or part of a blob by now."""
_GONE = "(code: 404)"
"""What a deletion in bulk says of a blob that is not there."""
_UNKNOWN = "; whether it was stored is unknown"

_ANSWERS: tuple[tuple[frozenset[str], type[IotBackupError], str], ...] = (
    (frozenset({"BlobNotFound"}), NotFound, "{key} is not in container {container}"),
    (
        frozenset({"ContainerNotFound", "ContainerBeingDeleted"}),
        BucketMissing,
        "container {container} does not exist at {url}. Create it, or correct backup.storage.azure.container.",
    ),
    (
        frozenset({"ResourceNotFound"}),
        BucketMissing,
        "{url} knows no account {account}. Correct AZURE_STORAGE_ACCOUNT, or backup.storage.azure.account.",
    ),
    (
        frozenset({"InsufficientStorage", "AccountLimitExceeded", "BlockCountExceedsLimit", "507"}),
        StorageFull,
        "cannot {what}: the store is full or its quota is used up ({code}). Add room, or remove old backups.",
    ),
    (frozenset({"AccountRequiresHttps"}), InvalidSpec, "{url} wants TLS. Write https:// in backup.storage.azure.endpoint."),
)
"""Azure's codes, what they become, and the sentence."""

_FAILURES: tuple[tuple[str, type[IotBackupError], str], ...] = (
    ("empty path segment", CorruptData, "could not {what}: the listing holds a key that is no path. Look who put it there, and remove it."),
    (
        "dns error",
        StorageUnavailable,
        "the host of {url} cannot be found (DNS). Check the account's name and backup.storage.azure.endpoint.",
    ),
    (
        "ConnectionRefused",
        StorageUnavailable,
        "nothing listens at {url} (connection refused). Is the store running, and backup.storage.azure.endpoint right?",
    ),
    ("InvalidMessage", StorageUnavailable, "{url} does not speak TLS. If that is meant, write http:// in backup.storage.azure.endpoint."),
    (
        "InvalidContentType",
        StorageUnavailable,
        "{url} does not speak TLS. If that is meant, write http:// in backup.storage.azure.endpoint.",
    ),
    ("TimedOut", StorageUnavailable, "could not {what}: the store does not answer in time{unknown}. Is a firewall in the way?"),
    ("kind: Timeout", StorageUnavailable, "could not {what}: the store does not answer in time{unknown}. Is a firewall in the way?"),
)
"""Words in obstore's account of a request that got no answer, what they become, and the sentence."""


@dataclass(frozen=True)
class Attempt:
    """What was tried, for the sentence."""

    location: Location
    verb: str
    """write, read, list or delete."""
    key: str

    def words(self) -> dict[str, str]:
        where = self.location
        return {
            "what": f"{self.verb} {self.key} in container {where.container} at {where.url}",
            "key": self.key,
            "container": where.container,
            "account": where.account,
            "url": where.url,
            "unknown": _UNKNOWN if self.verb == "write" else "",
        }


def explain(error: Exception, attempt: Attempt) -> IotBackupError:
    """The error of our own for one of obstore's. Bodies of answers are not repeated."""
    text, words = str(error), attempt.words()
    code, status = code_of(error), status_of(text)
    if isinstance(error, AlreadyExistsError):
        return AlreadyExists(f"{attempt.key} is in container {attempt.location.container} already")
    if attempt.verb == "delete" and _GONE in text:
        return NotFound(f"{attempt.key} is not in container {attempt.location.container}")
    if not (code or status):
        return _unreachable(text, attempt.location, words)
    return _answered(code, status, attempt, words)


def _answered(code: str, status: int, attempt: Attempt, words: dict[str, str]) -> IotBackupError:
    if status in (401, 403):
        return AccessDenied(_denied(code, attempt, words))
    code = "507" if status == 507 else code
    for codes, kind, sentence in _ANSWERS:
        if code in codes:
            return kind(sentence.format(code=code, **words))
    if status == 404 and not code:
        return StorageUnavailable("{url} answers, but not as an Azure store does (404 without a code). Check the endpoint.".format(**words))
    told = " ".join(filter(None, (code, f"status {status}" if status else "")))
    return StorageUnavailable("could not {what}: the store answered {told}{unknown}.".format(told=told, **words))


def _denied(code: str, attempt: Attempt, words: dict[str, str]) -> str:
    where = attempt.location
    if code in ("AuthenticationFailed", "AuthorizationFailure", "InvalidAuthenticationInfo"):
        return f"{where.url} does not accept the key in {where.key_from} for account {where.account}. Put a valid pair there; is this clock right?"
    return "may not {what} ({code}). Let the account's firewall and rules allow it.".format(code=code or "forbidden", **words)


def _unreachable(text: str, where: Location, words: dict[str, str]) -> IotBackupError:
    why = certificate_of(text)
    if why:
        return UntrustedCertificate(
            f"the certificate of {where.url} is not trusted ({why}; {where.ca_from}). Put its authority's certificate (PEM) into a file, and name "
            "that in REQUESTS_CA_BUNDLE; or set this clock, or use a name that the certificate holds."
        )
    for sign, kind, sentence in _FAILURES:
        if sign in text:
            return kind(sentence.format(**words))
    return StorageUnavailable("could not {what}: the connection failed or broke{unknown}.".format(**words))
