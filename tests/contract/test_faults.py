"""A store that stumbles, lies and hangs up: the outcome is what the contract says, and never a false success."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from iot_backup.errors import AlreadyExists, NotFound, StorageUnavailable
from iot_backup.storage.s3 import S3Store
from iot_backup.storage.s3_client import Timing
from tests.contract.conftest import location
from tests.contract.payload import PART, blocks, payload
from tests.minio.proxy import Fault, Harm, Proxy, faulty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.minio.server import Minio

KEY = "chains/daily/20250102t030405z-0123456789abcdef.manifest.json"
SIZE = 3 * PART + 17
QUICK = Timing(greeting=0.6, connect=1, control=0.6, transfer=3, idle=0.6, retry=1, first_wait=0.02, longest_wait=0.1)
"""As in earnest, but a stall is over soon."""
PERSISTENT = replace(QUICK, greeting=20, retry=20, transfer=10)
"""For what the second or third attempt must mend, also on a busy machine."""
LARGE_STALL = replace(PERSISTENT, transfer=3, retry=1, control=10)
"""A part that stalls is given up soon, and there is time to clear the upload away."""
PATIENCE = 60.0
"""Seconds after which a call counts as hanging."""


@pytest.fixture
def proxy(minio: Minio) -> Iterator[Proxy]:
    with faulty(minio) as running:
        yield running


@pytest.fixture
def bucket(minio: Minio) -> str:
    return minio.bucket()


@pytest.fixture
def store(minio: Minio, proxy: Proxy, bucket: str) -> S3Store:
    return S3Store(location(minio, bucket, endpoint=proxy.endpoint, ca=None), timing=QUICK)


@pytest.fixture
def persistent(minio: Minio, proxy: Proxy, bucket: str) -> S3Store:
    return S3Store(location(minio, bucket, endpoint=proxy.endpoint, ca=None), timing=PERSISTENT)


@pytest.fixture
def in_time() -> Iterator[None]:
    start = time.monotonic()
    yield
    assert time.monotonic() - start < PATIENCE


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize(
    ("harm", "times", "error"),
    [
        # Answered by a retry: it meets our own object, and only the caller can know that by comparing.
        (Harm.STORE_THEN_500, 1, AlreadyExists),
        (Harm.STORE_THEN_CLOSE, 1, (AlreadyExists, StorageUnavailable)),
        (Harm.STORE_THEN_STALL, 1, (AlreadyExists, StorageUnavailable)),
        (Harm.STORE_THEN_STALL, 99, (AlreadyExists, StorageUnavailable)),
    ],
)
def test_a_create_that_was_stored_but_not_confirmed_is_no_success_and_can_be_compared(
    minio: Minio,
    proxy: Proxy,
    store: S3Store,
    persistent: S3Store,
    bucket: str,
    harm: Harm,
    times: int,
    error: type[Exception] | tuple[type[Exception], ...],
) -> None:
    proxy.faults = [Fault(harm, "PUT", KEY, times)]
    with pytest.raises(error):
        (persistent if times == 1 else store).create(KEY, b"signed")
    proxy.faults = []
    assert persistent.read(KEY) == minio.body(bucket, KEY) == b"signed"


@pytest.mark.usefixtures("in_time")
def test_a_create_that_never_reached_the_store_is_unknown(proxy: Proxy, store: S3Store, minio: Minio, bucket: str) -> None:
    proxy.faults = [Fault(Harm.CLOSE_MID_UPLOAD, "PUT", KEY, 9999)]
    with pytest.raises(StorageUnavailable, match="whether it was stored is unknown"):
        store.create(KEY, payload(100_000))
    assert minio.keys(bucket) == set()


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("harm", [Harm.REFUSE, Harm.CLOSE_MID_UPLOAD])
def test_a_store_that_stumbles_is_asked_again(proxy: Proxy, persistent: S3Store, harm: Harm) -> None:
    proxy.faults = [Fault(harm, "PUT", KEY, 2)]
    persistent.create(KEY, payload(100_000))
    assert proxy.faults[0].hits == 2
    assert persistent.read(KEY) == payload(100_000)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("harm", [Harm.REFUSE, Harm.CLOSE_MID_UPLOAD, Harm.STORE_THEN_500, Harm.STORE_THEN_CLOSE])
def test_a_part_that_fails_is_sent_again(minio: Minio, proxy: Proxy, persistent: S3Store, bucket: str, harm: Harm) -> None:
    proxy.faults = [Fault(harm, "PUT", "partNumber=2", 2)]
    persistent.create_stream(KEY, blocks(SIZE), size_hint=SIZE)
    assert proxy.faults[0].hits == 2
    assert minio.body(bucket, KEY) == payload(SIZE)


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("harm", [Harm.REFUSE, Harm.CLOSE_MID_UPLOAD, Harm.STORE_THEN_STALL])
def test_a_part_that_never_arrives_publishes_nothing_and_leaves_no_upload(minio: Minio, proxy: Proxy, bucket: str, harm: Harm) -> None:
    store = S3Store(location(minio, bucket, endpoint=proxy.endpoint, ca=None), timing=LARGE_STALL)
    proxy.faults = [Fault(harm, "PUT", "partNumber=2", 9999)]
    with pytest.raises(StorageUnavailable, match=KEY):
        store.create_stream(KEY, blocks(SIZE))
    assert minio.keys(bucket) == set()
    assert minio.open_uploads(bucket, KEY) == []


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("harm", [Harm.STORE_THEN_500, Harm.STORE_THEN_CLOSE, Harm.STORE_THEN_STALL])
def test_a_stream_completed_but_not_confirmed_is_whole_if_it_counts_as_stored(
    minio: Minio, proxy: Proxy, persistent: S3Store, bucket: str, harm: Harm
) -> None:
    proxy.faults = [Fault(harm, "POST", "uploadId=")]
    try:
        persistent.create_stream(KEY, blocks(SIZE))
    except StorageUnavailable as error:
        assert "unknown" in str(error)  # noqa: PT017 - either outcome is right
    assert minio.body(bucket, KEY) == payload(SIZE)


@pytest.mark.usefixtures("in_time")
def test_an_object_that_vanishes_before_it_is_looked_at_is_no_success(minio: Minio, persistent: S3Store, bucket: str) -> None:
    def taken_away() -> Iterator[bytes]:
        yield from blocks(SIZE)

    real = persistent._compare

    def compare(*arguments: object) -> None:
        minio.client().delete_object(Bucket=bucket, Key=KEY)
        real(*arguments)  # type: ignore[arg-type]

    persistent._compare = compare  # type: ignore[method-assign]
    with pytest.raises(StorageUnavailable, match="is not there"):
        persistent.create_stream(KEY, taken_away())


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize("conditional", [True, False])
def test_a_stream_overwritten_by_another_writer_is_no_success(minio: Minio, proxy: Proxy, bucket: str, *, conditional: bool) -> None:
    store = S3Store(location(minio, bucket), conditional_writes=conditional)
    real = store._compare

    def compare(*arguments: object) -> None:
        minio.client().put_object(Bucket=bucket, Key=KEY, Body=payload(SIZE)[::-1])
        real(*arguments)  # type: ignore[arg-type]

    store._compare = compare  # type: ignore[method-assign]
    with pytest.raises(AlreadyExists, match="somebody else"):
        store.create_stream(KEY, blocks(SIZE))


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize(
    "read",
    [
        lambda store: store.read(KEY, limit=SIZE),
        lambda store: b"".join(store.stream(KEY)),
        lambda store: store.read_range(KEY, 0, SIZE),
    ],
    ids=["read", "stream", "range"],
)
@pytest.mark.parametrize("times", [2, 9999])
def test_a_download_that_is_cut_is_whole_after_a_retry_or_an_error(
    minio: Minio, proxy: Proxy, store: S3Store, persistent: S3Store, bucket: str, read: Callable[[S3Store], bytes], times: int
) -> None:
    minio.client().put_object(Bucket=bucket, Key=KEY, Body=payload(SIZE))
    proxy.faults = [Fault(Harm.CLOSE_MID_DOWNLOAD, "GET", KEY, times)]
    try:
        assert read(persistent if times == 2 else store) == payload(SIZE)
    except StorageUnavailable:
        assert times > 2


@pytest.mark.usefixtures("in_time")
@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.read(KEY),
        lambda store: store.head(KEY),
        lambda store: list(store.list("")),
        lambda store: next(store.stream(KEY)),
    ],
    ids=["read", "head", "list", "stream"],
)
@pytest.mark.parametrize("harm", [Harm.STORE_THEN_STALL, Harm.REFUSE, Harm.STORE_THEN_CLOSE, Harm.NOT_FOUND_PAGE])
def test_no_clear_answer_is_never_taken_for_absence(
    minio: Minio, proxy: Proxy, store: S3Store, bucket: str, ask: Callable[[S3Store], object], harm: Harm
) -> None:
    minio.client().put_object(Bucket=bucket, Key=KEY, Body=b"there")
    proxy.faults = [Fault(harm, method, "", 9999) for method in ("GET", "HEAD")]
    with pytest.raises(StorageUnavailable, match=proxy.endpoint):
        ask(store)


@pytest.mark.usefixtures("in_time")
def test_a_deletion_that_was_done_but_not_confirmed_is_repeated(minio: Minio, proxy: Proxy, persistent: S3Store, bucket: str) -> None:
    minio.client().put_object(Bucket=bucket, Key=KEY, Body=b"x")
    proxy.faults = [Fault(Harm.STORE_THEN_500, "DELETE", KEY)]
    persistent.delete(KEY)
    assert minio.keys(bucket) == set()
    with pytest.raises(NotFound):
        persistent.read(KEY)
