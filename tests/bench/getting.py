"""The tools that we are compared with, from where their makers publish them: Debian's packages, restic among them, rustic from crates.io and borg
from PyPI, the last two built into the cache once. What cannot be had is told, and the benchmark goes on without it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cluster import cache, packages, progress
from tests.cluster.errors import ClusterError

RUSTIC = "0.11.4"
BORG = "1.4.5"
HERE = Path(__file__).parent


def all_of_them() -> dict[str, str]:
    """Put them on the PATH; return why not, by the name of what is missing."""
    missing = {}
    for name, get in (("packages", _debian), ("rustic", _rustic), ("borg", _borg)):
        try:
            if folder := get():
                os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
        except ClusterError as error:
            missing[name] = str(error)
            progress.say(f"{name} could not be had: {error}")
    return missing


def _debian() -> None:
    packages.install((HERE / "packages.txt").read_text().split())


def _rustic() -> Path:
    """By cargo, whose own record in the folder says which version it put there."""
    root = cache.root() / "rustic"
    with cache.lock("rustic"):
        record = root / ".crates.toml"
        if not (record.exists() and f'"rustic-rs {RUSTIC} ' in record.read_text()):
            _run(
                [_program("cargo"), "install", "rustic-rs", "--version", RUSTIC, "--locked", "--root", str(root)], "rustic", "10 to 20 min"
            )
    return root / "bin"


def _borg() -> Path:
    """Into a virtual environment that does not mind being renamed. There are no wheels of it: headers and a compiler are needed."""

    def build(target: Path) -> None:
        packages.install((HERE / "packages-borg.txt").read_text().split())
        uv = _program("uv", cache.root() / "uv/bin")
        _run([uv, "venv", "-q", "--clear", "--relocatable", "--python", sys.executable, str(target)], "borg's environment", "1 s")
        _run([uv, "pip", "install", "-q", "--python", str(target / "bin/python"), f"borgbackup=={BORG}"], f"borg {BORG}", "1 min")

        # A folder of borg alone: the environment's python must not come before others on the PATH.
        (target / "only").mkdir()
        (target / "only/borg").symlink_to("../bin/borg")

    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return cache.directory("peers", f"borg-{BORG}-python-{python}", build) / "only"


def _program(name: str, *folders: Path) -> str:
    path = ":".join([*map(str, folders), os.environ["PATH"], str(Path.home() / ".cargo/bin")])
    found = shutil.which(name, path=path)
    if found is None:
        raise ClusterError(f"{name} is not on the PATH; install it, or put the tool itself there")
    return found


def _run(command: list[str], what: str, estimate: str) -> None:
    with progress.step(f"build {what} (about {estimate})"):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ClusterError(f"{' '.join(command[:3])} failed; its last lines:\n{done.stderr[-1000:]}")
