"""What obstore cannot ask of S3, by boto3, which costs a quarter of a second: so only who needs it comes here."""

from __future__ import annotations

import logging
import os
from contextlib import closing, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import boto3  # type: ignore[import-untyped]
from botocore.config import Config  # type: ignore[import-untyped]
from botocore.exceptions import BotoCoreError, ClientError  # type: ignore[import-untyped]

from iot_backup.errors import StorageUnavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iot_backup.storage.s3_client import Location

TIMEOUT = 10
"""Seconds for one question."""
_MAY_NOT = (401, 403, 405, 501)
"""HTTP: credentials without the right, and servers that know no such question."""
_log = logging.getLogger(__name__)


def lock_and_versions(where: Location) -> tuple[bool, bool]:
    """Whether the bucket has object lock, and versioning; a store that does not answer has neither."""

    def answer(question: Callable[[], Any]) -> dict[str, Any]:
        try:
            return dict(question())
        except (BotoCoreError, ClientError):
            return {}

    with _client(where) as client:
        lock = answer(lambda: client.get_object_lock_configuration(Bucket=where.bucket))
        versions = answer(lambda: client.get_bucket_versioning(Bucket=where.bucket))
    return lock.get("ObjectLockConfiguration", {}).get("ObjectLockEnabled") == "Enabled", versions.get("Status") == "Enabled"


def abort_uploads(where: Location, path: str) -> None:
    """Abort every upload of this very path that was begun and not completed: no listing of objects shows its parts, and they are paid for.

    StorageUnavailable where nobody can tell. Where the store lets us not do it, that is logged and no error: nothing is wrong with any backup.
    """
    try:
        with _client(where) as client:
            pages = client.get_paginator("list_multipart_uploads").paginate(Bucket=where.bucket, Prefix=path)
            for upload in [each for page in pages for each in page.get("Uploads", []) if each["Key"] == path]:
                _abort(client, where, upload)
    except ClientError as error:
        if error.response.get("ResponseMetadata", {}).get("HTTPStatusCode") not in _MAY_NOT:
            raise _unavailable(where, path, error) from error
        _log.warning(
            "an unfinished upload of %s may stay in bucket %s, and be paid for: %s. Let the credentials s3:ListBucketMultipartUploads and "
            "s3:AbortMultipartUpload, or give the bucket a lifecycle rule that ends such uploads after some days.",
            path,
            where.bucket,
            error.response.get("Error", {}).get("Code", "refused"),
        )
    except BotoCoreError as error:
        raise _unavailable(where, path, error) from error


def _abort(client: Any, where: Location, upload: dict[str, Any]) -> None:
    with suppress(client.exceptions.NoSuchUpload):  # gone meanwhile
        client.abort_multipart_upload(Bucket=where.bucket, Key=upload["Key"], UploadId=upload["UploadId"])


def _unavailable(where: Location, path: str, error: Exception) -> StorageUnavailable:
    return StorageUnavailable(f"bucket {where.bucket} did not say which uploads of {path} were never completed: {error}")


@contextmanager
def _client(where: Location) -> Iterator[Any]:
    style = "path" if where.path_style else "virtual"
    with _ca_file(where.ca) as ca:
        client = boto3.client(
            "s3",
            endpoint_url=where.endpoint,
            region_name=where.region,
            aws_access_key_id=where.access_key_id,
            aws_secret_access_key=where.secret_access_key,
            verify=ca,
            config=Config(s3={"addressing_style": style}, connect_timeout=TIMEOUT, read_timeout=TIMEOUT, retries={"total_max_attempts": 2}),
        )
        with closing(client):
            yield client


@contextmanager
def _ca_file(pem: str | None) -> Iterator[str | None]:
    """boto3 takes a path only; a file in memory has one, also where the root file system is read-only."""
    if pem is None:
        yield None
        return
    descriptor = os.memfd_create("ca.pem")
    try:
        os.write(descriptor, pem.encode())
        yield f"/proc/self/fd/{descriptor}"
    finally:
        os.close(descriptor)
