"""A backup that took too long leaves nothing behind."""

from __future__ import annotations

import asyncio
import itertools
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from iot_backup import BackupManager
from iot_backup.core import spec
from iot_backup.crypto.signing import WriterKey
from iot_backup.errors import TookTooLong
from iot_backup.repository import creation
from iot_backup.repository.writers import Keys
from iot_backup.standalone import execute
from iot_backup.storage.secret_values import MountedSecrets
from iot_backup.worker import backup
from iot_backup.worker.cancelling import Cancel
from tests.pipeline.sites import Folder, Site


def test_a_backup_beyond_its_timeout_is_not_committed_and_removes_what_it_uploaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "claim").mkdir()
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "f").write_bytes(b"content")
    site = Site(Folder(tmp_path / "claim"), tmp_path, passphrase=None, algorithm="None")
    order = spec.ProbeOrder(repository=site.repository())
    standing = creation.probe(site.store(), order, Keys(WriterKey(site.writer_key)), datetime.now(UTC), bytes)
    site.trust = spec.Trust(repository_id=standing.record.repository_id, fingerprint=standing.fingerprint)
    before = site.place.keys()

    clock = itertools.count(0.0, 10.0)
    slow = SimpleNamespace(CLOCK_BOOTTIME=time.CLOCK_BOOTTIME, clock_gettime=lambda _clock: next(clock), monotonic=time.monotonic)
    with monkeypatch.context() as patched:
        patched.setattr(backup, "time", slow)
        with pytest.raises(TookTooLong, match="longer than its timeout"):
            backup.backup(site.backup_order(timeout_seconds=15), MountedSecrets(site.secrets_dir), tmp_path / "source", Cancel())
    assert site.place.keys() == before

    committed, _ = backup.backup(site.backup_order(timeout_seconds=15), MountedSecrets(site.secrets_dir), tmp_path / "source", Cancel())
    assert f"{committed.archive}.manifest.json" in "".join(site.place.keys())


@pytest.mark.parametrize(("hours", "seconds"), [(None, 86400), (72, 259200)])
def test_a_job_of_the_config_has_a_timeout_and_its_error_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hours: int | None, seconds: int
) -> None:
    orders: list[spec.BackupOrder] = []

    def slow(order: spec.BackupOrder, *_: object, **__: object) -> None:
        orders.append(order)
        raise TookTooLong("the backup took longer than its timeout. Raise spec.timeout, or find out what was slow.")

    monkeypatch.setattr(execute, "run_backup", slow)
    (tmp_path / "source").mkdir()
    job = {"id": "a", "source": str(tmp_path / "source"), "encryption": False} | ({"timeout_hours": hours} if hours else {})
    config = {"backup": {"storage": {"local": {"path": str(tmp_path / "store")}}, "jobs": [job]}}
    manager = BackupManager(config, state_dir=tmp_path / "state", environ={})
    record = asyncio.run(manager.execute_backup("a"))
    assert [order.timeout_seconds for order in orders] == [seconds]
    assert (
        record.error == "TookTooLong: the backup took longer than its timeout. Raise timeout_hours of the job, or find out what was slow."
    )
