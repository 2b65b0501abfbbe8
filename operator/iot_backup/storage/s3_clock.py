"""A store's clock, from the Date header of any answer: obstore does not show headers."""

from __future__ import annotations

import http.client
import ssl
import time
import urllib.error
import urllib.request
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

from iot_backup.errors import StorageUnavailable, UntrustedCertificate

if TYPE_CHECKING:
    from email.message import Message

    from iot_backup.storage.s3_client import Timing


def store_time(url: str, ca: str | None, timing: Timing) -> datetime:
    """The time at `url`, UTC, whole seconds. No credentials are sent: a refusal has a Date as well. StorageUnavailable, UntrustedCertificate."""
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=_context(ca)), _NoRedirect)
    patience, wait = time.monotonic() + timing.retry, timing.first_wait
    while True:
        try:
            headers = _headers(opener, url, timing.control)
            break
        except StorageUnavailable:
            if time.monotonic() + wait > patience:
                raise
        time.sleep(wait)
        wait = min(2 * wait, timing.longest_wait)
    try:
        return parsedate_to_datetime(headers["Date"]).astimezone(UTC)
    except (TypeError, ValueError) as error:
        raise StorageUnavailable(
            f"{url} answered without a Date header, so its clock cannot be compared with ours. Is it an S3 store?"
        ) from error


def _context(ca: str | None) -> ssl.SSLContext:
    context = ssl.create_default_context()
    # What obstore's TLS accepts must do here too: private authorities often lack the extensions this flag asks for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca is not None:
        context.load_verify_locations(cadata=ca)
    return context


def _headers(opener: urllib.request.OpenerDirector, url: str, timeout: float) -> Message:
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - Location allows http and https only
    try:
        with opener.open(request, timeout=timeout) as answer:
            found: Message = answer.headers
    except urllib.error.HTTPError as refusal:
        with refusal:
            found = refusal.headers
    except (OSError, http.client.HTTPException) as error:
        reason = getattr(error, "reason", error)
        if isinstance(reason, ssl.SSLCertVerificationError):
            raise _untrusted(url, error) from error
        raise StorageUnavailable(f"{url} could not be asked for its time: {error}") from error
    return found


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The store's own answer has a Date, too; where it points to may be out of reach, and is another clock."""

    def redirect_request(self, *_arguments: object) -> None:
        return None


def _untrusted(url: str, error: Exception) -> UntrustedCertificate:
    return UntrustedCertificate(
        f"the certificate of {url} is not trusted: {error}. Put its authority's certificate (PEM) into a Secret, "
        "and name it in spec.s3.caBundleSecretRef of the BackupStorage."
    )
