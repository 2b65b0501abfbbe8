"""What must not lie where, and what must not stand in files that are handed out."""

from __future__ import annotations

import operator
import re
import subprocess
import sysconfig
from pathlib import Path

import pytest

from tests.packaging.rendering import ROOT


def test_nothing_shadows_pythons_own_operator_module() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert not (ROOT / "operator.py").exists()
    assert [path.name for path in (ROOT / "operator").glob("*.py")] == []
    assert Path(operator.__file__).parent == Path(sysconfig.get_path("stdlib"))


@pytest.mark.parametrize("path", sorted((ROOT / "requirements").glob("*.txt")), ids=lambda path: path.name)
def test_requirements_are_locked_by_hash_and_name_no_index(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert not [line for line in lines if re.match(r"\s*(--(extra-)?index-url|--find-links|--trusted-host|-i|-f)\b", line) or "://" in line]
    pinned = [line for line in lines if re.match(r"[a-zA-Z0-9]", line)]
    assert pinned
    assert [line for line in pinned if "==" not in line] == []
    assert "\n".join(lines).count("--hash=sha256:") >= len(pinned)


def test_the_chart_takes_the_definitions_from_the_one_copy() -> None:
    link = ROOT / "charts" / "iot-backup-operator" / "files" / "crds"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "crds"


def test_no_file_speaks_of_this_machine() -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    pattern = re.compile(rb"(?<![\w.])(/roo[t]/|/home/\w+/|/wor[k]/)")
    found = [
        name for name in listed if name and (path := ROOT / name).is_file() and not path.is_symlink() and pattern.search(path.read_bytes())
    ]
    assert [name for name in found if name != "tests/packaging/test_layout.py"] == []
