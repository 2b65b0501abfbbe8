"""A backup that took too long leaves nothing behind."""

from __future__ import annotations

import itertools
import time
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from iot_backup.core import spec
from iot_backup.crypto.signing import WriterKey
from iot_backup.errors import Busy
from iot_backup.repository import creation
from iot_backup.repository.writers import Keys
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
        with pytest.raises(Busy, match="longer than its timeout"):
            backup.backup(site.backup_order(timeout_seconds=15), MountedSecrets(site.secrets_dir), tmp_path / "source", Cancel())
    assert site.place.keys() == before

    committed, _ = backup.backup(site.backup_order(timeout_seconds=15), MountedSecrets(site.secrets_dir), tmp_path / "source", Cancel())
    assert f"{committed.archive}.manifest.json" in "".join(site.place.keys())
