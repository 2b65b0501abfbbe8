"""What only Azure's way of speaking brings: its refusals, in words for people, and a connection that does harm."""

from __future__ import annotations

import base64
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from iot_backup.errors import (
    AccessDenied,
    AlreadyExists,
    BucketMissing,
    InvalidSpec,
    SecretMissing,
    StorageUnavailable,
    UntrustedCertificate,
)
from iot_backup.storage.azure import AzureStore
from iot_backup.storage.azure_client import Location
from iot_backup.storage.s3_client import Timing
from tests.contract.conftest import container
from tests.contract.payload import PART, blocks, payload
from tests.minio.proxy import Fault, Harm, faulty

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from iot_backup.errors import IotBackupError
    from tests.azurite.server import Azurite

KEY = "chains/daily/20250102t030405z-0123456789abcdef.manifest.json"
QUICK = Timing(greeting=0.2, control=2, transfer=5, retry=3, first_wait=0.01, longest_wait=0.05)
PATIENT = replace(QUICK, greeting=20, control=20, transfer=60, retry=30)
"""For what must be answered, also by a busy server."""
NOBODY = "https://127.0.0.1:1/plant7"
OTHER_KEY = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    ("changes", "error", "sentence"),
    [
        ({"key": OTHER_KEY}, AccessDenied, "does not accept the key in AZURE_STORAGE_KEY for account plant7"),
        ({"container": "nobody-made-it"}, BucketMissing, "container nobody-made-it does not exist at https://"),
        ({"ca": None}, UntrustedCertificate, "REQUESTS_CA_BUNDLE"),
        ({"ca": "no certificate"}, UntrustedCertificate, "must be PEM"),
        ({"endpoint": NOBODY}, StorageUnavailable, "nothing listens at"),
    ],
)
@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.create(KEY, b"body"),
        lambda store: store.create_stream(KEY, blocks(2 * PART)),
        lambda store: store.read(KEY),
        lambda store: store.head(KEY),
        lambda store: list(store.list("")),
        lambda store: list(store.stream(KEY)),
    ],
    ids=["create", "create_stream", "read", "head", "list", "stream"],
)
def test_a_refusal_says_what_is_wrong(
    azurite: Azurite, ask: Callable[[AzureStore], object], changes: dict[str, Any], error: type[IotBackupError], sentence: str
) -> None:
    changes = dict(changes)
    where = container(azurite, changes.pop("container", None) or azurite.container(), **changes)
    with pytest.raises(error) as caught:
        ask(AzureStore(where, "p", timing=QUICK if where.endpoint == NOBODY else PATIENT))
    assert sentence in caught.value.message
    assert azurite.key not in str(caught.value)
    assert OTHER_KEY not in str(caught.value)


def test_what_cannot_be_a_place_is_refused_before_anything_is_asked() -> None:
    with pytest.raises(SecretMissing, match="AZURE_STORAGE_ACCOUNT"):
        Location("backups", account="", key=OTHER_KEY)
    with pytest.raises(AccessDenied, match="must be base64"):
        Location("backups", account="a", key="no key!")
    with pytest.raises(InvalidSpec, match="is not an address"):
        Location("backups", account="a", key=OTHER_KEY, endpoint="127.0.0.1:10000")
    for name in ("Bad_Name", "ab", "a--b", "-ab", "a" * 64):
        with pytest.raises(InvalidSpec, match="cannot be the name of a container"):
            Location(name, account="a", key=OTHER_KEY)
    assert Location("backups", account="a", key=OTHER_KEY).url == "https://a.blob.core.windows.net"
    assert OTHER_KEY not in repr(Location("backups", account="a", key=OTHER_KEY))


@pytest.fixture
def harmed(azurite: Azurite) -> Iterator[tuple[AzureStore, AzureStore, Any]]:
    """A store behind a proxy, the same one without it, and the proxy."""
    with faulty(azurite) as proxy:
        where = azurite.container()
        behind = container(azurite, where, endpoint=f"{proxy.endpoint}/{azurite.account}", ca=None)
        yield AzureStore(behind, "p", timing=PATIENT), AzureStore(container(azurite, where), "p"), proxy


@pytest.mark.parametrize("harm", [Harm.STORE_THEN_500, Harm.STORE_THEN_CLOSE, Harm.REFUSE, Harm.CLOSE_MID_UPLOAD])
def test_a_small_object_is_stored_or_known_to_be_uncertain(harmed: tuple[AzureStore, AzureStore, Any], harm: Harm) -> None:
    store, plain, proxy = harmed
    proxy.faults.append(Fault(harm, "PUT", KEY))
    try:
        store.create(KEY, b"body")
    except (AlreadyExists, StorageUnavailable):
        assert harm is not Harm.REFUSE
    else:
        assert plain.read(KEY) == b"body"
    assert proxy.faults[0].hits == 1


@pytest.mark.parametrize("harm", [Harm.STORE_THEN_500, Harm.STORE_THEN_CLOSE, Harm.REFUSE, Harm.CLOSE_MID_UPLOAD])
def test_a_large_object_survives_a_broken_connection(harmed: tuple[AzureStore, AzureStore, Any], harm: Harm) -> None:
    store, plain, proxy = harmed
    proxy.faults += [Fault(harm, "PUT", "comp=block&"), Fault(harm, "PUT", "comp=blocklist")]
    try:
        store.create_stream(KEY, blocks(3 * PART), size_hint=3 * PART)
    except StorageUnavailable:
        assert harm is Harm.CLOSE_MID_UPLOAD
    else:
        assert b"".join(plain.stream(KEY)) == payload(3 * PART)


def test_a_silent_store_is_given_up(harmed: tuple[AzureStore, AzureStore, Any]) -> None:
    store, _, proxy = harmed
    proxy.faults.append(Fault(Harm.STORE_THEN_STALL, "PUT", KEY, times=100))
    began = time.monotonic()
    with pytest.raises(StorageUnavailable, match="does not answer in time; whether it was stored is unknown"):
        AzureStore(store.location, "p", timing=QUICK).create(KEY, b"body")
    assert time.monotonic() - began < 30


def test_the_clock_is_the_servers(azurite: Azurite) -> None:
    store = AzureStore(container(azurite, azurite.container()), "p")
    before = time.time()
    told = store.now().timestamp()
    assert before - 5 < told < time.time() + 5
