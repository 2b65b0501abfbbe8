"""Manifests: what they say, that they read back, what they refuse."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from iot_backup.core import manifest as manifests
from iot_backup.core import signed
from iot_backup.core.layout import Member
from iot_backup.core.manifest import Compression, Counts, Manifest, Owner, Parent, Source, StoredObject
from iot_backup.errors import CorruptData

STARTED = datetime(2026, 11, 23, 17, 5, 9, tzinfo=UTC)
OBJECT = StoredObject(size=5, sha256="ab" * 32, header_sha256="cd" * 32)


def manifest(**changes: Any) -> Manifest:
    facts: dict[str, Any] = {
        "tool": "iot-backup-operator 0.1.0",
        "repository_id": "0f" * 16,
        "namespace": "iot-system",
        "chain": "database",
        "id": "0123456789abcdef",
        "type": "Full",
        "seq": 7,
        "start_time": STARTED,
        "snapshot_time": STARTED + timedelta(seconds=1, microseconds=5),
        "completion_time": STARTED + timedelta(seconds=9),
        "writer": "fedcba9876543210",
        "cipher": "Age",
        "recipient": "age1x",
        "compression": Compression(algorithm="Zstd", level=1),
        "archive": OBJECT,
        "index": OBJECT,
        "counts": Counts(files=3, entries=5, folders=2, source_bytes=10),
        "root_owner": Owner(uid=999, gid=1000630000),
        "source": Source(claim="data", path="db", job="database-full"),
    }
    return Manifest(**(facts | changes))


def file_of(made: Manifest) -> bytes:
    return signed.closed(manifests.signable(made), bytes(64))


def test_reads_back_what_was_written() -> None:
    made = manifest(restore="by hand", partial=True)
    read, body, signature = manifests.decoded(file_of(made))
    assert read == made
    assert (body, signature) == (manifests.signable(made), bytes(64))


def test_is_json_for_people() -> None:
    document = json.loads(file_of(manifest()))
    assert document["format"] == "iot-backup-operator/manifest/v1"
    assert document["startTime"] == "2026-11-23T17:05:09Z"
    assert document["rootOwner"] == {"uid": 999, "gid": 1000630000}
    assert document["archive"]["headerSha256"] == "cd" * 32
    assert document["state"] is None
    assert list(document)[-1] == "signature"
    assert all(len(line) < 400 for line in file_of(manifest()).decode().splitlines())


def test_names_the_objects_of_its_member() -> None:
    assert manifest().member == Member("database", STARTED, "0123456789abcdef")
    assert manifest().archive_key == "chains/database/20261123t170509z-0123456789abcdef.full.tar.zst.age"
    assert manifest(cipher="None", recipient=None).archive_key.endswith(".full.tar.zst")


def test_times_are_utc_whatever_they_came_as() -> None:
    east = manifest(start_time=STARTED.astimezone(timezone(timedelta(hours=5))))
    assert file_of(east) == file_of(manifest())
    assert east.member == manifest().member


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 0},
        {"id": "0123"},
        {"id": "../../../../etc/"},
        {"chain": "a/b"},
        {"namespace": "A"},
        {"writer": "x" * 16},
        {"cipher": "Age", "recipient": None},
        {"cipher": "None", "recipient": "age1x"},
        {"cipher": "Rot13"},
        {"type": "Full", "parent": Parent(id="0" * 16, manifest_sha256="0" * 64)},
        {"type": "Incremental"},
        {"start_time": STARTED.replace(tzinfo=None)},
        {"clock_skew_seconds": float("nan")},
        {"counts": {"files": -1}},
        {"generation": 0},
        {"format": "iot-backup-operator/manifest/v2"},
    ],
)
def test_refuses_what_contradicts_itself_or_the_format(changes: dict[str, Any]) -> None:
    document = manifest().model_dump(mode="json")
    made = {k: v.model_dump() if hasattr(v, "model_dump") else v for k, v in changes.items()}
    made = {k: v.isoformat() if isinstance(v, datetime) else v for k, v in made.items()}
    text = json.dumps(document | made, indent=2)
    with pytest.raises(CorruptData, match=r"cannot be read: .+"):
        manifests.decoded(signed.closed(signed.signable(text), bytes(64)))


def test_ignores_fields_of_a_later_minor_version() -> None:
    document = manifest().model_dump(mode="json", by_alias=True) | {"mood": "good"}
    read, _, _ = manifests.decoded(signed.closed(signed.signable(json.dumps(document, indent=2)), bytes(64)))
    assert read == manifest()


@pytest.mark.parametrize("data", [b"", b"{}", b"null", b"\x00" * 200, b"{" * 70000, b" " * (manifests.MAX_BYTES + 1)])
def test_refuses_what_is_no_manifest(data: bytes) -> None:
    with pytest.raises(CorruptData):
        manifests.decoded(data, "x")


def test_never_grows_beyond_its_bound() -> None:
    longest = manifest(source=Source(claim="c" * 4096, path="p" * 4096, job="j" * 4096), restore="r" * 4096, tool="t" * 4096)
    assert len(file_of(longest)) <= manifests.MAX_BYTES
    worst = "\x00" * 4096  # six characters each in JSON
    with pytest.raises(CorruptData, match="most"):
        manifests.signable(manifest(source=Source(claim=worst, path=worst, job=worst)))


@pytest.mark.parametrize(
    ("cipher", "compression", "line"),
    [
        (
            "Age",
            "Zstd",
            "age -d -i identity 20261123t170509z-0123456789abcdef.full.tar.zst.age | zstd -d | tar -xpf - --numeric-owner --xattrs --xattrs-include='*' --acls",
        ),
        (
            "None",
            "Zstd",
            "cat 20261123t170509z-0123456789abcdef.full.tar.zst | zstd -d | tar -xpf - --numeric-owner --xattrs --xattrs-include='*' --acls",
        ),
        (
            "AES256",
            "Zstd",
            "python3 restore.py decrypt -i identity 20261123t170509z-0123456789abcdef.full.tar.zst.aes256 | zstd -d | tar -xpf - --numeric-owner --xattrs --xattrs-include='*' --acls",
        ),
        (
            "Age",
            "None",
            "age -d -i identity 20261123t170509z-0123456789abcdef.full.tar.zst.age | tar -xpf - --numeric-owner --xattrs --xattrs-include='*' --acls",
        ),
    ],
)
def test_instructions_are_commands_to_copy(cipher: str, compression: str, line: str) -> None:
    text = manifests.instructions(manifest().member, "Full", cipher, compression, "keys/aa")
    assert line in text
    assert ("age -d keys/aa-N.scrypt > identity" in text) == (cipher != "None")
    assert ("Stock tools read" in text) == (cipher != "AES256")


@pytest.mark.parametrize(
    ("facts", "newest", "following"),
    [
        ([], None, 1),
        ([(1, 0, "a")], "a", 2),
        ([(3, 0, "a"), (2, 99, "b")], "a", 4),
        ([(2, 1, "a"), (2, 5, "b"), (1, 9, "c")], "b", 3),
        ([(2, 5, "a"), (2, 5, "b")], "b", 3),
    ],
)
def test_order_follows_seq_not_the_clock(facts: list[tuple[int, int, str]], newest: str | None, following: int) -> None:
    chain = [manifest(seq=s, start_time=STARTED + timedelta(hours=h), id=i * 16) for s, h, i in facts]
    last = manifests.newest(chain)
    assert (last and last.id) == (newest and newest * 16)
    assert manifests.next_seq(chain) == following
