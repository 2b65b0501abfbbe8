"""What an S3 store's refusals mean, in words for people. obstore tells them as text, so text is what is read here."""

from __future__ import annotations

import re
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

if TYPE_CHECKING:
    from iot_backup.storage.s3_client import Location

_CODE = re.compile(r"<Code>([A-Za-z0-9]{1,80})</Code>")
_STATUS = re.compile(r"non-2xx status code: (\d{3})")
_NO_SPACE = re.compile(r"<Message>[^<]*(no space left on device|disk quota exceeded)", re.IGNORECASE)
"""MinIO looks at its room now and then only; in between a full disk is an InternalError."""
_CERTIFICATE = re.compile(r"InvalidCertificate\(\s*(\w+)")

OUT_OF_RANGE = "InvalidRange"
DENIED = frozenset({"AccessDenied", "AllAccessDisabled", "AccountProblem", "InvalidToken", "ExpiredToken", "UnauthorizedAccess"})
FULL = frozenset(
    {"XMinioStorageFull", "XMinioAdminBucketQuotaExceeded", "QuotaExceeded", "InsufficientStorage", "InsufficientCapacity", "507"}
)
ELSEWHERE = frozenset({"PermanentRedirect", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "InvalidRegion"})

_ANSWERS: tuple[tuple[frozenset[str], type[IotBackupError], str], ...] = (
    (frozenset({"NoSuchKey"}), NotFound, "{key} is not in bucket {bucket}"),
    (
        frozenset({"NoSuchBucket"}),
        BucketMissing,
        "bucket {bucket} does not exist at {url}. Create it, or correct spec.s3.bucket of the BackupStorage.",
    ),
    (FULL, StorageFull, "cannot {what}: the store is full or its quota is used up ({code}). Add room, or remove old backups."),
    (
        frozenset({"NoSuchUpload"}),
        StorageUnavailable,
        "could not {what}: the store no longer knows the upload ({code}); whether it was stored is unknown. Is it full, or does a rule end uploads?",
    ),
    (ELSEWHERE, InvalidSpec, "bucket {bucket} is not in region {region} ({code}). Correct spec.s3.region of the BackupStorage."),
    (
        frozenset({"InvalidBucketName"}),
        InvalidSpec,
        "{bucket!r} cannot be the name of a bucket. Correct spec.s3.bucket of the BackupStorage.",
    ),
)
"""S3 codes, what they become, and the sentence."""
_SKEWED = "{url} refuses requests because its clock and this node's differ too much. Set the clocks (NTP)."
_WANTS_TLS = "{url} wants TLS. Write https:// in spec.s3.endpoint of the BackupStorage."
_NOT_S3 = "{url} answers, but not as an S3 store does (404 without a code). Check spec.s3.endpoint and pathStyle."
_SPEAKS_NO_TLS = "{url} does not speak TLS. If that is meant, write http:// in spec.s3.endpoint of the BackupStorage."
_SILENT = "could not {what}: the store does not answer in time{unknown} Is a firewall or network policy in the way?"
_NO_HOST = "the host of {url} cannot be found (DNS). Check spec.s3.endpoint of the BackupStorage.{style}"
_NOBODY = "nothing listens at {url} (connection refused). Is the store running, and spec.s3.endpoint right?"
_NO_PATH = "could not {what}: the listing holds a key that is no path. Look who put it there, and remove it."

_FAILURES: tuple[tuple[str, type[IotBackupError], str], ...] = (
    ("empty path segment", CorruptData, _NO_PATH),
    ("dns error", StorageUnavailable, _NO_HOST),
    ("ConnectionRefused", StorageUnavailable, _NOBODY),
    ("InvalidMessage", StorageUnavailable, _SPEAKS_NO_TLS),
    ("InvalidContentType", StorageUnavailable, _SPEAKS_NO_TLS),
    ("TimedOut", StorageUnavailable, _SILENT),
    ("kind: Timeout", StorageUnavailable, _SILENT),
)
"""Words in obstore's account of a request that got no answer, what they become, and the sentence."""


@dataclass(frozen=True)
class Attempt:
    """What was tried, for the sentence."""

    location: Location
    verb: str
    """write, read, list or delete."""
    key: str

    @property
    def what(self) -> str:
        return f"{self.verb} {self.key} in bucket {self.location.bucket} at {self.location.url}"


