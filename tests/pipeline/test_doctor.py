"""`backup-manager doctor` tells what stands in the way of a backup or a restore, and what to do."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import pytest

from iot_backup.crypto.identity import Identity
from tests.pipeline.manager import Manager
from tests.pipeline.stored import spoil

JOB = "historian"


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    source = tmp_path / "source"
    source.mkdir()
    (source / "readings").write_text("21.5\n")
    return Manager(tmp_path, f"{{local: {{path: {tmp_path / 'store'}}}}}", [{"id": JOB, "type": "full", "source": str(source)}])


def findings(manager: Manager, code: int = 0, **environ: str | None) -> dict[str, tuple[str, str]]:
    answer = manager.run("doctor", "--output", "json", **environ)
    assert answer.code == code, answer
    return {each["what"]: (each["level"], each["detail"]) for each in answer.json}


def test_before_the_first_backup_it_says_what_that_will_make(manager: Manager, tmp_path: Path) -> None:
    found = findings(manager)
    assert found["state folder"] == ("ok", f"{tmp_path / 'state'}, which the first run makes")
    assert found["storage local: repository"][0] == "warning"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["backup.yml", "source"], "looking makes nothing"


def test_after_it_everything_is_well(manager: Manager, tmp_path: Path) -> None:
    id_ = manager.record(JOB)["id"]
    before = sorted(tmp_path.rglob("*"))
    found = findings(manager)
    assert {level for level, _ in found.values()} == {"ok"}, found
    assert found[f"job {JOB}: newest backup"][1].startswith(id_)
    assert sorted(tmp_path.rglob("*")) == before
    assert "the key opens it" in manager.run("doctor").out


def test_a_wrong_key_is_told_with_its_exit_code(manager: Manager) -> None:
    manager.record(JOB)
    level, detail = findings(manager, code=77, BACKUP_ENCRYPTION_KEY="another")["storage local: repository"]
    assert (level, detail.partition(":")[0]) == ("problem", "WrongKey")


def test_no_key_is_told(manager: Manager) -> None:
    level, detail = findings(manager, code=77, BACKUP_ENCRYPTION_KEY=None)["storage local: repository"]
    assert (level, detail.partition(":")[0]) == ("problem", "KeyMissing")


def test_a_source_that_is_not_there_is_told(manager: Manager, tmp_path: Path) -> None:
    shutil.rmtree(tmp_path / "source")
    level, detail = findings(manager, code=64)[f"job {JOB}: source"]
    assert (level, "cannot be listed: No such file or directory" in detail) == ("problem", True)


def test_a_running_database_is_told(manager: Manager, tmp_path: Path) -> None:
    for name in ("PG_VERSION", "postmaster.pid"):
        (tmp_path / "source" / name).touch()
    level, detail = findings(manager)[f"job {JOB}: source"]
    assert (level, "InconsistentSource" in detail) == ("warning", True)


def test_a_storage_that_lost_its_newest_backup_is_told(manager: Manager, tmp_path: Path) -> None:
    manager.record(JOB)
    id_ = manager.record(JOB)["id"]
    (newest,) = (tmp_path / "store").rglob(f"*{id_}.manifest.json")
    newest.unlink()
    level, detail = findings(manager, code=77)[f"job {JOB}: newest backup"]
    assert (level, detail.partition(":")[0]) == ("problem", "RolledBack")


def test_a_writer_key_that_nobody_admitted_is_told(manager: Manager, tmp_path: Path) -> None:
    manager.record(JOB)
    (key,) = (tmp_path / "state").rglob("writer.key")
    key.write_bytes(os.urandom(32))
    level, detail = findings(manager, code=77)["storage local: this machine's key"]
    assert (level, "key admit" in detail) == ("problem", True)


def test_a_renewed_repository_that_this_machine_forgot_is_told_as_the_next_run_tells_it(manager: Manager) -> None:
    manager.record(JOB)
    assert manager.run("key", "renew").code == 0
    fingerprint = manager.run("key", "list", "--output", "json").json["fingerprint"]
    manager.state = "forgotten"
    level, detail = findings(manager, code=77)["storage local: this machine's key"]
    assert (level, "renewed 1 times" in detail) == ("problem", True)
    manager.record(JOB, code=77)
    manager.state = "forgotten again"
    assert manager.run("doctor", "--trust", fingerprint).code == 0
    manager.record(JOB, "--trust", fingerprint)


def test_an_unencrypted_repository_takes_no_second_machine(manager: Manager, tmp_path: Path) -> None:
    manager.jobs[0]["encryption"] = False
    manager.record(JOB)
    fingerprint = hashlib.sha256((tmp_path / "store/site/default-plain/repo.json").read_bytes()).hexdigest()
    manager.state = "another machine"
    answer = manager.run("doctor", "--trust", fingerprint)
    assert (answer.code, "only from the machine that made it" in answer.out) == (77, True), answer
    manager.record(JOB, "--trust", fingerprint, code=77)
    answer = manager.run("doctor", "--trust", fingerprint)
    assert (answer.code, "only from the machine that made it" in answer.out) == (77, True), "with the key that the run made, too"


def test_an_identity_is_for_restores_alone(manager: Manager, tmp_path: Path) -> None:
    manager.record(JOB)
    person = Identity.generated()
    (tmp_path / "person").write_text(person.text)
    assert manager.run("key", "add", "--recipient", person.recipient).code == 0
    for without in (None, "  "):
        answer = manager.run("doctor", "--identity", str(tmp_path / "person"), "--output", "json", BACKUP_ENCRYPTION_KEY=without)
        (found,) = [each for each in answer.json if each["what"] == "storage local: repository"]
        assert (answer.code, found["level"], "the next backup needs BACKUP_ENCRYPTION_KEY" in found["detail"]) == (0, "warning", True)
    assert manager.run("doctor", "--identity", str(tmp_path / "person")).code == 0
    assert manager.run("doctor", "--identity", str(tmp_path / "person"), BACKUP_ENCRYPTION_KEY="another").code == 77


def test_a_newest_backup_that_is_known_to_be_damaged_is_told(manager: Manager, tmp_path: Path) -> None:
    id_ = manager.record(JOB)["id"]
    (archive,) = (tmp_path / "store").rglob(f"*{id_}*.age")
    spoil(archive)
    assert manager.run("verify").code == 65
    level, detail = findings(manager, code=65)[f"job {JOB}: newest backup"]
    assert (level, f"{id_} was found damaged" in detail) == ("problem", True)
    manager.record(JOB)
    assert findings(manager)[f"job {JOB}: newest backup"][0] == "ok"


def test_a_source_around_its_storage_is_told(manager: Manager, tmp_path: Path) -> None:
    manager.storage = f"{{local: {{path: {tmp_path / 'source' / 'store'}}}}}"
    level, detail = findings(manager, code=64)[f"job {JOB}: source"]
    assert (level, "contains the storage" in detail) == ("problem", True)
    checked = manager.run("config", "check")
    assert (checked.code, f"job {JOB}: the source" in checked.err) == (64, True), checked
    manager.record(JOB, code=64)
    manager.jobs[0]["exclude"] = ["/store/"]
    assert manager.run("config", "check").code == 0
    findings(manager)


def test_a_storage_that_nobody_can_make_is_told(manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for folder in ("/proc/store", str(tmp_path / "file" / "store")):
        manager.storage = f"{{local: {{path: {folder}}}}}"
        level, detail = findings(manager, code=64)["storage local: repository"]
        assert (level, "cannot be made" in detail) == ("problem", True)
        manager.record(JOB, code=64)


def test_a_config_with_faults_is_no_matter_for_it(manager: Manager) -> None:
    manager.jobs[0]["typ"] = "full"
    answer = manager.run("doctor", "--output", "json")
    assert answer.code == 64
    assert "did you mean 'type'?" in json.loads(answer.out)["error"]
