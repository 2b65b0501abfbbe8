"""The Python library, by its page and beyond: real bytes, the storages and state folders of the commands."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import textwrap
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from iot_backup import BackupJob, BackupManager, BackupStatus, BackupType, ConflictMode, RestoreManager, RestoreType
from iot_backup.errors import InvalidSpec, RolledBack
from tests.pipeline.manager import PASSPHRASE
from tests.pipeline.roundtrip import facts
from tests.pipeline.worker_process import ROOT

PAGE = ROOT / "docs" / "python.md"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    folder = tmp_path / "historian"
    (folder / "readings").mkdir(parents=True)
    (folder / "readings" / "2026.csv").write_text("time,value\n1,21.5\n")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def manager(tmp_path: Path, source: Path) -> BackupManager:
    return made(tmp_path, source)


def made(tmp_path: Path, source: Path, environ: Mapping[str, str] | None = None) -> BackupManager:
    config = {"backup": {"storage": {"local": {"path": str(tmp_path / "store")}}}}
    given = {"BACKUP_ENCRYPTION_KEY": PASSPHRASE} if environ is None else environ
    manager = BackupManager(config, state_dir=tmp_path / "state", environ=given)
    manager.add_job(BackupJob(id="full", source=source))
    manager.add_job(BackupJob(id="daily", source=source, type=BackupType.INCREMENTAL))
    return manager


def test_the_pages_example_runs(tmp_path: Path, source: Path) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    for there in ("/var/backups/iot", "/var/lib/historian", "/srv/restored", "/srv/one-file"):
        assert there in code
    code = (
        code.replace("/var/backups/iot", str(tmp_path / "store"))
        .replace("/var/lib/historian", str(source))
        .replace("/srv/", f"{tmp_path}/srv/")
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        env={"PYTHONPATH": str(ROOT / "operator"), "BACKUP_ENCRYPTION_KEY": PASSPHRASE, "STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert facts(tmp_path / "srv" / "restored") == facts(source)
    assert [path.name for path in (tmp_path / "srv/one-file").rglob("*") if path.is_file()] == ["2026.csv"]


def test_a_chain_and_its_records(manager: BackupManager, source: Path, tmp_path: Path) -> None:
    first = asyncio.run(manager.execute_backup("full"))
    (source / "new").write_text("x")
    second = asyncio.run(manager.execute_backup("daily"))
    assert (first.status, second.status, second.type) == (BackupStatus.COMPLETED, "completed", BackupType.INCREMENTAL)
    assert [record.id for record in asyncio.run(manager.list_backups())] == [first.id, second.id]
    assert [record.id for record in manager.records("daily")] == [second.id]
    restored = asyncio.run(RestoreManager(manager).execute_restore("daily", tmp_path / "back"))
    assert (restored.files_restored, restored.status, restored.type) == (3, BackupStatus.COMPLETED, RestoreType.FULL)
    assert facts(tmp_path / "back") == facts(source)


def test_a_restore_without_verification_reads_each_archive_once(manager: BackupManager, source: Path, tmp_path: Path) -> None:
    record = asyncio.run(manager.execute_backup("full"))
    restores = RestoreManager(manager)
    twice, once = (asyncio.run(restores.plan("full", tmp_path / "back", verify=verify)).facts["read_bytes"] for verify in (True, False))
    assert twice - once == record.size_bytes
    asyncio.run(restores.execute_restore("full", tmp_path / "back", verify=False))
    assert facts(tmp_path / "back") == facts(source)


def test_a_run_that_fails_gives_a_record_and_keeps_it(tmp_path: Path, source: Path) -> None:
    manager = made(tmp_path, source, environ={})
    record = asyncio.run(manager.execute_backup("full"))
    assert record.status == BackupStatus.FAILED
    assert record.error is not None
    assert record.error.startswith("KeyMissing")
    assert [each.error for each in manager.records("full")] == [record.error]


def test_a_cancelled_task_publishes_nothing_and_the_next_run_succeeds(manager: BackupManager, source: Path, tmp_path: Path) -> None:
    (source / "noise").write_bytes(b"\0".join(str(number).encode() for number in range(20_000_000)))  # takes a second to read

    async def interrupted() -> None:
        task = asyncio.create_task(manager.execute_backup("full"))
        while not list((tmp_path / "store").rglob("announce/*")):  # noqa: ASYNC110 - a store tells nobody
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(interrupted(), 60))
    assert not list((tmp_path / "store").rglob("*.manifest.json"))
    (source / "noise").unlink()
    assert asyncio.run(manager.execute_backup("full")).status == BackupStatus.COMPLETED


def test_a_part_with_a_conflict_mode_and_a_plan(manager: BackupManager, source: Path, tmp_path: Path) -> None:
    asyncio.run(manager.execute_backup("full"))
    restores = RestoreManager(manager)
    plan = asyncio.run(restores.plan("full", tmp_path / "back"))
    assert plan.possible
    assert plan.facts["add"] > 0
    assert not (tmp_path / "back").exists()
    (tmp_path / "back" / "readings").mkdir(parents=True)
    (tmp_path / "back" / "readings" / "2026.csv").write_text("mine")
    part = restores.execute_restore(
        "full", tmp_path / "back", restore_type="selective", include=["/readings/"], on_conflict=ConflictMode.SKIP_EXISTING
    )
    assert asyncio.run(part).type is RestoreType.SELECTIVE
    assert (tmp_path / "back" / "readings" / "2026.csv").read_text() == "mine"


def test_a_moment_before_the_first_backup_has_none(manager: BackupManager, tmp_path: Path) -> None:
    asyncio.run(manager.execute_backup("full"))
    early = datetime.now(UTC) - timedelta(days=1)
    with pytest.raises(Exception, match="no backup of"):
        asyncio.run(RestoreManager(manager).execute_restore("full", tmp_path / "back", at=early))


def test_a_storage_that_lost_backups_is_told(manager: BackupManager, tmp_path: Path) -> None:
    asyncio.run(manager.execute_backup("full"))
    for manifest in (tmp_path / "store").rglob("*.manifest.json"):
        manifest.unlink()
    with pytest.raises(RolledBack):
        asyncio.run(manager.list_backups())


def test_what_is_wrong_is_told_and_changes_nothing(manager: BackupManager, source: Path) -> None:
    with pytest.raises(InvalidSpec, match="like an earlier job's"):
        manager.add_job(BackupJob(id="full", source=source))
    with pytest.raises(InvalidSpec, match="did you mean 'incremental'"):
        manager.add_job(BackupJob(id="other", source=source, type="incremntal"))
    with pytest.raises(InvalidSpec, match="no job 'ful'; did you mean 'full'"):
        manager.remove_job("ful")
    assert manager.jobs == ("full", "daily")
    manager.remove_job("daily")
    assert manager.jobs == ("full",)
    with pytest.raises(InvalidSpec, match="selective"):
        asyncio.run(RestoreManager(manager).execute_restore("full", source, include=["x"]))


def test_a_file_is_as_good_as_a_mapping(tmp_path: Path, source: Path) -> None:
    (tmp_path / "backup.yml").write_text(
        textwrap.dedent(f"""
            backup:
              storage: {{local: {{path: {tmp_path / "store"}}}}}
              jobs:
                - {{id: full, type: full, source: {source}}}
        """)
    )
    manager = BackupManager(tmp_path / "backup.yml", state_dir=tmp_path / "state", environ={"BACKUP_ENCRYPTION_KEY": PASSPHRASE})
    manager.add_job(BackupJob(id="daily", source=source, type="incremental"))
    assert manager.jobs == ("full", "daily")
    assert asyncio.run(manager.execute_backup("full")).status == BackupStatus.COMPLETED


def test_importing_the_package_loads_nothing() -> None:
    program = "import sys, iot_backup; print(sorted({'pydantic', 'obstore', 'click', 'cryptography'} & set(sys.modules)), 'BackupManager' in dir(iot_backup))"
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONPATH": str(ROOT / "operator")}, capture_output=True, text=True, check=True
    )
    assert done.stdout == "[] True\n"
