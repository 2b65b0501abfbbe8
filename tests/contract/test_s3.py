"""What only a bucket can do wrong, told by a real server; and what a large object costs."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from iot_backup.errors import (
    AccessDenied,
    BucketMissing,
    InvalidSpec,
    IotBackupError,
    StorageFull,
    StorageUnavailable,
    UntrustedCertificate,
)
from iot_backup.storage import s3_client
from iot_backup.storage.s3 import S3Store
from iot_backup.storage.s3_client import Location, Timing
from iot_backup.storage.s3_upload import IN_FLIGHT, MOST_PARTS, SMALLEST_PART, Parts, in_flight, part_size
from tests.contract.conftest import location
from tests.contract.payload import PART, payload
from tests.minio import accounts
from tests.minio.proxy import Fault, Harm, faulty
from tests.minio.server import running
from tests.mounting import disk

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.minio.server import Minio

KEY = "chains/daily/20250102t030405z-0123456789abcdef.full.tar.zst"
NOBODY = "https://127.0.0.1:1"
"""Is asked again and again, in case somebody comes."""
QUICK = Timing(greeting=0.6, connect=1, control=2, transfer=5, idle=2, retry=0.5, first_wait=0.02, longest_wait=0.1)

PATIENT = Timing(greeting=20, connect=20)
"""For a clear answer, however long a busy server, or a resolver without name servers, takes to give it."""

CALLS: dict[str, Callable[[S3Store], object]] = {
    "create": lambda store: store.create(KEY, b"x"),
    "stream": lambda store: store.create_stream(KEY, (bytes(1 << 20) for _ in range(9))),
    "read": lambda store: store.read(KEY),
    "range": lambda store: store.read_range(KEY, 0, 1),
    "download": lambda store: next(store.stream(KEY)),
    "head": lambda store: store.head(KEY),
    "list": lambda store: list(store.list("chains/")),
    "delete": lambda store: store.delete(KEY),
}


@pytest.fixture(scope="module")
def bucket(minio: Minio) -> str:
    return minio.bucket()


CASES = dict(
    zip(
        ("bucket", "access key", "secret key", "certificate", "refused", "dns", "virtual host"),
        [
            (
                {"bucket": "no-such-bucket"},
                BucketMissing,
                r"bucket no-such-bucket does not exist at https://127\.0\.0\.1:\d+\. Create it, or correct",
            ),
            ({"access_key_id": "nobody-we-know"}, AccessDenied, r"does not know the access key in Secret backup-s3\. Put a valid"),
            (
                {"secret_access_key": "wrong-secret-key"},
                AccessDenied,
                r"the secret key in Secret backup-s3 does not belong to its access key",
            ),
            ({"ca": None}, UntrustedCertificate, r"not signed by an authority this run trusts.*name it in spec\.s3\.caBundleSecretRef"),
            ({"endpoint": NOBODY}, StorageUnavailable, r"nothing listens at https://127\.0\.0\.1:1 \(connection refused\)"),
            (
                {"endpoint": "https://no-such-host.invalid"},
                StorageUnavailable,
                r"the host of https://no-such-host\.invalid cannot be found \(DNS\)",
            ),
            (
                {"path_style": False, "endpoint": "https://no-such-host.invalid"},
                StorageUnavailable,
                r"cannot be found.*need spec\.s3\.pathStyle: true",
            ),
        ],
        strict=True,
    )
)
RESOLVED = ("dns", "virtual host")
"""A resolver without name servers takes seconds to give up: one call tells enough."""


@pytest.mark.parametrize(
    ("call", "changes", "error", "words"),
    [pytest.param(call, *case, id=f"{name}-{call}") for name, case in CASES.items() for call in (("read",) if name in RESOLVED else CALLS)],
)
def test_each_call_says_what_is_wrong_and_what_to_do(
    minio: Minio, bucket: str, call: str, changes: dict[str, Any], error: type[IotBackupError], words: str
) -> None:
    where = replace(location(minio, bucket, credentials_from="Secret backup-s3"), **changes)
    timing = QUICK if where.endpoint == NOBODY else PATIENT
    store = S3Store(where, timing=timing)
    with pytest.raises(error, match=words) as caught:
        CALLS[call](store)
    assert type(caught.value) is error
    for secret in (minio.secret_key, minio.access_key, "wrong-secret-key", "nobody-we-know"):
        assert secret not in caught.value.message


@pytest.mark.parametrize(
    ("endpoint", "style", "error", "words"),
    [
        ("http://127.0.0.1:{port}", True, InvalidSpec, r"wants TLS\. Write https://"),
        ("https://127.0.0.1:{other}", True, StorageUnavailable, r"does not speak TLS\. If that is meant, write http://"),
        ("https://{host}:{port}", True, UntrustedCertificate, r"is for another name\. Use a name it holds in spec\.s3\.endpoint\."),
    ],
    ids=["no tls to tls", "tls to no tls", "name"],
)
def test_a_wrong_scheme_or_name_is_told(
    minio: Minio, bucket: str, endpoint: str, style: bool, error: type[IotBackupError], words: str
) -> None:
    with faulty(minio) as proxy:
        other = proxy.endpoint.rpartition(":")[2]
        where = location(minio, bucket, endpoint=endpoint.format(port=minio.port, other=other, host=socket.gethostname()), path_style=style)
        with pytest.raises(error, match=words):
            S3Store(where, timing=replace(QUICK, control=20)).read(KEY)


@pytest.mark.parametrize("call", [name for name in CALLS if name != "delete"])
def test_credentials_without_the_right_are_told_what_they_lack(minio: Minio, bucket: str, call: str) -> None:
    access_key_id, secret_access_key = accounts.create(minio, accounts.allow("GetBucketLocation"))
    where = location(minio, bucket, access_key_id=access_key_id, secret_access_key=secret_access_key)
    with pytest.raises(AccessDenied, match=r"may not (write|read|list) .* below the repository's root") as caught:
        CALLS[call](S3Store(where, timing=PATIENT))
    assert type(caught.value) is AccessDenied


def test_a_full_store_is_told_and_publishes_nothing(minio_binary: Path, tmp_path: Path) -> None:
    with disk(tmp_path / "disk", "40m") as small, running(minio_binary, tmp_path / "server", data=small / "data") as server:
        bucket = server.bucket()
        store = S3Store(location(server, bucket), timing=replace(PATIENT, retry=QUICK.retry))
        # Parts go up at once, and of each MinIO says something else: 500 and 507, but 404 NoSuchUpload too. One of them is heard.
        with pytest.raises((StorageFull, StorageUnavailable), match=r"the store is full or its quota|NoSuchUpload.* Is it full"):
            store.create_stream(KEY, (bytes(1 << 20) for _ in range(200)))
        assert server.keys(bucket) == set()
        assert server.open_uploads(bucket, KEY) == []


def begun(minio: Minio, bucket: str, key: str) -> None:
    """An upload as a kill leaves it."""
    client = minio.client()
    upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
    client.upload_part(Bucket=bucket, Key=key, UploadId=upload, PartNumber=1, Body=bytes(SMALLEST_PART))


def test_uploads_that_were_never_completed_go_and_others_stay(minio: Minio) -> None:
    bucket = minio.bucket()
    store = S3Store(location(minio, bucket), "ns/plant-7", timing=PATIENT)
    other, longer = (f"ns/plant-7/{key}" for key in ("another", f"{KEY}.more"))
    for key in (f"ns/plant-7/{KEY}", f"ns/plant-7/{KEY}", other, longer):
        begun(minio, bucket, key)
    store.abandon(KEY)
    assert [minio.open_uploads(bucket, key) for key in (f"ns/plant-7/{KEY}", other, longer)] == [[], [other], [longer]]


def test_credentials_that_may_abort_nothing_are_told_what_would_help(minio: Minio, caplog: pytest.LogCaptureFixture) -> None:
    bucket = minio.bucket()
    begun(minio, bucket, KEY)
    access_key_id, secret_access_key = accounts.create(minio, accounts.allow("GetObject", "DeleteObject"))
    S3Store(location(minio, bucket, access_key_id=access_key_id, secret_access_key=secret_access_key), timing=PATIENT).abandon(KEY)
    assert minio.open_uploads(bucket, KEY) == [KEY]
    (record,) = caplog.records
    assert "AccessDenied. Let the credentials s3:ListBucketMultipartUploads and s3:AbortMultipartUpload" in record.getMessage()


@pytest.mark.parametrize(("method", "part"), [("GET", "uploads"), ("DELETE", "uploadId=")])
def test_a_store_that_does_not_say_what_it_keeps_is_asked_again_another_day(minio: Minio, method: str, part: str) -> None:
    bucket = minio.bucket()
    begun(minio, bucket, KEY)
    with faulty(minio) as proxy:
        proxy.faults = [Fault(Harm.REFUSE, method, part, 9999)]
        with pytest.raises(StorageUnavailable, match=f"bucket {bucket} did not say which uploads of {KEY}"):
            S3Store(location(minio, bucket, endpoint=proxy.endpoint, ca=None), timing=QUICK).abandon(KEY)


def test_an_untrusted_certificate_is_told_at_once_and_not_after_minutes_of_retries(minio: Minio, bucket: str) -> None:
    patient = Timing(retry=600, first_wait=300, longest_wait=300)
    program = (
        "from iot_backup.storage.s3 import S3Store\nfrom iot_backup.storage.s3_client import Location, Timing\n"
        f"store = S3Store(Location({bucket!r}, endpoint={minio.endpoint!r}, path_style=True, access_key_id='a', secret_access_key='b'),\n"
        f"  timing={patient!r})\n"
        "try: store.read('repo.json')\nexcept Exception as error: print(type(error).__name__)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": "operator"}, capture_output=True, text=True, check=True, timeout=120
    )
    assert done.stdout == "UntrustedCertificate\n"


def test_a_large_object_goes_up_and_comes_down_in_constant_memory(minio: Minio, bucket: str) -> None:
    """200 MB each way, in a process of its own whose peak is what counts."""
    where = location(minio, bucket)
    facts = {name: getattr(where, name) for name in ("bucket", "endpoint", "path_style", "access_key_id", "secret_access_key", "ca")}
    program = (
        "import json, resource, sys\nfrom iot_backup.storage.s3 import S3Store\nfrom iot_backup.storage.s3_client import Location\n"
        "store = S3Store(Location(**json.load(sys.stdin)), 'large')\nstore.now()\n"
        "def status(): return int(next(l for l in open('/proc/self/status') if l.startswith('VmHWM')).split()[1]) >> 10\n"
        "before = status()\nbuffer = bytearray(b'\\1' * (7 << 20))\n"
        "store.create_stream('x', (memoryview(buffer) for _ in range(28)))\nup = status()\n"
        "total = sum(map(len, store.stream('x')))\nprint(total, up - before, status() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": "operator"}, input=json.dumps(facts), capture_output=True, text=True, check=True
    )
    total, up, both = map(int, done.stdout.split())
    assert total == 28 * (7 << 20)
    assert up < 80, f"{up} MiB for an upload"
    assert both < 100, f"{both} MiB for upload and download"


def test_a_stream_of_several_parts_is_uploaded_in_several_parts(minio: Minio) -> None:
    bucket = minio.bucket()
    S3Store(location(minio, bucket)).create_stream(KEY, (bytes(1 << 20) for _ in range(17)))
    assert minio.client().head_object(Bucket=bucket, Key=KEY)["ETag"].endswith('-4"')


@pytest.mark.parametrize("conditional", [True, False])
def test_an_object_is_made_for_the_bucket_with_a_lock(minio: Minio, *, conditional: bool) -> None:
    bucket = minio.bucket(object_lock=True)
    rule = {"ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 1}}}
    minio.client().put_object_lock_configuration(Bucket=bucket, ObjectLockConfiguration=rule)  # type: ignore[typeddict-item]
    store = S3Store(location(minio, bucket), conditional_writes=conditional)
    store.create("repo.json", b"x")
    store.create_stream(KEY, (bytes(1 << 20) for _ in range(17)))
    assert store.head(KEY).size == 17 << 20


def test_a_listing_passes_over_a_consoles_folder_markers(minio: Minio) -> None:
    bucket = minio.bucket()
    for key in ("root/", "root/chains/", "root/chains/a"):
        minio.client().put_object(Bucket=bucket, Key=key, Body=b"")
    store = S3Store(location(minio, bucket), "root")
    assert "chains/a" in {info.key for info in store.list("")}
    assert [info.key for info in store.list("chains/")] == ["chains/a"]


@pytest.mark.parametrize(
    ("hint", "size"),
    [(0, SMALLEST_PART), (1, SMALLEST_PART), (9000 * SMALLEST_PART, SMALLEST_PART), (9000 * SMALLEST_PART + 1, SMALLEST_PART + (1 << 20)),
     (5 << 40, 583 << 20)],
)  # fmt: skip
def test_parts_grow_with_the_hint_so_that_their_number_stays_allowed(hint: int, size: int) -> None:
    assert part_size(hint) == size
    assert -(-hint // size) <= MOST_PARTS


@pytest.mark.parametrize(("mebibytes", "count"), [(5, IN_FLIGHT), (10, IN_FLIGHT), (16, 2), (17, 1), (600, 1)])
def test_few_large_parts_are_under_way_at_once(mebibytes: int, count: int) -> None:
    assert in_flight(mebibytes << 20) == count


@pytest.mark.parametrize("size", [1, PART - 1, PART, PART + 1, 2 * PART, 2 * PART + 1])
@pytest.mark.parametrize("step", [PART // 8, PART, 3 * PART])
def test_parts_have_one_size_whatever_the_chunks(size: int, step: int) -> None:
    body = payload(size)
    parts = Parts((body[at : at + step] for at in range(0, size, step)), PART)
    if size < PART:
        assert parts.only() == body
        return
    assert parts.only() is None
    found = list(parts)
    assert {len(part) for part in found[:-1]} <= {PART}
    assert b"".join(found) == body
    assert parts.total == size


@pytest.mark.parametrize(
    ("where", "url", "bucket_url"),
    [
        (Location("b"), "https://s3.us-east-1.amazonaws.com", "https://b.s3.us-east-1.amazonaws.com"),
        (Location("b", endpoint="https://minio:9000/", path_style=True), "https://minio:9000", "https://minio:9000"),
        (Location("b", endpoint="https://minio:9000"), "https://minio:9000", "https://b.minio:9000"),
        (
            Location("b", region="eu-central-1", path_style=True),
            "https://s3.eu-central-1.amazonaws.com",
            "https://s3.eu-central-1.amazonaws.com",
        ),
    ],
)
def test_requests_go_to_the_right_host(where: Location, url: str, bucket_url: str) -> None:
    assert (where.url, where.bucket_url) == (url, bucket_url)
    assert s3_client.client(where, *s3_client.control(Timing())).config["virtual_hosted_style_request"] is not where.path_style


def test_plain_http_needs_the_scheme_spelled_out() -> None:
    with pytest.raises(InvalidSpec, match=r"spec\.s3\.endpoint"):
        Location("b", endpoint="127.0.0.1:9000")


def test_a_location_shows_no_secret() -> None:
    where = Location("b", access_key_id="the-id", secret_access_key="the-secret", ca="the-pem")
    assert "the-" not in repr(where)
