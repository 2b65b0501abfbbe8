"""Debian packages the cluster needs; packages.txt lists them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import progress
from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Sequence

PACKAGES = Path(__file__).parent / "packages.txt"


def missing(wanted: list[str], dpkg_status: str) -> list[str]:
    """Return those of wanted that `dpkg-query -W -f '${Package} ${db:Status-Status}\\n'` does not show installed."""
    installed = {line.split()[0] for line in dpkg_status.splitlines() if line.endswith(" installed")}
    return [name for name in wanted if name not in installed]


def install(wanted: Sequence[str] | None = None) -> None:
    """Install what is missing of packages.txt, or of `wanted`; silent and instant when nothing is."""
    try:
        status = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Package} ${db:Status-Status}\\n"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    except FileNotFoundError:
        raise ClusterError("the cluster harness runs on Debian 12; elsewhere set KUBECONFIG to a cluster of your own") from None
    absent = missing(list(wanted or PACKAGES.read_text().split()), status)
    if not absent:
        return
    if os.geteuid() != 0:
        raise ClusterError(f"run as root, or install first: apt-get install {' '.join(absent)}")
    with progress.step(f"install {' '.join(absent)}"), tempfile.TemporaryDirectory() as scratch:
        _apt(["update"], Path(scratch))
        _apt(["install", "--yes", "--no-install-recommends", *absent], Path(scratch))


def _apt(arguments: list[str], scratch: Path) -> None:
    done = subprocess.run(
        ["apt-get", "-qq", *arguments],
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive", "PATH": _without_daemons(scratch)},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"apt-get {arguments[0]} failed:\n{done.stderr[-2000:]}")


def _without_daemons(scratch: Path) -> str:
    """Return a PATH on which invoke-rc.d and systemctl do nothing: no containerd of the host's own.

    A policy-rc.d would do the same, but it would have to be written to the system and removed again.
    """
    for name in ("invoke-rc.d", "systemctl", "deb-systemd-invoke", "deb-systemd-helper"):
        stub = scratch / name
        stub.write_text("#!/bin/sh\nexit 0\n")
        stub.chmod(0o755)
    return f"{scratch}:{os.environ.get('PATH', '')}"
