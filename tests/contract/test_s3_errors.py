"""Answers that no test server gives on demand, as obstore words them; test_s3.py holds the rest to a real one."""

from __future__ import annotations

import pytest
from obstore.exceptions import GenericError, PermissionDeniedError

from iot_backup.errors import AccessDenied, InvalidSpec, IotBackupError, NotFound, StorageFull, StorageUnavailable
from iot_backup.storage.s3_client import Location
from iot_backup.storage.s3_errors import Attempt, explain

WHERE = Location("plant-backups", endpoint="https://minio:9000", path_style=True, credentials_from="Secret backup-s3")


def answer(status: str, body: str) -> str:
    return f"Generic S3 error: Error performing PUT https://minio:9000/b/k in 1ms - Server returned non-2xx status code: {status}: {body}"


def xml(code: str, message: str = "words") -> str:
    return f"<Error><Code>{code}</Code><Message>{message}</Message><StringToSign>AWS4 THE-SECRET</StringToSign></Error>"


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        (answer("507 Insufficient Storage", xml("XMinioStorageFull")), StorageFull, "quota is used up (XMinioStorageFull)"),
        (answer("507 Insufficient Storage", ""), StorageFull, "quota is used up (507)"),
        (answer("500 Internal Server Error", xml("InternalError", "cause(no space left on device)")), StorageFull, "the store is full"),
        (answer("400 Bad Request", xml("XMinioAdminBucketQuotaExceeded")), StorageFull, "quota is used up"),
        (
            answer("301 Moved", xml("PermanentRedirect")),
            InvalidSpec,
            "is not in region us-east-1 (PermanentRedirect). Correct spec.s3.region",
        ),
        (answer("400 Bad Request", xml("AuthorizationHeaderMalformed")), InvalidSpec, "Correct spec.s3.region"),
        (answer("400 Bad Request", xml("InvalidBucketName")), InvalidSpec, "'plant-backups' cannot be the name of a bucket"),
        (answer("403 Forbidden", xml("RequestTimeTooSkewed")), StorageUnavailable, "its clock and this node's differ too much"),
        (answer("403 Forbidden", xml("AccessDenied")), AccessDenied, "may not write a/key in bucket plant-backups"),
        (answer("400 Bad Request", xml("ExpiredToken")), AccessDenied, "(ExpiredToken). Allow the credentials in Secret backup-s3"),
        (answer("503 Slow Down", xml("SlowDown")), StorageUnavailable, "answered SlowDown status 503; whether it was stored is unknown."),
        (
            answer("404 Not Found", xml("NoSuchUpload")),
            StorageUnavailable,
            "no longer knows the upload (NoSuchUpload); whether it was stored is unknown. Is it full",
        ),
        (answer("404 Not Found", xml("NoSuchKey")), NotFound, "a/key is not in bucket plant-backups"),
        (answer("404 Not Found", "<html>"), StorageUnavailable, "not as an S3 store does"),
        (answer("502 Bad Gateway", "<html>THE-SECRET"), StorageUnavailable, "answered status 502"),
        (
            "Generic S3 error: something THE-SECRET new",
            StorageUnavailable,
            "the connection failed or broke; whether it was stored is unknown.",
        ),
    ],
)
def test_an_answer_becomes_an_error_for_people(text: str, error: type[IotBackupError], words: str) -> None:
    kind = PermissionDeniedError if "403" in text else GenericError
    found = explain(kind(text), Attempt(WHERE, "write", "a/key"))
    assert type(found) is error
    assert words in found.message
    assert "THE-SECRET" not in found.message
