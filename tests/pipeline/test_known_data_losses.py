"""docs/data-losses.md, held to its word: each test it names exists, and those that had no better place are here."""

from __future__ import annotations

import ast
import os
import random
import re
import subprocess
from pathlib import Path

import pytest

from iot_backup.worker.index import FILE
from tests.pipeline.roundtrip import back_up, bring_back, facts, rows
from tests.pipeline.sites import Site
from tests.pipeline.stored import size_of

PROJECT = Path(__file__).resolve().parents[2]
PAGE = PROJECT / "docs" / "data-losses.md"
ROWS = [line for line in PAGE.read_text().splitlines() if line.startswith("| ") and not line.startswith("| seen in")]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_test_that_the_page_names_exists(row: str) -> None:
    what = row.split("|")[3]
    named = re.findall(r"`(tests/\S+\.py)::(test_\w+)`", what)
    assert named or re.match(r" \*with [a-z ]+\*", what), "a loss without a test, and without a word on why"
    for path, name in named:
        tree = ast.parse((PROJECT / path).read_text())
        functions = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        assert name in functions, path


def test_the_page_has_a_row_for_each_loss_we_know_of() -> None:
    assert len(ROWS) == len({row.split("|")[1] for row in ROWS}) == 22


@pytest.mark.parametrize("level", [1, 3, 9, 19])
def test_every_level_of_zstd_decodes_to_what_went_in(tmp_path: Path, level: int) -> None:
    """restic #4523, #4677. By the stock program too, which has a libzstd of its own."""
    source, target = tmp_path / "source", tmp_path / "target"
    source.mkdir()
    target.mkdir()
    rng = random.Random(level)
    (source / "noise").write_bytes(rng.randbytes(3 << 20))
    (source / "words").write_bytes(b" ".join(rng.choice([b"pump", b"valve", b"71.5", b"ok"]) for _ in range(400_000)))
    (source / "zeros").write_bytes(bytes(5 << 20))
    (source / "mixed").write_bytes(b"".join(rng.randbytes(100) * rng.randrange(1, 50) for _ in range(1000)))
    backup = back_up(source, cipher="None", level=level)
    bring_back(backup, target)
    assert facts(target) == facts(source)
    by_stock = subprocess.run(["zstd", "-dqc"], input=backup.archive, capture_output=True, check=True).stdout
    assert len(by_stock) == backup.packed.tar_size
    for row in rows(backup):
        if row.kind == FILE:
            assert by_stock[row.offset + 512 :][: row.size] == (source / os.fsdecode(row.path)).read_bytes()


def test_a_run_after_a_killed_one_stores_no_file_empty(volume_site: Site, tmp_path: Path) -> None:
    """duplicacy #90. What the killed run left is not taken up; the next reads every file anew."""
    site, source = volume_site, tmp_path / "source"
    source.mkdir()
    for number in range(40):
        (source / f"{number}.bin").write_bytes(os.urandom(1 << 20))

    def half_way() -> bool:
        chains = tmp_path / "nas"
        return any("daily" in str(path) and size_of(path) > 10 << 20 for path in chains.rglob("*.partial"))

    worker = site.start(site.backup_order(bandwidth_limit=16 << 20), source=source)  # else it may end between two looks
    assert worker.struck(half_way), worker.log
    assert not site.manifests()
    done = site.backup(source)
    assert (done.backup.files, done.backup.source_bytes) == (40, 40 << 20)
    site.restores(done.archive, source)
    assert len(site.manifests()) == 1