def explain(error: Exception, attempt: Attempt) -> IotBackupError:
    """The error of our own for one of obstore's. Bodies of answers are not repeated: some quote signatures and keys."""
    text = str(error)
    code, status = code_of(error), status_of(text)
    if isinstance(error, AlreadyExistsError):
        return AlreadyExists(f"{attempt.key} is in bucket {attempt.location.bucket} already")
    if code or status:
        return _answered(code, status, text, attempt)
    return _unreachable(text, attempt)


def answered(error: Exception) -> bool:
    """Whether the store gave any answer at all."""
    return isinstance(error, FileNotFoundError) or bool(code_of(error) or status_of(str(error)))


def code_of(error: Exception) -> str:
    """The S3 error code in the answer, or "": answers to HEAD have none."""
    found = _CODE.search(str(error))
    return found[1] if found else ""


def _answered(code: str, status: int, text: str, attempt: Attempt) -> IotBackupError:
    if status in (401, 403) or code in DENIED:
        skewed = code == "RequestTimeTooSkewed"
        return StorageUnavailable(_SKEWED.format(**_words(attempt))) if skewed else AccessDenied(_denied(code, attempt))
    if status == 507 or _NO_SPACE.search(text):
        code = code if code in FULL else "507"
    for codes, kind, sentence in _ANSWERS:
        if code in codes:
            return kind(sentence.format(code=code, **_words(attempt)))
    if "HTTP request to an HTTPS server" in text:
        return InvalidSpec(_WANTS_TLS.format(**_words(attempt)))
    if status == 404 and not code:
        return StorageUnavailable(_NOT_S3.format(**_words(attempt)))
    told = " ".join(filter(None, (code, f"status {status}" if status else "")))
    return StorageUnavailable(f"could not {attempt.what}: the store answered {told}{_unknown(attempt)}")


def _words(attempt: Attempt) -> dict[str, str]:
    where = attempt.location
    return {"what": attempt.what, "key": attempt.key, "bucket": where.bucket, "url": where.url, "region": where.region}


def _denied(code: str, attempt: Attempt) -> str:
    where = attempt.location
    if code == "InvalidAccessKeyId":
        return f"{where.url} does not know the access key in {where.credentials_from}. Put a valid pair of keys there."
    if code == "SignatureDoesNotMatch":
        return f"the secret key in {where.credentials_from} does not belong to its access key, says {where.url}. Put a valid pair there."
    return (
        f"may not {attempt.what} ({code or 'forbidden'}). Allow the credentials in {where.credentials_from} to put, get and list objects "
        "below the repository's root, and to delete those below its announce/."
    )


def _unreachable(text: str, attempt: Attempt) -> IotBackupError:
    certificate = certificate_of(text)
    if certificate:
        return UntrustedCertificate(_untrusted(certificate, attempt.location))
    for sign, kind, sentence in _FAILURES:
        if sign in text:
            return kind(sentence.format(unknown=_unknown(attempt), style=_style(attempt.location), **_words(attempt)))
    return StorageUnavailable(f"could not {attempt.what}: the connection failed or broke{_unknown(attempt)}")


def _untrusted(why: str, where: Location) -> str:
    if why in ("Expired", "NotValidYet", "ExpiredContext", "NotValidYetContext"):
        return f"the certificate of {where.url} has expired or is not valid yet. Renew it, or set this node's clock."
    if why.startswith("NotValidForName"):
        style = "" if where.path_style else ", or set spec.s3.pathStyle: true if it lacks the bucket's name as a subdomain"
        return f"the certificate of {where.url} is for another name. Use a name it holds in spec.s3.endpoint{style}."
    return (
        f"the certificate of {where.url} is not signed by an authority this run trusts ({where.ca_from}). Put the authority's "
        "certificate (PEM) into a Secret, and name it in spec.s3.caBundleSecretRef of the BackupStorage."
    )


def _style(where: Location) -> str:
    if where.path_style or where.endpoint is None:
        return ""
    return f" The bucket's name is part of the host ({where.bucket_url}): does the store need spec.s3.pathStyle: true?"


def _unknown(attempt: Attempt) -> str:
    return "; whether it was stored is unknown." if attempt.verb == "write" else "."


def certificate_of(text: str) -> str:
    """Why a certificate was refused, in the TLS library's word, or ""."""
    found = _CERTIFICATE.search(text)
    return found[1] if found else ""


def status_of(text: str) -> int:
    """The HTTP status in the answer, or 0."""
    found = _STATUS.search(text)
    return int(found[1]) if found else 0
