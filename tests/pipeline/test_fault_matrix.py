"""Every fault at every stage of a backup: after it the store holds what it held before, plus at most garbage that an announcement
names; the earlier backups restore, and the next run succeeds. docs/faults.md is the report, and these tests hold it to the truth.
"""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.pipeline.faults_at_stages import FAULTS, STAGES
from tests.pipeline.sites import Site
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
def test_a_fault_at_a_stage(volume_site: Site, plant: Path, tmp_path: Path, stage: str, fault: str) -> None:
    site = volume_site
    earlier = site.backup(plant).archive
    copy = tmp_path / "as it was"
    site.restore(earlier, copy_folder(copy)).restore  # noqa: B018 - fails with the log
    before = site.place.keys()
    (plant / "sensors" / "3.json").write_bytes(b"changed")
    (plant / "sensors" / "4.json").unlink()

    prelude = PRELUDE.format(root=str(ROOT), stage=stage, fault=fault)
    ended = site.ended(site.start(site.backup_order(type="Incremental"), source=plant, prelude=prelude))
    after = site.place.keys()
    new = {key for key in after - before if key.endswith(".manifest.json")}

    assert before <= after, "what was there is there"
    assert unnamed_garbage(site, before) == set()
    words = [f"exit {ended.code}" if ended.code >= 0 else "killed", "a backup" if new else "no backup"]
    left = {key for key in after - before if not key.startswith("chains/") or not new}
    assert "; ".join([*words, *(["garbage, announced"] if left else [])]) == reported()[stage, fault]
    if ended.code == 0:
        assert new
        assert ended.report
        assert ended.report.backup

    following = site.backup(plant, type="Incremental")
    assert following.backup.type in ("Incremental", "Full")
    site.restores(following.archive, plant)
    site.restores(earlier, copy)
    for key in new:
        found = re.search(r"-([0-9a-f]{16})\.manifest", key)
        assert found
        site.restores(found[1], plant)


def copy_folder(path: Path) -> Path:
    path.mkdir()
    return path


def unnamed_garbage(site: Site, before: set[str]) -> set[str]:
    """New objects that neither a manifest nor an announcement accounts for."""
    new = site.place.keys() - before
    announced = [json.loads(site.place.read(key)) for key in new if key.startswith("announce/")]
    named = {key for record in announced for key in record["objects"]}
    stems = {key.removesuffix(".manifest.json") for key in new if key.endswith(".manifest.json")}
    partial = {key for key in new if key.rpartition("/")[2].startswith(".")}
    kept = {key for key in new if any(key.startswith(stem) for stem in stems)}
    return {key for key in new - named - kept - partial if not key.startswith("announce/")}
