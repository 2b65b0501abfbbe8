"""The engine without Kubernetes, as a person meets it: the real command on real trees, on a folder and on a bucket."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from iot_backup.crypto.identity import Identity
from tests.mounting import mounted
from tests.pipeline.manager import PASSPHRASE, Manager, ended, interrupt, wait_until
from tests.pipeline.roundtrip import facts
from tests.pipeline.stored import size_of
from tests.pipeline.worker_process import ROOT

if TYPE_CHECKING:
    from tests.pipeline.sites import Bucket, Folder, Place

JOB = "database-full"


@pytest.fixture
def source(tmp_path: Path, plant: Path) -> Path:
    """A tree of its own, to be changed."""
    shutil.copytree(plant, tmp_path / "source", symlinks=True)
    return tmp_path / "source"


@pytest.fixture
def manager(tmp_path: Path, source: Path) -> Manager:
    """On a folder that does not exist yet."""
    jobs = [
        {"id": JOB, "name": "数据库全量备份", "source": str(source)},
        {"id": "database-incremental", "type": "incremental", "source": str(source)},
        {"id": "plain", "source": str(source), "encryption": False},
    ]
    return Manager(tmp_path, json.dumps({"local": {"path": str(tmp_path / "store")}}), jobs)


def on(place: Place, manager: Manager) -> Manager:
    """The same on a place of the tests."""
    if hasattr(place, "minio"):
        bucket: Bucket = place  # type: ignore[assignment]
        server = bucket.minio
        manager.storage = json.dumps({"s3": {"bucket": bucket.bucket, "prefix": "p", "endpoint": server.endpoint}})
        manager.environ |= {
            "AWS_ACCESS_KEY_ID": server.access_key,
            "AWS_SECRET_ACCESS_KEY": server.secret_key,
            "AWS_CA_BUNDLE": str(server.ca_file),
        }
    else:
        folder: Folder = place  # type: ignore[assignment]
        manager.storage = json.dumps({"local": {"path": str(folder.mount)}})
    return manager


def test_a_tree_comes_back_on_another_machine_with_nothing_but_the_key(
    place: Place, manager: Manager, source: Path, tmp_path: Path
) -> None:
    manager = on(place, manager)
    record = manager.record(JOB)
    assert (record["job"], record["type"], record["status"], record["error"]) == (JOB, "full", "completed", None)
    assert record["files"] == sum(path.is_file() and not path.is_symlink() for path in source.rglob("*"))
    assert record["archive"].startswith(f"site/default/chains/{JOB}/")
    assert manager.run("list", JOB, "--output", "json").json == [record | {"warnings": []}]

    manager.state = "another machine"
    restored = manager.run("restore", JOB, "--target", str(tmp_path / "back"), "--output", "json")
    assert restored.code == 0, restored
    assert (restored.json["files_restored"], restored.json["id"]) == (record["files"], record["id"])
    assert facts(tmp_path / "back") == facts(source)


def test_each_backup_is_listed_shown_and_restored_as_of_its_moment(manager: Manager, source: Path, tmp_path: Path) -> None:
    first = manager.record(JOB)
    before = facts(source)
    (source / "added").write_text("new")
    (source / "firmware.bin").write_bytes(b"changed")
    shutil.rmtree(source / "thermostats")
    second = manager.record(JOB)
    assert [entry["id"] for entry in manager.run("list", "--output", "json").json] == [first["id"], second["id"]]

    shown = manager.run("show", second["id"], "--output", "json").json
    assert {entry["path"]: entry["kind"] for entry in shown["files"]} == {
        ".": "folder",
        "added": "file",
        "firmware.bin": "file",
        "latest": "link",
    }
    assert shown["id"] == second["id"]

    assert manager.run("restore", JOB, "--at", _snapshot(manager, first["id"]), "--target", str(tmp_path / "then")).code == 0
    assert facts(tmp_path / "then") == before
    assert manager.run("restore", JOB, "--target", str(tmp_path / "now")).code == 0
    assert facts(tmp_path / "now") == facts(source)
    assert manager.run("restore", first["id"], "--target", str(tmp_path / "by id")).code == 0
    assert facts(tmp_path / "by id") == before
    refused = manager.run("restore", JOB, "--at", "2020-01-01", "--target", str(tmp_path / "never"))
    assert (refused.code, "no backup of 20" in refused.err, (tmp_path / "never").exists()) == (66, True, False)

    changes = manager.run("diff", first["id"], second["id"], "--output", "json").json
    assert {(change["change"], change["path"]) for change in changes} == {
        ("added", "added"),
        ("changed", "firmware.bin"),
        ("removed", "thermostats"),
        ("removed", "thermostats/boiler-room.json"),
    }


def _snapshot(manager: Manager, id_: str) -> str:
    """The moment of a backup, from its manifest: records have whole seconds only."""
    (manifest,) = (manager.base / "store").rglob(f"*{id_}.manifest.json")
    return str(json.loads(manifest.read_bytes())["snapshotTime"])


def test_answers_for_people_have_the_same_facts(manager: Manager) -> None:
    answer = manager.run("execute", JOB)
    assert answer.code == 0, answer
    told = dict(line.split(maxsplit=1) for line in answer.out.splitlines())
    assert (told["job"], told["status"]) == (JOB, "completed")
    assert told["id"] in manager.run("list").out
    assert "thermostats/boiler-room.json" in manager.run("show", told["id"]).out
    assert json.loads(answer.err.splitlines()[-1])["progress"]["files"] == int(told["files"])


def test_no_key_is_refused_before_anything_is_touched(manager: Manager, tmp_path: Path) -> None:
    record = manager.record(JOB, code=77, BACKUP_ENCRYPTION_KEY=None)
    assert record["error"].startswith(f"KeyMissing: job {JOB} encrypts, and BACKUP_ENCRYPTION_KEY is not set")
    assert record["status"] == "failed"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.yml", "source", "state"]
    assert sorted(path.name for path in (tmp_path / "state").rglob("*")) == [f"{JOB}.jsonl", "lock", "records"]


def test_another_key_writes_nothing_and_opens_nothing(manager: Manager, tmp_path: Path) -> None:
    manager.record(JOB)
    stored = sorted((tmp_path / "store").rglob("*"))
    record = manager.record(JOB, code=77, BACKUP_ENCRYPTION_KEY="another")
    assert record["error"].startswith("WrongKey: ")
    assert sorted((tmp_path / "store").rglob("*")) == stored
    refused = manager.run("restore", JOB, "--target", str(tmp_path / "back"), BACKUP_ENCRYPTION_KEY="another")
    assert (refused.code, refused.err.splitlines()[-1].startswith("WrongKey: ")) == (77, True)
    assert not list((tmp_path / "back").glob("*"))
    none = manager.run("restore", JOB, "--target", str(tmp_path / "back"), BACKUP_ENCRYPTION_KEY=None)
    assert (none.code, "BACKUP_ENCRYPTION_KEY" in none.err) == (77, True)


def test_a_remembered_repository_is_listed_without_a_key_and_another_is_not(manager: Manager) -> None:
    id_ = manager.record(JOB)["id"]
    assert id_ in manager.run("list", BACKUP_ENCRYPTION_KEY=None).out
    manager.state = "another machine"
    unknown = manager.run("list", BACKUP_ENCRYPTION_KEY=None, output="")
    assert (unknown.code, "this machine does not know it" in unknown.err) == (77, True)


def test_an_identity_file_opens_what_the_passphrase_does(manager: Manager, source: Path, tmp_path: Path) -> None:
    manager.record(JOB)
    (key_file,) = (tmp_path / "store").rglob("*.scrypt")
    program = "import sys,pyrage; sys.stdout.buffer.write(pyrage.passphrase.decrypt(open(sys.argv[1],'rb').read(), sys.argv[2]))"
    (tmp_path / "identity").write_bytes(subprocess.check_output([sys.executable, "-c", program, str(key_file), PASSPHRASE]))
    back = ("restore", JOB, "--target", str(tmp_path / "back"), "--identity")
    assert manager.run(*back, str(tmp_path / "identity"), BACKUP_ENCRYPTION_KEY=None).code == 0
    assert facts(tmp_path / "back") == facts(source)
    (tmp_path / "stranger").write_text(Identity.generated().text)
    assert manager.run(*back, str(tmp_path / "stranger"), "--yes", BACKUP_ENCRYPTION_KEY=None).code == 77


def test_what_is_not_encrypted_lies_in_a_repository_of_its_own(manager: Manager, source: Path, tmp_path: Path) -> None:
    manager.environ = {}
    record = manager.record("plain")
    assert record["archive"].startswith("site/default-plain/chains/plain/")
    assert {path.name for path in (tmp_path / "store/site").iterdir()} == {"default-plain"}
    assert manager.run("restore", record["id"], "--target", str(tmp_path / "back")).code == 0
    assert facts(tmp_path / "back") == facts(source)

    manager.state = "another machine"
    unknown = manager.run("list", "plain")
    fingerprint = json.loads((tmp_path / "state/default-plain@local/memory.json").read_text())["trust"]["fingerprint"]
    assert (unknown.code, fingerprint in unknown.err) == (77, True)
    assert record["id"] in manager.run("list", "plain", "--trust", fingerprint).out
    assert manager.run("list", "plain", "--trust", "0" * 64).code == 77
    assert "takes backups only from the machine that made it" in manager.record("plain", "--trust", fingerprint, code=77)["error"]


def test_an_encrypted_repository_is_known_again_by_its_key_and_that_is_told(manager: Manager) -> None:
    manager.record(JOB)
    manager.state = "after a new disk"
    (warning,) = manager.record(JOB)["warnings"]
    assert warning.startswith("NotRemembered: this machine did not remember the repository in storage local")
    assert manager.record(JOB)["warnings"] == []
    assert [entry["status"] for entry in manager.run("list", "--output", "json").json] == ["completed"] * 3


def test_a_storage_that_lost_its_repository_is_not_given_a_new_one(manager: Manager, tmp_path: Path) -> None:
    manager.record(JOB)
    shutil.rmtree(tmp_path / "store")
    assert manager.record(JOB, code=69)["error"].startswith("StorageUnavailable: the folder ")
    (tmp_path / "store").mkdir()
    assert "No new repository was made in its place" in manager.record(JOB, code=77)["error"]
    assert manager.run("list").code == 77


def test_a_target_that_is_not_empty_is_written_to_only_when_somebody_says_so(manager: Manager, tmp_path: Path) -> None:
    manager.record(JOB)
    target = tmp_path / "back"
    target.mkdir()
    (target / "mine").write_text("mine")
    refused = manager.run("restore", JOB, "--target", str(target))
    assert (refused.code, "--yes" in refused.err, os.listdir(target)) == (64, True, ["mine"])
    assert manager.run("restore", JOB, "--target", str(target), "--yes").code == 0
    assert {"mine", "firmware.bin"} <= set(os.listdir(target))


def test_a_source_that_cannot_be_meant_is_refused(manager: Manager, tmp_path: Path) -> None:
    manager.jobs = [
        {"id": "around", "source": str(tmp_path)},
        {"id": "nowhere", "source": str(tmp_path / "nowhere")},
        {"id": "empty", "source": str(tmp_path / "empty")},
    ]
    (tmp_path / "empty").mkdir()
    assert "contains the storage" in manager.record("around", code=64)["error"]
    assert "exclude: /store/" in manager.record("around", code=64)["error"]
    assert (
        manager.record("nowhere", code=66)["error"] == f"SourceUnavailable: {tmp_path}/nowhere is not there: correct the path, or create it"
    )
    assert manager.record("empty", code=66)["error"].startswith(f"EmptySource: {tmp_path}/empty, folder '/', holds no file")


def test_a_source_around_a_storage_that_it_leaves_out_is_backed_up(manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "site" / "mnt").mkdir(parents=True)
    (tmp_path / "site" / "reading").write_text("21.5")
    manager.storage = f"{{local: {{path: {tmp_path / 'site' / 'mnt' / 'usb'}}}}}"
    manager.jobs = [{"id": "around", "source": str(tmp_path / "site"), "exclude": ["/mnt/"]}]
    assert [(record["files"], record["warnings"]) for record in (manager.record("around"), manager.record("around"))] == [(1, [])] * 2


def test_a_storage_that_another_path_leads_to_is_not_backed_up_into_itself(manager: Manager, tmp_path: Path, source: Path) -> None:
    manager.record(JOB)
    with mounted(source / "again", "--bind", str(tmp_path / "store")):
        sizes = [manager.record(JOB)["source_bytes"] for _ in range(2)]
        (warning,) = manager.record(JOB)["warnings"]
    assert sizes[0] == sizes[1]
    assert warning.startswith("FilesSkipped: ")
    assert "again: holds backups" in warning


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("execute", "database-ful"), 64, "did you mean 'database-full'"),
        (("restore", "databas-full", "--target", "t"), 64, "did you mean 'database-full'"),
        (("show", "0123456789abcdef"), 66, "no storage of the config has a backup 0123456789abcdef"),
        (("restore", JOB, "--target", "t"), 66, "has no backup"),
        (("restore", JOB, "--target", "t", "--at", "noon"), 64, "'noon' is no time"),
        (("execute",), 2, "Missing argument 'JOB'"),
    ],
)
def test_what_cannot_be_done_is_said_with_its_exit_code(manager: Manager, arguments: tuple[str, ...], code: int, words: str) -> None:
    answer = manager.run(*arguments)
    assert (answer.code, words in answer.err, answer.out) == (code, True, ""), answer


def test_errors_are_json_too_where_that_is_asked_for(manager: Manager) -> None:
    answer = manager.run("show", "0123456789abcdef", "--output", "json")
    assert answer.json["error"].startswith("SourceUnavailable: ")


def test_a_config_is_checked_with_all_that_is_wrong(manager: Manager) -> None:
    assert manager.run("config", "check", "--output", "json").json["jobs"][0]["chain"] == JOB
    manager.jobs.append({"id": "x", "sorce": "/x"})
    answer = manager.run("config", "check", "--output", "json")
    assert answer.code == 64
    assert [(error["line"], error["field"], error["nearest"]) for error in answer.json["errors"]] == [
        (7, "backup.jobs[3].source", None),
        (7, "backup.jobs[3].sorce", "source"),
    ]
    assert manager.run("execute", JOB).code == 64


def test_a_file_that_cannot_be_read_makes_the_backup_partial(manager: Manager, source: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root, to take rights away")
    (source / "closed").write_text("x")
    (source / "closed").chmod(0)
    source.chmod(0o755)
    tmp_path.chmod(0o777)
    program = (
        "import os, sys, unicodedata, iot_backup.cli, iot_backup.standalone.configfile, iot_backup.standalone.execute, iot_backup.storage.volume\n"
        "import iot_backup.standalone.output, iot_backup.standalone.progress, iot_backup.worker.probe\n"
        "import cryptography.hazmat.backends.openssl.backend\n"
        "os.setgroups([]); os.setresgid(65532,65532,65532); os.setresuid(65532,65532,65532)\n"
        "from iot_backup.cli import main; main(prog_name='backup-manager')"
    )
    manager.environ = {}
    manager.run("config", "check")
    for above in tmp_path.parents:
        if above != Path("/") and above.stat().st_mode & 0o011 != 0o011:
            above.chmod(above.stat().st_mode | 0o011)
    done = subprocess.run(
        [sys.executable, "-c", program, "execute", "plain", "--output", "json", "--config", str(tmp_path / "backup.yml")],
        env={"PYTHONPATH": str(ROOT / "operator"), "STATE_DIR": str(tmp_path / "somebody's state"), "PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 3, done
    record = json.loads(done.stdout)
    assert (record["status"], record["warnings"][0].partition(":")[0]) == ("partial", "FilesUnreadable")


def test_an_incremental_backup_builds_on_the_full_jobs_and_is_restored_with_it(
    place: Place, manager: Manager, source: Path, tmp_path: Path
) -> None:
    manager = on(place, manager)
    full = manager.record(JOB)
    (source / "added").write_bytes(os.urandom(100))
    (source / "thermostats" / "boiler-room.json").write_text("changed")
    (source / "latest").unlink()
    increment = manager.record("database-incremental")
    assert (full["type"], increment["type"]) == ("full", "incremental")
    assert increment["size_bytes"] < full["source_bytes"] / 100
    shown = manager.run("show", increment["id"], "--output", "json").json
    assert [parent["id"] for parent in shown["chain"]] == [full["id"]]
    assert {entry["path"] for entry in shown["files"]} == {".", "added", "firmware.bin", "thermostats", "thermostats/boiler-room.json"}
    changes = manager.run("diff", full["id"], increment["id"]).out.splitlines()
    assert changes == ["+ added", "- latest", "~ thermostats/boiler-room.json (content, time)"]

    differential = manager.record(JOB, "--type", "differential")
    assert differential["type"] == "differential"
    assert manager.record(JOB, "--type", "full")["type"] == "full"
    for record in (increment, differential):
        assert manager.run("restore", record["id"], "--target", str(tmp_path / record["id"])).code == 0
        assert facts(tmp_path / record["id"]) == facts(source)
    assert manager.run("verify", increment["id"], "--output", "json").json["ok"]


def test_an_incremental_backup_without_a_base_is_a_full_one(manager: Manager) -> None:
    assert manager.record("database-incremental")["type"] == "full"


def test_two_configuration_backups_are_compared_line_by_line(manager: Manager, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "config").mkdir(parents=True)
    (site / "config" / "broker.conf").write_text("port 1883\nhost a\nuser x\n")
    (site / "config" / "blob").write_bytes(b"\0\1")
    (site / "data").write_text("no configuration")
    manager.jobs.append({"id": "site", "type": "configuration", "source": str(site), "encryption": False})
    first = manager.record("site")
    (site / "config" / "broker.conf").write_text("port 8883\nhost a\nuser x\ntls on")
    (site / "config" / "blob").write_bytes(b"\0\2")
    (site / "config" / "new.conf").write_text("x")
    second = manager.record("site")
    assert (first["type"], second["type"]) == ("configuration", "configuration")
    answer = manager.run("diff", first["id"], second["id"])
    assert answer.out.splitlines() == [
        "~ config/blob (content, time)",
        "~ config/broker.conf (content, time)",
        "+ config/new.conf",
        "",
        "--- a/config/broker.conf",
        "+++ b/config/broker.conf",
        "@@ -1,3 +1,4 @@",
        "-port 1883",
        "+port 8883",
        " host a",
        " user x",
        "+tls on",
        "\\ No newline at end of file",
    ]
    told = {change["path"]: change.get("diff", "") for change in manager.run("diff", first["id"], second["id"], "--output", "json").json}
    assert told["config/broker.conf"].count("\n") == 9
    assert told["config/blob"] == ""


@pytest.mark.parametrize("level", ["1", "2", "3", "4"])
def test_a_sound_backup_is_verified(manager: Manager, level: str) -> None:
    record = manager.record(JOB)
    other = manager.record("plain")
    answer = manager.run("verify", "--level", level, "--output", "json")
    assert answer.code == 0, answer
    assert {(backup["id"], backup["ok"], backup["level"]) for backup in answer.json["backups"]} == {
        (record["id"], True, int(level)),
        (other["id"], True, int(level)),
    }
    assert {backup["files"] for backup in answer.json["backups"]} == ({0} if int(level) < 3 else {record["files"]})


def test_a_damaged_backup_is_found_by_reading_it(manager: Manager, tmp_path: Path) -> None:
    damaged, sound = manager.record(JOB), manager.record("plain")
    (archive,) = (tmp_path / "store").rglob(f"*{damaged['id']}*.age")
    content = bytearray(archive.read_bytes())
    content[len(content) // 2] ^= 1
    archive.write_bytes(content)
    assert manager.run("verify", "--level", "1").code == 0
    for level in ("2", "3"):
        answer = manager.run("verify", "--level", level, "--output", "json")
        assert (answer.code, answer.json["ok"]) == (65, False)
        assert {backup["id"]: backup["ok"] for backup in answer.json["backups"]} == {damaged["id"]: False, sound["id"]: True}
    assert manager.run("verify", "plain").code == 0
    assert manager.run("verify", damaged["id"]).code == 65
    refused = manager.run("restore", damaged["id"], "--target", str(tmp_path / "back"))
    assert (refused.code, (tmp_path / "back").exists()) == (65, False)


def test_a_job_is_verified_with_what_is_wrong_in_its_chain(manager: Manager, tmp_path: Path) -> None:
    """Its backup that was taken away, hidden or tampered with is not there to say whose it was."""
    first, middle, last = (manager.record(JOB)["id"] for _ in range(3))
    manager.record("plain")
    manifests = {id_: next((tmp_path / "store").rglob(f"*{id_}.manifest.json")) for id_ in (first, middle, last)}
    assert manager.run("verify", JOB, "--level", "1").code == 0

    hidden = manifests[middle].rename(tmp_path / "hidden")
    answer = manager.run("verify", JOB, "--level", "1", "--output", "json")
    assert (answer.code, [each["id"] for each in answer.json["backups"]]) == (65, [first, last])
    assert answer.json["problems"] == [f"Missing: chain {JOB} has no number 2: somebody took those backups away"]
    assert manager.run("verify", "plain", "--level", "1").code == 0
    assert manager.run("verify", last, "--level", "1").code == 0
    hidden.rename(manifests[middle])

    manifests[first].write_bytes(
        manifests[first].read_bytes().replace(b'"partial":false', b'"partial":true').replace(b'"partial": false', b'"partial": true')
    )
    answer = manager.run("verify", JOB, "--level", "1", "--output", "json")
    assert (answer.code, {each["id"]: each["ok"] for each in answer.json["backups"]}) == (65, {first: False, middle: True, last: True})
    listed = manager.run("list", JOB, "--output", "json").json
    assert [(each["id"], each["status"]) for each in listed] == [(first, "failed"), (middle, "completed"), (last, "completed")]
    assert len(manager.run("list", "plain", "--output", "json").json) == 1


def test_without_verification_damage_ends_a_restore_on_the_way_and_nothing_damaged_is_put_in_place(
    manager: Manager, source: Path, tmp_path: Path
) -> None:
    record = manager.record(JOB)
    whole = manager.run("restore", JOB, "--target", str(tmp_path / "whole"), "--no-verify")
    assert (whole.code, facts(tmp_path / "whole")) == (0, facts(source)), whole
    (archive,) = (tmp_path / "store").rglob(f"*{record['id']}*.age")
    content = bytearray(archive.read_bytes())
    content[-20] ^= 1
    archive.write_bytes(content)
    back = tmp_path / "back"
    ended = manager.run("restore", JOB, "--target", str(back), "--no-verify")
    assert (ended.code, "CorruptData" in ended.err) == (65, True), ended
    assert all(path.read_bytes() == (source / path.relative_to(back)).read_bytes() for path in back.rglob("*") if path.is_file())


def test_a_storage_without_its_repository_is_not_verified_in_silence(manager: Manager, source: Path, tmp_path: Path) -> None:
    """A verifier without memory has the config alone to tell what should be there."""
    manager.jobs = [{"id": "here", "source": str(source)}, {"id": "there", "source": str(source), "destination": str(tmp_path / "second")}]
    assert manager.run("list", "--output", "json").json == []
    manager.record("here")
    answer = manager.run("verify", "--level", "1", "--output", "json")
    assert (answer.code, answer.json["problems"]) == (0, []), "this machine knows that the other job never ran"
    assert manager.run("list").code == 0

    manager.record("there")
    (tmp_path / "second").rename(tmp_path / "away")
    manager.state = "verifier"
    told = f"SourceUnavailable: storage {tmp_path / 'second'} holds no repository of site default: job there cannot be verified"
    for there in (False, True):
        if there:
            (tmp_path / "second").mkdir()
        answer = manager.run("verify", "--level", "1", "--output", "json")
        assert (answer.code, answer.json["ok"], len(answer.json["backups"])) == (66, False, 1)
        assert answer.json["problems"][0].startswith(told)
        listed = manager.run("list", "--output", "json")
        assert (listed.code, len(listed.json), listed.err.startswith(told)) == (66, 1, True)

    manager.jobs[1]["enabled"] = False
    assert manager.run("verify", "--level", "1").code == 0
    assert manager.run("list").code == 0


def test_a_repository_that_a_person_vouches_for_is_not_empty_when_it_is_gone(manager: Manager, tmp_path: Path) -> None:
    manager.record(JOB)
    manager.jobs = manager.jobs[:1]
    fingerprint = manager.run("key", "list", "--output", "json").json["fingerprint"]
    assert manager.run("list", "--trust", fingerprint).code == 0
    (tmp_path / "store").rename(tmp_path / "away")
    manager.state = "another machine"
    for command in ("list", "verify", "doctor"):
        answer = manager.run(command, "--trust", fingerprint)
        assert (answer.code, "is not in the store" in answer.out + answer.err) == (77, True), (command, answer)
    assert manager.run("list").code == 0, "nobody said that there is one"
    (tmp_path / "store").mkdir()
    for state in ("another machine", "state"):
        manager.state = state
        answer = manager.run("list", "--trust", fingerprint)
        assert (answer.code, "is not in the store" in answer.err) == (77, True), (state, answer)


def test_what_cannot_be_verified_is_said(manager: Manager) -> None:
    assert manager.run("verify", JOB).code == 66
    manager.record(JOB)
    refused = manager.run("verify", BACKUP_ENCRYPTION_KEY=None)
    assert (refused.code, "BACKUP_ENCRYPTION_KEY" in refused.err) == (77, True)
    assert manager.run("verify", "--level", "2", BACKUP_ENCRYPTION_KEY=None).code == 0


# -- runs that end early ------------------------------------------------------------------------------------------------


@pytest.fixture
def slow(manager: Manager, source: Path, tmp_path: Path) -> Manager:
    """A run that lasts for seconds, on a repository that is there."""
    manager.jobs[0] |= {"compression": False}
    manager.record(JOB)
    with (source / "large").open("wb") as file:
        for _ in range(600):
            file.write(os.urandom(1 << 20))
    return manager


def _uploading(manager: Manager) -> list[Path]:
    """The archive that is being written, once it has something."""
    return [path for path in (manager.base / "store").rglob(".*.partial") if size_of(path) > 1 << 20]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_run_stops_within_two_seconds_and_leaves_nothing(slow: Manager, number: signal.Signals, code: int) -> None:
    store = slow.base / "store"
    stored = {path for path in store.rglob("*") if path.is_file()}
    process = slow.start("execute", JOB, "--output", "json")
    wait_until("upload", lambda: _uploading(slow), process)
    answer, seconds = interrupt(process, number)
    assert (answer.code, answer.json["status"]) == (code, "cancelled"), answer
    assert seconds < 2
    assert {path for path in store.rglob("*") if path.is_file()} == stored


def test_after_a_kill_the_next_run_goes_on(slow: Manager, source: Path, tmp_path: Path) -> None:
    process = slow.start("execute", JOB, "--bandwidth-limit", "60M")
    wait_until("upload", lambda: _uploading(slow), process)
    process.kill()
    ended(process)
    record = slow.record(JOB)
    assert [entry["id"] for entry in slow.run("list", "--output", "json").json if entry["status"] == "completed"][1:] == [record["id"]]
    assert slow.run("restore", record["id"], "--target", str(tmp_path / "back")).code == 0
    assert facts(tmp_path / "back") == facts(source)


def test_a_second_run_of_the_same_chain_is_turned_away(slow: Manager) -> None:
    process = slow.start("execute", JOB, "--bandwidth-limit", "60M")
    wait_until("upload", lambda: _uploading(slow), process)
    process.send_signal(signal.SIGSTOP)  # or it may end before the others have begun
    try:
        for job in (JOB, "database-incremental"):
            assert slow.record(job, code=75)["error"].startswith(f"Busy: a backup of chain {JOB} is running on this machine already")
    finally:
        process.send_signal(signal.SIGCONT)
    assert ended(process).code == 0


def test_a_kill_while_the_repository_is_made_leaves_one_that_works(manager: Manager, tmp_path: Path, source: Path) -> None:
    process = manager.start("execute", JOB)
    wait_until("repo.json", lambda: list((tmp_path / "store").rglob("repo.json")), process)
    process.kill()
    ended(process)
    record = manager.record(JOB)
    assert (record["status"], record["warnings"]) == ("completed", [])
    assert manager.run("restore", JOB, "--target", str(tmp_path / "back")).code == 0
    assert facts(tmp_path / "back") == facts(source)


def test_no_secret_is_written_anywhere(manager: Manager, tmp_path: Path) -> None:
    answer = manager.run("execute", JOB, "--verbose")
    assert PASSPHRASE not in answer.out + answer.err
    for path in tmp_path.rglob("*"):
        assert path.is_symlink() or not path.is_file() or PASSPHRASE.encode() not in path.read_bytes()


def test_help_needs_no_more_than_click_and_no_command_loads_kubernetes(manager: Manager) -> None:
    loaded = "import sys\ntry:\n    main(prog_name='backup-manager')\nfinally:\n    print(*(set(sys.modules) & {names}), file=sys.stderr)"
    for arguments, names in (
        (["--help"], {"pydantic", "yaml", "cryptography", "obstore", "zstandard"}),
        (["list"], {"kopf", "kubernetes", "boto3"}),
    ):
        program = f"from iot_backup.cli import main\n{loaded.replace('{names}', repr(names))}"
        config = [] if arguments == ["--help"] else ["--config", str(manager.base / "backup.yml")]
        manager.run("config", "check")
        done = subprocess.run(
            [sys.executable, "-c", program, *arguments, *config],
            env={"PYTHONPATH": str(ROOT / "operator"), "STATE_DIR": str(manager.base / "state")},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == "\n"


@pytest.mark.parametrize("fingerprint", ["", "00", "g" * 64])
def test_what_is_no_fingerprint_is_no_trust(tmp_path: Path, fingerprint: str) -> None:
    manager = Manager(tmp_path, json.dumps({"local": {"path": str(tmp_path / "store")}}), [{"id": "plain", "source": str(tmp_path)}])
    answer = manager.run("list", "--trust", fingerprint)
    assert (answer.code, "64 hex digits" in answer.err) == (2, True), answer


def test_where_no_backup_is_nothing_is_verified(tmp_path: Path) -> None:
    """A storage that is not mounted must not look like a sound one."""
    manager = Manager(tmp_path, json.dumps({"local": {"path": str(tmp_path / "store")}}), [{"id": "plain", "source": str(tmp_path)}])
    answer = manager.run("verify", "--output", "json")
    assert (answer.code, answer.json["error"].partition(":")[0]) == (66, "SourceUnavailable"), answer
