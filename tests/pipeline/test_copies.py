"""Copies of backups in further storages: a folder and a real MinIO, as commands meet them."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from tests.minio.proxy import Fault, Harm, faulty
from tests.mounting import disk
from tests.pipeline.manager import Manager, ended, wait_until
from tests.pipeline.roundtrip import facts
from tests.pipeline.simulated import dated
from tests.pipeline.worker_process import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.azurite.server import Azurite
    from tests.minio.server import Minio

JOB, NEXT = "database-full", "database-incremental"


@pytest.fixture
def source(tmp_path: Path, plant: Path) -> Path:
    shutil.copytree(plant, tmp_path / "source", symlinks=True)
    return tmp_path / "source"


@pytest.fixture
def bucket(minio: Minio) -> str:
    return minio.bucket()


@pytest.fixture
def manager(tmp_path: Path, source: Path, minio: Minio, bucket: str) -> Manager:
    """Writes to a folder, and copies to a bucket."""
    manager = Manager(
        tmp_path,
        storages(tmp_path, minio.endpoint, bucket),
        [{"id": JOB, "source": str(source)}, {"id": NEXT, "type": "incremental", "source": str(source)}],
    )
    manager.environ |= credentials(minio)
    return manager


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A disk of 4 MiB."""
    with disk(tmp_path / "tiny", "4m") as mount:
        yield mount


def storages(tmp_path: Path, endpoint: str, bucket: str) -> str:
    return json.dumps({"local": {"path": str(tmp_path / "store")}, "s3": {"bucket": bucket, "prefix": "p", "endpoint": endpoint}})


def credentials(minio: Minio) -> dict[str, str]:
    return {"AWS_ACCESS_KEY_ID": minio.access_key, "AWS_SECRET_ACCESS_KEY": minio.secret_key, "AWS_CA_BUNDLE": str(minio.ca_file)}


def in_folder(tmp_path: Path) -> dict[str, bytes]:
    """What belongs to the repository, by key; announcements are the primary's own."""
    root = tmp_path / "store/site/default"
    found = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}
    return {key: body for key, body in found.items() if not key.startswith("announce/")}


def in_bucket(minio: Minio, bucket: str) -> dict[str, bytes]:
    root = "p/site/default/"
    return {key.removeprefix(root): minio.body(bucket, key) for key in minio.keys(bucket)}


def manifests(objects: dict[str, Any]) -> set[str]:
    return {key for key in objects if key.endswith(".manifest.json")}


def test_a_copy_is_the_primary_byte_for_byte_and_restores_when_the_primary_is_lost(
    manager: Manager, source: Path, minio: Minio, bucket: str, tmp_path: Path
) -> None:
    first = manager.record(JOB)
    (source / "later.txt").write_text("later")
    second = manager.record(NEXT)
    assert [first["copies"], second["copies"]] == [{"s3": "completed"}] * 2
    assert second["type"] == "incremental"
    assert in_bucket(minio, bucket) == in_folder(tmp_path)

    (tmp_path / "store").rename(tmp_path / "lost")
    listed = manager.run("list", "--storage", "s3", "--output", "json")
    assert [each["id"] for each in listed.json] == [first["id"], second["id"]]
    assert listed.err == ""
    assert manager.run("verify", "--storage", "s3").code == 0
    assert manager.run("show", second["id"], "--storage", "s3").code == 0
    assert manager.run("diff", first["id"], second["id"], "--storage", "s3").out == "+ later.txt\n"
    restored = manager.run("restore", JOB, "--storage", "s3", "--target", str(tmp_path / "first"))
    assert restored.code == 0, restored
    restored = manager.run("restore", NEXT, "--storage", "s3", "--target", str(tmp_path / "back"))
    assert restored.code == 0, restored
    assert facts(tmp_path / "back") == facts(source)


