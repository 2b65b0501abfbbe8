"""Azurite, as published by its makers on npm, in the cache."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.cluster import cache, packages, progress
from tests.cluster.errors import ClusterError

VERSION = "3.35.0"
DEBIAN = ("nodejs", "npm")
"""Installed only where there is no npm: one from elsewhere serves as well, and would be in their way."""


def blob_server() -> Path:
    """The program that serves blobs; installed on first use, which takes about 15 s."""
    return cache.directory("tools", f"azurite-{VERSION}", _install) / "node_modules/.bin/azurite-blob"


def _install(target: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        packages.install(DEBIAN)
        npm = shutil.which("npm")
    if npm is None:
        raise ClusterError(f"npm is not on the PATH, and the packages {' and '.join(DEBIAN)} did not bring it")
    with progress.step(f"install azurite {VERSION} (about 15 s)"):
        command = [
            npm,
            "install",
            f"azurite@{VERSION}",
            "--prefix",
            str(target),
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--loglevel=error",
        ]
        done = subprocess.run(command, cwd=target, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"npm could not install azurite {VERSION}:\n{(done.stdout + done.stderr)[-2000:]}")
