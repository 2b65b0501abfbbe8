"""A store's clock, from the Date header of any answer: obstore does not show headers."""

from __future__ import annotations

import ssl
import urllib.error
import urllib.request
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from iot_backup.errors import StorageUnavailable, UntrustedCertificate


def store_time(url: str, ca: str | None, timeout: float) -> datetime:
    """The time at `url`, UTC, whole seconds. No credentials are sent: a refusal has a Date as well."""
    context = ssl.create_default_context()
    # What obstore's TLS accepts must do here too: private authorities often lack the extensions this flag asks for.
    context.verify_flags &= ~ssl.VERIFY_X509_STRICT
    if ca is not None:
        context.load_verify_locations(cadata=ca)
    request = urllib.request.Request(url, method="HEAD")  # noqa: S310 - Location allows http and https only
    opener = urllib.request.build_opener(urllib.request.HTTPSHandler(context=context), _NoRedirect)
    try:
        with opener.open(request, timeout=timeout) as answer:
            headers = answer.headers
    except urllib.error.HTTPError as refusal:
        with refusal:
            headers = refusal.headers
    except ssl.SSLError as error:
        raise _untrusted(url, error) from error
    except OSError as error:
        if isinstance(getattr(error, "reason", None), ssl.SSLCertVerificationError):
            raise _untrusted(url, error) from error
        raise StorageUnavailable(f"{url} could not be asked for its time: {error}") from error
    try:
        return parsedate_to_datetime(headers["Date"]).astimezone(UTC)
    except (TypeError, ValueError) as error:
        raise StorageUnavailable(
            f"{url} answered without a Date header, so its clock cannot be compared with ours. Is it an S3 store?"
        ) from error


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The store's own answer has a Date, too; where it points to may be out of reach, and is another clock."""

    def redirect_request(self, *_arguments: object) -> None:
        return None


def _untrusted(url: str, error: Exception) -> UntrustedCertificate:
    return UntrustedCertificate(
        f"the certificate of {url} is not trusted: {error}. Put its authority's certificate (PEM) into a Secret, "
        "and name it in spec.s3.caBundleSecretRef of the BackupStorage."
    )
