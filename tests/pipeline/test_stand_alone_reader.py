"""A stranger restores with one file, extras/restore.py, and shares no code with us: what it reads is what docs/format.md says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.roundtrip import facts, odd_tree
from tests.pipeline.sites import ROOT, Folder, Site

READER = Path(__file__).resolve().parents[2] / "extras" / "restore.py"


def run(*arguments: object, user: int | None = None, stdin: bytes = b"", **environment: str) -> subprocess.CompletedProcess[bytes]:
    """The program as a stranger runs it: alone, in an interpreter that knows nothing of the project."""
    return subprocess.run(
        [sys.executable, "-P", "-W", "error", str(READER), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        check=False,
        user=user,
        cwd="/",
        env={"PATH": os.environ["PATH"], **environment},
    )


def said(*arguments: object, **how: str) -> str:
    done = run(*arguments, **how)
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def refused(*arguments: object, **how: str) -> str:
    done = run(*arguments, **how)
    assert done.returncode == 1, done
    assert b"Traceback" not in done.stderr
    return (done.stdout + done.stderr).decode()


def copy_of(site: Site) -> Path:
    """The repository's folder, as a stranger finds it."""
    assert isinstance(site.place, Folder)
    return site.place.mount / ROOT


@pytest.fixture
def identity(volume_site: Site, tmp_path: Path) -> Path:
    """The repository's identity, opened as a person would."""
    path = tmp_path / "identity"
    (tmp_path / "person").write_text(volume_site.person.text + "\n")
    (key_file,) = (copy_of(volume_site) / "keys").glob("*.recipients")
    path.write_text(said("identity", "-i", tmp_path / "person", key_file))
    return path


def test_an_odd_tree_comes_back(volume_site: Site, identity: Path, tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    odd_tree(source)
    done = volume_site.backup(source)
    assert done.archive in said("list", copy_of(volume_site), "-i", identity)
    assert "good" in said("verify", copy_of(volume_site), "-i", identity)
    said("restore", copy_of(volume_site), done.archive, target, "-i", identity)
    assert facts(target) == facts(source)