def test_a_copy_opens_on_another_machine_with_nothing_but_the_key(manager: Manager, source: Path, tmp_path: Path) -> None:
    manager.record(JOB)
    shutil.rmtree(tmp_path / "store")
    manager.state = "another machine"
    restored = manager.run("restore", JOB, "--storage", "s3", "--target", str(tmp_path / "back"))
    assert restored.code == 0, restored
    assert facts(tmp_path / "back") == facts(source)


def test_without_credentials_the_backup_is_complete_and_the_next_run_catches_up(
    manager: Manager, minio: Minio, bucket: str, tmp_path: Path
) -> None:
    for name in credentials(minio):
        del manager.environ[name]
    record = manager.record(JOB)
    assert record["status"] == "completed"
    assert record["copies"]["s3"].startswith("failed: SecretMissing: ")
    assert any("CopyFailed" in warning for warning in record["warnings"])
    lagging = manager.run("list", "--output", "json")
    assert lagging.code == 0

    manager.environ |= credentials(minio)
    assert manager.record(NEXT)["copies"] == {"s3": "completed"}
    assert in_bucket(minio, bucket) == in_folder(tmp_path)


def test_a_copy_that_lags_is_no_loss_and_one_that_lost_a_backup_is(manager: Manager, minio: Minio, bucket: str, tmp_path: Path) -> None:
    first = manager.record(JOB)
    working, manager.storage = manager.storage, storages(tmp_path, "https://127.0.0.1:9", bucket)
    second = manager.record(NEXT)
    assert second["copies"]["s3"].startswith("failed: StorageUnavailable")
    manager.storage = working
    listed = manager.run("list", "--storage", "s3", "--output", "json")
    assert (listed.code, [each["id"] for each in listed.json]) == (0, [first["id"]])
    assert f"storage s3 lags: chain {JOB} is at number 2, and the copy has it up to number 1" in listed.err

    for key in minio.keys(bucket):
        if key.endswith(".manifest.json"):
            minio.client().delete_object(Bucket=bucket, Key=key)
    listed = manager.run("list", "--storage", "s3")
    assert listed.code != 0
    assert "RolledBack" in listed.err


def test_a_storage_with_another_repository_is_refused_and_left_as_it_is(
    manager: Manager, minio: Minio, bucket: str, tmp_path: Path
) -> None:
    manager.record(JOB)
    theirs = in_bucket(minio, bucket)
    shutil.rmtree(tmp_path / "store")
    manager.state = "another machine"
    record = manager.record(JOB)
    assert record["status"] == "completed"
    assert "another repository than the primary" in record["copies"]["s3"]
    assert in_bucket(minio, bucket) == theirs


