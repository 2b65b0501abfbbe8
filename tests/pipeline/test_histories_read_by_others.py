"""Random histories again: what the product's chains hold, the stand-alone reader gives back, and a verification finds whole."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, given, settings

from iot_backup.repository.opening import open_for_restore
from iot_backup.storage.secret_values import MountedSecrets
from iot_backup.worker import deltas
from iot_backup.worker.backup import backup
from iot_backup.worker.cancelling import Cancel
from iot_backup.worker.verify import Level, Wish, verify
from tests.pipeline.roundtrip import facts
from tests.pipeline.sites import NAMESPACE, ROOT, Folder, Site
from tests.pipeline.test_histories import SMALLEST_DELTA, Action, rounds

EXAMPLES = int(os.environ.get("IOT_BACKUP_HISTORIES", "30")) // 2
READER = runpy.run_path(str(Path(__file__).resolve().parents[2] / "extras" / "restore.py"))


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    database=None,
)
@given(history=rounds)
def test_every_backup_is_read_alike_by_who_knows_the_pages_alone(seed: Site, history: list[tuple[list[Action], str]]) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(deltas, "SMALLEST", SMALLEST_DELTA)
        base = Path(folder)
        (base / "nas").mkdir()
        site, source = seed.elsewhere(Folder(base / "nas"), base), base / "source"
        source.mkdir()
        seen = []
        for steps, type_ in history:
            for step in steps:
                step(source)
            before = facts(source)
            result, _ = backup(site.backup_order(type=type_, allow_empty=True), MountedSecrets(site.secrets_dir), source, Cancel())
            seen.append((result.archive, before))
        opened = open_for_restore(site.store(), NAMESPACE, site.trust, brought=site.person)
        assert opened.identity is not None
        found = verify(opened, Wish(Level.RESTORED, scratch=site.folder("scratch")))
        assert found.ok, found
        assert verify(opened, Wish(Level.CONTENT)).ok
        repository = READER["Repository"](str(base / "nas" / ROOT), READER["Identity"](opened.identity.text), None)
        for archive, expected in seen:
            target = site.folder("target")
            READER["restore"](READER["Tree"](repository, repository.find(archive)), READER["Target"](str(target)), [])
            assert facts(target) == expected
