"""As much S3 as the harness needs: create a bucket, signed with version 4, standard library only."""

from __future__ import annotations

import hashlib
import hmac
import ssl
import urllib.error
import urllib.request
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from pathlib import Path

REGION = "us-east-1"
EMPTY = hashlib.sha256(b"").hexdigest()
TIMEOUT = 10
"""Seconds for one request."""


def create_bucket(endpoint: str, ca: Path, user: str, password: str, bucket: str) -> None:
    """Create the bucket unless it is there."""
    headers = signed_headers("PUT", endpoint, f"/{bucket}", user, password, datetime.now(UTC))
    request = urllib.request.Request(f"{endpoint}/{bucket}", method="PUT", headers=headers)
    direct = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=str(ca))),
    )
    try:
        direct.open(request, timeout=TIMEOUT).close()
    except urllib.error.HTTPError as error:
        answer = error.read().decode(errors="replace")
        if "BucketAlreadyOwnedByYou" not in answer:
            raise ClusterError(f"cannot create bucket {bucket} at {endpoint}: {error.code} {answer}") from error


def signed_headers(method: str, endpoint: str, path: str, user: str, password: str, now: datetime) -> dict[str, str]:
    """Return the headers of a request without a body or a query."""
    stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
    headers = {"host": urlsplit(endpoint).netloc, "x-amz-content-sha256": EMPTY, "x-amz-date": stamp}
    names = ";".join(headers)
    lines = "".join(f"{name}:{value}\n" for name, value in headers.items())
    canonical = f"{method}\n{path}\n\n{lines}\n{names}\n{EMPTY}"
    scope = f"{day}/{REGION}/s3/aws4_request"
    text = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
    key = f"AWS4{password}".encode()
    for part in (day, REGION, "s3", "aws4_request", text):
        key = hmac.digest(key, part.encode(), "sha256")
    authorization = f"AWS4-HMAC-SHA256 Credential={user}/{scope}, SignedHeaders={names}, Signature={key.hex()}"
    return {**headers, "authorization": authorization}
