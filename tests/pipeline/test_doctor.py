"""`backup-manager doctor` tells what stands in the way of a backup or a restore, and what to do."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from tests.pipeline.manager import Manager

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


def test_a_config_with_faults_is_no_matter_for_it(manager: Manager) -> None:
    manager.jobs[0]["typ"] = "full"
    answer = manager.run("doctor", "--output", "json")
    assert answer.code == 64
    assert "did you mean 'type'?" in json.loads(answer.out)["error"]
