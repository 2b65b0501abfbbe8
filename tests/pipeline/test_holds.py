"""Suspicious runs freeze their chain, and people hold and release: with the real command."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.pipeline.manager import Manager
from tests.pipeline.test_copies import credentials, ids

if TYPE_CHECKING:
    from tests.minio.server import Minio

JOB = "historian"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(40):
        (folder / f"reading-{number:02d}").write_text(f"{number} 21.5\n" * 10)
    return folder


@pytest.fixture
def manager(tmp_path: Path, source: Path) -> Manager:
    job = {"id": JOB, "source": str(source), "retention": {"keep_last": 1}}
    return Manager(tmp_path, f"{{local: {{path: {tmp_path / 'store'}}}}}", [job])


def holds(manager: Manager) -> list[dict[str, Any]]:
    return list(manager.run("hold", "list", "--output", "json").json)


def kept(manager: Manager) -> list[str]:
    return [each["id"] for each in manager.run("list", "--output", "json").json]


def test_a_source_that_was_emptied_freezes_its_chain_until_a_person_has_looked(manager: Manager, source: Path, tmp_path: Path) -> None:
    good = [manager.record(JOB) for _ in range(3)]
    assert [each["warnings"] for each in good] == [[], [], []]
    for path in sorted(source.iterdir())[:25]:
        path.unlink()
    odd = manager.record(JOB)
    (warning,) = odd["warnings"]
    assert warning.startswith("Suspicious: the source has 15 files, and had 40.")
    assert [(each["id"], each["reason"], each["chain"]) for each in holds(manager)] == [(odd["id"], "frozen", JOB)]
    for _ in range(2):  # the first one of a machine removes nothing anyway
        answer = manager.run("retention")
        assert (answer.code, f"frozen because of {odd['id']}" in answer.err) == (3, True), "a person is needed"
    ids = [each["id"] for each in (*good, odd)]
    assert kept(manager) == ids
    assert manager.run("restore", good[-1]["id"], "--target", str(tmp_path / "back")).code == 0
    assert len(os.listdir(tmp_path / "back")) == 40
    assert manager.run("hold", "release", odd["id"], "--reason", "frozen").code == 0
    assert holds(manager) == []
    assert manager.run("retention").code == 0
    assert kept(manager) == ids[-1:]


def test_a_hold_is_there_before_the_backup_is(manager: Manager, source: Path, tmp_path: Path) -> None:
    """A run that dies between the two leaves a hold on nothing, never a suspicious backup without its hold."""
    for _ in range(3):
        manager.record(JOB)
    for path in sorted(source.iterdir())[:25]:
        path.unlink()
    folder = tmp_path / "store/site/default/holds"
    folder.mkdir(mode=0o770)
    os.chmod(folder, 0o2770)
    odd = manager.record(JOB)
    hold = folder / f"{odd['id']}.frozen"
    (manifest,) = (tmp_path / "store").rglob(f"*{odd['id']}.manifest.json")
    assert hold.stat().st_mtime_ns <= manifest.stat().st_mtime_ns
    assert "15 files" in json.loads(hold.read_text())["message"]


def test_without_its_hold_no_suspicious_backup_is_stored(manager: Manager, source: Path, tmp_path: Path) -> None:
    """As with a credential that may not put there, or a disk that is full for a moment."""
    good = [manager.record(JOB)["id"] for _ in range(3)]
    manager.run("retention")
    for path in sorted(source.iterdir())[:25]:
        path.unlink()
    blocked = tmp_path / "store/site/default/holds"
    blocked.write_text("")  # the folder cannot be made
    failed = manager.run("execute", JOB)
    assert failed.code != 0
    assert "the source has 15 files, and had 40, so retention must not take the backups before this one" in failed.err
    assert kept(manager) == good
    blocked.unlink()
    assert manager.record(JOB)["warnings"][0].startswith("Suspicious: ")
    assert manager.run("retention").code == 3
    assert set(good) < set(kept(manager))


def test_a_source_that_was_made_smaller_on_purpose_takes_one_release(manager: Manager, source: Path) -> None:
    for _ in range(3):
        manager.record(JOB)
    for path in sorted(source.iterdir())[:25]:
        path.unlink()
    odd = [manager.record(JOB) for _ in range(2)]
    assert all(each["warnings"][0].startswith("Suspicious: ") for each in odd), "until a person has looked"
    assert [each["id"] for each in holds(manager)] == [odd[0]["id"]], "one hold for the chain"
    manager.run("hold", "release", odd[0]["id"], "--reason", "frozen")
    assert [manager.record(JOB)["warnings"] for _ in range(2)] == [[], []]


@pytest.mark.parametrize("keep", [1, 2])
def test_what_is_suspicious_is_seen_also_where_few_backups_are_kept(manager: Manager, source: Path, keep: int) -> None:
    manager.jobs[0]["retention"] = {"keep_last": keep}
    good = []
    for _ in range(4):
        good.append(manager.record(JOB)["id"])
        manager.run("retention", JOB)
    for path in sorted(source.iterdir())[:39]:
        path.unlink()
    for _ in range(keep):
        assert manager.record(JOB)["warnings"][0].startswith("Suspicious: ")
        assert manager.run("retention", JOB).code == 3
    assert set(good) & set(kept(manager))


def test_filters_that_leave_nearly_nothing_are_suspicious(manager: Manager) -> None:
    good = [manager.record(JOB)["id"] for _ in range(2)]
    manager.run("retention")
    manager.jobs[0]["include"] = ["reading-00"]  # a typing error
    odd = [manager.record(JOB) for _ in range(2)]
    assert odd[0]["warnings"][0].startswith("Suspicious: the source has 1 files, and had 40.")
    manager.run("retention")
    assert set(good) < set(kept(manager))


def test_a_weekly_full_of_files_that_somebody_encrypted_freezes_the_chain(manager: Manager, source: Path) -> None:
    rules = {"source": str(source), "retention": {"keep_last": 2}}
    manager.jobs[:] = [{"id": "week", **rules}, {"id": "day", "type": "incremental", **rules}]
    (source / "big").write_text("21.5 degrees\n" * 200_000)
    good = [manager.record(job)["id"] for job in (*("week", "day", "day", "day") * 2,)]
    manager.run("retention")
    for path in source.iterdir():
        path.write_bytes(os.urandom(path.stat().st_size))
    odd = manager.record("week")
    assert "was it encrypted?" in odd["warnings"][0]
    assert manager.run("retention").code == 3
    assert set(good) < set(kept(manager))


def test_a_pinned_backup_stays_with_what_it_builds_on(manager: Manager) -> None:
    first, second, third = (manager.record(JOB)["id"] for _ in range(3))
    assert manager.run("hold", "add", first, "--why", "the audit").code == 0
    (line,) = holds(manager)
    assert (line["id"], line["reason"], line["message"]) == (first, "pinned", "the audit")
    for _ in range(2):
        assert manager.run("retention").code == 0
    assert kept(manager) == [first, third]
    assert manager.run("hold", "release", first).code == 0
    assert manager.run("retention").code == 0
    assert kept(manager) == [third]
    assert second not in kept(manager)


def test_a_damaged_hold_is_listed_and_can_be_released(manager: Manager, tmp_path: Path) -> None:
    first, second = (manager.record(JOB)["id"] for _ in range(2))
    manager.run("retention")
    for id_ in (first, second):
        assert manager.run("hold", "add", id_).code == 0
    (hold,) = (tmp_path / "store").rglob(f"{first}.pinned")
    hold.chmod(0o660)
    hold.write_text(hold.read_text()[:-30])
    stray = hold.with_name("stray")
    stray.write_text("{}")
    lines = {line["id"]: line for line in holds(manager)}
    assert set(lines) == {first, second, "holds/stray"}
    assert (lines[second]["reason"], lines[second]["message"]) == ("pinned", "")
    assert f"holds/{first}.pinned" in lines[first]["message"]
    assert f"hold release {first} --reason pinned" in lines[first]["message"]
    assert "delete that object" in lines["holds/stray"]["message"]
    assert first in manager.run("hold", "list").out
    stray.unlink()
    assert manager.run("retention").code == 65
    assert manager.run("hold", "release", first).code == 0
    assert manager.run("retention").code == 0
    assert [line["id"] for line in holds(manager)] == [second]


def test_what_is_not_there_is_neither_held_nor_released(manager: Manager) -> None:
    id_ = manager.record(JOB)["id"]
    assert manager.run("hold", "add", "f" * 16).code == 66
    assert manager.run("hold", "release", id_).code == 64
    assert holds(manager) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("release", "../../x"), "is not the id of a backup"),
        (("add", "f" * 16, "--why", os.fsdecode(b"\xff")), "not UTF-8"),
    ],
)
def test_what_no_hold_can_say_is_refused(manager: Manager, arguments: tuple[str, ...], words: str) -> None:
    manager.record(JOB)
    answer = manager.run("hold", *arguments)
    assert (answer.code, words in answer.err) == (64, True), answer


def test_a_machine_that_never_wrote_there_says_that_it_sees_no_holds(manager: Manager) -> None:
    empty = manager.run("hold", "list", "--output", "json")
    assert (empty.code, empty.json, empty.err) == (0, [], ""), "nothing is there"
    id_ = manager.record(JOB)["id"]
    assert manager.run("hold", "add", id_).code == 0
    manager.state = "another machine"
    blind = manager.run("hold", "list", "--output", "json")
    assert (blind.code, blind.json) == (3, [])
    assert blind.err.startswith("storage local was left out, and what is held there is not shown: ")


@pytest.fixture
def bucket(minio: Minio) -> str:
    return minio.bucket()


@pytest.fixture
def copied(manager: Manager, minio: Minio, bucket: str) -> Manager:
    """The same, with a bucket that it copies to."""
    manager.storage = places(manager, {"bucket": bucket, "prefix": "p", "endpoint": minio.endpoint})
    manager.environ |= credentials(minio)
    return manager


def places(manager: Manager, s3: dict[str, Any]) -> str:
    return json.dumps({"local": {"path": str(manager.base / "store")}, "s3": s3})


def test_a_hold_lies_in_every_storage_that_has_the_backup_and_is_shown_once(copied: Manager, minio: Minio, bucket: str) -> None:
    first = copied.record(JOB)["id"]
    added = copied.run("hold", "add", first, "--why", "the audit", "--output", "json")
    assert (added.code, added.json["storages"]) == (0, ["local", "s3"])
    assert f"p/site/default/holds/{first}.pinned" in minio.keys(bucket)
    (line,) = holds(copied)
    assert (line["id"], line["storages"], line["message"]) == (first, ["local", "s3"], "the audit")
    released = copied.run("hold", "release", first, "--output", "json")
    assert (released.code, released.json["storages"]) == (0, ["local", "s3"])
    assert holds(copied) == []
    assert not [key for key in minio.keys(bucket) if "holds/" in key]


def test_a_pin_outlives_the_loss_of_the_primary(copied: Manager, tmp_path: Path) -> None:
    first = copied.record(JOB)["id"]
    assert copied.run("hold", "add", first).code == 0
    copied.record(JOB)
    (tmp_path / "store").rename(tmp_path / "lost")
    copied.storage = json.dumps({"s3": json.loads(copied.storage)["s3"]})
    copied.record(JOB)
    assert [line["id"] for line in holds(copied)] == [first]
    for _ in range(2):
        copied.run("retention")
    assert first in kept(copied)


def test_what_only_a_copy_has_can_be_pinned_there(copied: Manager) -> None:
    copied.storage = places(copied, {**json.loads(copied.storage)["s3"], "retention_days": 30})
    first = copied.record(JOB)["id"]
    copied.record(JOB)
    for _ in range(2):
        assert copied.run("retention").code == 0
    assert first in ids(copied)
    assert first not in kept(copied)
    added = copied.run("hold", "add", first, "--output", "json")
    assert (added.code, added.json["storages"]) == (0, ["s3"])


def test_a_hold_in_a_storage_that_became_a_copy_is_shown_and_released(copied: Manager) -> None:
    there = json.loads(copied.storage)
    copied.storage = json.dumps({"s3": there["s3"]})
    first = copied.record(JOB)["id"]
    assert copied.run("hold", "add", first).code == 0
    copied.storage = json.dumps({"s3": there["s3"], "local": there["local"]})
    copied.record(JOB)
    copied.storage = json.dumps(there)
    copied.record(JOB)
    assert [(line["id"], line["storages"]) for line in holds(copied)] == [(first, ["s3"])]
    assert copied.run("hold", "release", first).code == 0
    assert holds(copied) == []


def test_a_copy_that_cannot_be_asked_is_told_and_stops_nothing_in_the_others(copied: Manager) -> None:
    working = copied.storage
    first = copied.record(JOB)["id"]
    copied.storage = places(copied, {**json.loads(working)["s3"], "endpoint": "https://127.0.0.1:9"})
    added = copied.run("hold", "add", first, "--output", "json")
    assert (added.code, added.json["storages"]) == (3, ["local"])
    assert added.err.startswith("storage s3 was left out, so run this again if it has the backup: StorageUnavailable: ")
    listed = copied.run("hold", "list", "--output", "json")
    assert (listed.code, [line["storages"] for line in listed.json]) == (3, [["local"]])
    assert copied.run("hold", "add", "f" * 16).code == 69, "nobody can tell whether it is there"
    copied.storage = working
    assert copied.run("hold", "add", first).code == 0
    assert [line["storages"] for line in holds(copied)] == [["local", "s3"]]
    copied.storage = places(copied, {**json.loads(working)["s3"], "endpoint": "https://127.0.0.1:9"})
    assert copied.run("hold", "release", first).code == 3
    copied.storage = working
    assert [line["storages"] for line in holds(copied)] == [["s3"]]
    assert copied.run("hold", "release", first).code == 0
    assert holds(copied) == []