def test_a_byte_that_flipped_on_the_primary_is_not_copied_and_later_fulls_are(
    manager: Manager, minio: Minio, bucket: str, tmp_path: Path
) -> None:
    for name in credentials(minio):
        del manager.environ[name]
    damaged = manager.record(JOB)
    archive = tmp_path / "store" / damaged["archive"]
    body = bytearray(archive.read_bytes())
    body[len(body) // 2] ^= 1
    archive.write_bytes(body)

    manager.environ |= credentials(minio)
    record = manager.record(JOB)
    assert "CorruptData" in record["copies"]["s3"]
    assert "not what its manifest signs" in record["copies"]["s3"]
    copied = in_bucket(minio, bucket)
    assert {record["id"] in key for key in copied if key.startswith("chains/")} == {True}
    verified = manager.run("verify", record["id"], "--storage", "s3")
    assert "ok" in verified.out
    assert "Missing: chain database-full has no number 1" in manager.run("verify", "--storage", "s3").err
    assert manager.run("restore", record["id"], "--storage", "s3", "--target", str(tmp_path / "back")).code == 0


def test_a_full_disk_fails_the_copy_only_and_room_lets_the_next_run_catch_up(
    manager: Manager, source: Path, minio: Minio, bucket: str, tmp_path: Path, tiny: Path
) -> None:
    (source / "noise.bin").write_bytes(random.Random(7).randbytes(6 << 20))
    places = json.loads(manager.storage)
    manager.storage = json.dumps({"s3": places["s3"], "local": {"path": str(tiny)}})
    record = manager.record(JOB)
    assert record["status"] == "completed"
    assert record["copies"]["local"].startswith("failed: StorageFull: ")
    assert not list(tiny.rglob("*.manifest.json"))
    assert not list(tiny.rglob("*.age"))

    subprocess.run(["mount", "-o", "remount,size=64m", str(tiny)], check=True)
    assert manager.record(NEXT)["copies"] == {"local": "completed"}
    root = tiny / "site/default"
    copied = {str(file.relative_to(root)): file.read_bytes() for file in root.rglob("*") if file.is_file()}
    assert copied == {key: body for key, body in in_bucket(minio, bucket).items() if not key.startswith("announce/")}


def test_three_storages_and_the_last_one_brings_everything_back(
    manager: Manager, source: Path, azurite: Azurite, minio: Minio, bucket: str, tmp_path: Path
) -> None:
    manager.storage = json.dumps({**json.loads(manager.storage), "azure": {"container": azurite.container(), "prefix": "p"}})
    manager.environ |= {
        "AZURE_STORAGE_ACCOUNT": azurite.account,
        "AZURE_STORAGE_KEY": azurite.key,
        "AZURE_STORAGE_ENDPOINT": azurite.endpoint,
        "REQUESTS_CA_BUNDLE": str(azurite.ca_file),
    }
    manager.record(JOB)
    (source / "later.bin").write_bytes(random.Random(8).randbytes(12 << 20))
    assert manager.record(NEXT)["copies"] == {"s3": "completed", "azure": "completed"}
    shutil.rmtree(tmp_path / "store")
    for key in minio.keys(bucket):
        minio.client().delete_object(Bucket=bucket, Key=key)
    assert manager.run("verify", "--storage", "azure").code == 0
    restored = manager.run("restore", NEXT, "--storage", "azure", "--target", str(tmp_path / "back"))
    assert restored.code == 0, restored
    assert facts(tmp_path / "back") == facts(source)


def test_azure_alone_is_a_storage_like_any_other(manager: Manager, source: Path, azurite: Azurite, tmp_path: Path) -> None:
    azure = {"container": azurite.container(), "account": azurite.account, "endpoint": azurite.endpoint}
    manager.storage = json.dumps({"azure": azure})
    manager.environ |= {"AZURE_STORAGE_KEY": azurite.key, "REQUESTS_CA_BUNDLE": str(azurite.ca_file)}
    manager.record(JOB)
    assert manager.record(NEXT)["type"] == "incremental"
    assert manager.run("doctor").code == 0
    assert manager.run("restore", NEXT, "--target", str(tmp_path / "back")).code == 0
    assert facts(tmp_path / "back") == facts(source)
    refused = manager.run("execute", JOB, AZURE_STORAGE_KEY=None)
    assert refused.code != 0
    assert "AZURE_STORAGE_KEY is not set" in refused.err


@pytest.mark.parametrize("part", ["keys/", "repo.json", ".tar.zst.age", ".index", ".state", ".manifest.json"])
@pytest.mark.parametrize("harm", [Harm.STORE_THEN_500, Harm.STORE_THEN_CLOSE, Harm.CLOSE_MID_UPLOAD])
def test_a_connection_that_breaks_at_any_object_leaves_a_whole_copy(
    manager: Manager, minio: Minio, bucket: str, tmp_path: Path, harm: Harm, part: str
) -> None:
    with faulty(minio) as proxy:
        manager.storage = storages(tmp_path, proxy.endpoint, bucket)
        proxy.faults.append(Fault(harm, "PUT", part))
        answer = manager.record(JOB)["copies"]["s3"]
        assert proxy.faults[0].hits == 1
    if answer != "completed":
        assert not manifests(in_bucket(minio, bucket))
        manager.storage = storages(tmp_path, minio.endpoint, bucket)
        assert manager.record(NEXT)["copies"] == {"s3": "completed"}
    assert in_bucket(minio, bucket) == in_folder(tmp_path)


@pytest.mark.parametrize("part", ["keys/", "repo.json", ".tar.zst.age", ".index", ".state", ".manifest.json"])
def test_a_process_killed_at_any_object_leaves_nothing_that_the_next_run_does_not_complete(
    manager: Manager, minio: Minio, bucket: str, tmp_path: Path, part: str
) -> None:
    with faulty(minio) as proxy:
        manager.storage = storages(tmp_path, proxy.endpoint, bucket)
        proxy.faults.append(Fault(Harm.STORE_THEN_STALL, "PUT", part))
        process = manager.start("execute", JOB)
        wait_until(f"the copy puts {part}", lambda: proxy.faults[0].hits, process)
        process.kill()
        process.communicate()
    assert len(manifests(in_folder(tmp_path))) == 1
    manager.storage = storages(tmp_path, minio.endpoint, bucket)
    assert manager.record(NEXT)["copies"] == {"s3": "completed"}
    assert in_bucket(minio, bucket) == in_folder(tmp_path)
    assert manager.run("verify", "--storage", "s3").code == 0


def test_a_run_that_is_stopped_while_it_copies_is_complete(manager: Manager, minio: Minio, bucket: str, tmp_path: Path) -> None:
    with faulty(minio) as proxy:
        manager.storage = storages(tmp_path, proxy.endpoint, bucket)
        proxy.faults.append(Fault(Harm.STORE_THEN_STALL, "PUT", ".tar.zst.age", times=100))
        process = manager.start("execute", JOB, "--output", "json")
        wait_until("the copy stalls", lambda: proxy.faults[0].hits, process)
        process.send_signal(signal.SIGTERM)
        answer = ended(process)
    record = answer.json
    assert (answer.code, record["status"]) == (0, "completed"), answer
    assert record["copies"]["s3"].startswith("failed: Cancelled: ")
    manager.storage = storages(tmp_path, minio.endpoint, bucket)
    assert manager.record(NEXT)["copies"] == {"s3": "completed"}


def test_a_copy_has_retention_of_its_own(manager: Manager, minio: Minio, bucket: str, tmp_path: Path) -> None:
    """The primary keeps a month, the copy a day; what went from the copy does not come back with the next run."""
    places = json.loads(manager.storage)
    places["s3"]["retention_days"] = 1
    manager.storage = json.dumps(places)
    manager.jobs = [{**manager.jobs[0], "retention_days": 30}]
    manager.run("config", "check")  # writes the config
    old = [days_ago(manager, 5 - number)["id"] for number in range(3)]
    new = [manager.record(JOB)["id"] for _ in range(2)]
    for _ in range(2):  # the first one only looks
        assert manager.run("retention").code == 0
    assert [each["id"] for each in manager.run("list", "--output", "json").json] == [*old, *new]
    assert ids(manager) == new
    assert not [
        key
        for key in in_bucket(minio, bucket)
        if key.startswith("doomed/") or (any(id_ in key for id_ in old) and key.startswith("chains/"))
    ]
    last = manager.record(JOB)
    assert last["copies"] == {"s3": "completed"}
    assert ids(manager) == [*new, last["id"]]
    assert manager.run("verify", "--storage", "s3", "--level", "2").code == 0
    assert manager.run("restore", new[0], "--storage", "s3", "--target", str(tmp_path / "back")).code == 0


def ids(manager: Manager) -> list[str]:
    return [each["id"] for each in manager.run("list", "--storage", "s3", "--output", "json").json]


def days_ago(manager: Manager, days: int) -> dict[str, Any]:
    """A run as it would have been so many days ago."""
    command = [sys.executable, "-m", "tests.pipeline.simulated", str(-86400 * days), "execute", JOB, "--output", "json"]
    places = ["--config", str(manager.base / "backup.yml"), "--state-dir", str(manager.base / manager.state)]
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": f"{ROOT / 'operator'}:{ROOT}", **manager.environ}
    done = subprocess.run([*command, *places], cwd=ROOT, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    dated(manager.base / "store", datetime.now(UTC) - timedelta(days=days))
    return dict(json.loads(done.stdout))
