"""A backup and its restore by the real process: the tree comes back, by us and by stock tools."""

from __future__ import annotations

from pathlib import Path

from tests.pipeline.roundtrip import facts, odd_tree
from tests.pipeline.sites import Site


def test_an_odd_tree_comes_back(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    odd_tree(source)
    done = site.backup(source)
    target = site.folder("target")
    back = site.restore(done.archive, target)
    assert facts(target) == facts(source)
    assert (back.restore.files, back.restore.checksum) == (done.backup.files, done.backup.checksum)
    assert back.restore.bytes == done.backup.source_bytes
    assert done.warnings == back.warnings == {}
    assert {key for key in site.place.keys() if key.startswith("announce/")} == set()
