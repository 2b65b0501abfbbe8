"""Every fault at every stage of a backup: after it the store holds what it held before, plus at most garbage that an announcement
names; the earlier backups restore, and the next run succeeds. docs/faults.md is the report, and these tests hold it to the truth.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from iot_backup.repository.catalogue import Entry
from iot_backup.repository.opening import open_to_look
from iot_backup.storage.secret_values import MountedSecrets
from iot_backup.worker.backup import backup
from iot_backup.worker.cancelling import Cancel
from iot_backup.worker.restore import restore
from tests.pipeline.faults_at_stages import FAULTS, STAGES
from tests.pipeline.roundtrip import facts
from tests.pipeline.sites import NAMESPACE, Site
from tests.pipeline.worker_process import ROOT

REPORT = ROOT / "docs" / "faults.md"
PRELUDE = """
import sys
sys.path.insert(0, {root!r})
from tests.pipeline.faults_at_stages import install
install({stage!r}, {fault!r})
"""


def reported() -> dict[tuple[str, str], str]:
    """(stage, fault) to outcome, from the table."""
    rows = [[cell.strip() for cell in line.strip("| ").split("|")] for line in REPORT.read_text().splitlines() if line.startswith("|")]
    head, _, *body = rows
    return {(row[0], fault): outcome for row in body if row[0] in STAGES for fault, outcome in zip(head[1:], row[1:], strict=True)}


@pytest.fixture
def plant(tmp_path: Path) -> Path:
    root = tmp_path / "plant"
    (root / "sensors").mkdir(parents=True)
    for number in range(20):
        (root / "sensors" / f"{number}.json").write_bytes(b'{"celsius": %d}' % number * 100)
    (root / "image.bin").write_bytes(bytes(range(256)) * 6000)
    return root


def test_the_report_has_every_stage_and_every_fault() -> None:
    assert set(reported()) == {(stage, fault) for stage in STAGES for fault in FAULTS}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("stage", STAGES)
def test_a_fault_at_a_stage(volume_site: Site, plant: Path, stage: str, fault: str) -> None:
    """The faulty run is a process of its own, and really killed; the others run here."""
    site = volume_site
    earlier, as_it_was = backed_up(site, plant), facts(plant)
    before = site.place.keys()
    (plant / "sensors" / "3.json").write_bytes(b"changed")
    (plant / "sensors" / "4.json").unlink()
    now = facts(plant)

    prelude = PRELUDE.format(root=str(ROOT), stage=stage, fault=fault)
    ended = site.ended(site.start(site.backup_order(type="Incremental"), source=plant, prelude=prelude))
    after = site.place.keys()
    new = [found[1] for key in after - before if (found := re.search(r"-([0-9a-f]{16})\.manifest\.json$", key))]
    good = {entry.member.id for entry in entries(site) if entry.problem is None}

    assert before <= after, "what was there is there"
    assert unnamed_garbage(site, before) == set()
    words = [
        f"exit {ended.code}" if ended.code >= 0 else "killed",
        "a backup" if new else "no backup",
        *(["garbage, announced"] if any(key.startswith("announce/") for key in after) else []),
    ]
    assert "; ".join(words) == reported()[stage, fault], ended.log
    assert good == {earlier, *new}
    if ended.code == 0:
        assert [ended.archive] == new

    following = backed_up(site, plant)
    for archive, tree in [(earlier, as_it_was), (following, now), *((archive, now) for archive in new)]:
        assert restored(site, archive) == tree


def backed_up(site: Site, source: Path) -> str:
    result, _ = backup(site.backup_order(type="Incremental"), MountedSecrets(site.secrets_dir), source, Cancel())
    return result.archive


def restored(site: Site, archive: str) -> dict[bytes, tuple[object, ...]]:
    target = site.folder("target")
    restore(site.restore_order(archive), MountedSecrets(site.secrets_dir), target, Cancel())
    return facts(target)


def entries(site: Site) -> list[Entry]:
    assert site.trust
    return open_to_look(site.store(), NAMESPACE, site.trust).catalogue.entries("daily")


def unnamed_garbage(site: Site, before: set[str]) -> set[str]:
    """New objects that neither a manifest nor an announcement accounts for."""
    new = site.place.keys() - before
    announced = [json.loads(site.place.read(key)) for key in new if key.startswith("announce/")]
    named = {key for record in announced for key in record["objects"]}
    stems = {key.removesuffix(".manifest.json") for key in new if key.endswith(".manifest.json")}
    partial = {key for key in new if key.rpartition("/")[2].startswith(".")}
    kept = {key for key in new if any(key.startswith(stem) for stem in stems)}
    return {key for key in new - named - kept - partial if not key.startswith("announce/")}
