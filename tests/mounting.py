"""File systems that a test mounts, and that go with it."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

import pytest


@contextmanager
def mounted(at: Path, *how: str) -> Iterator[Path]:
    """With something mounted at a folder, which is made, or at a file: `how` is what mount(8) takes before that."""
    if os.geteuid():
        pytest.skip("only root mounts")
    if not at.exists():
        at.mkdir(parents=True)
    subprocess.run(["mount", *how, str(at)], check=True)
    try:
        yield at
    finally:
        subprocess.run(["umount", str(at)], check=True)


def disk(at: Path, size: str) -> AbstractContextManager[Path]:
    """A file system with room for `size`, such as 8m; more of tmpfs' options may follow it."""
    return mounted(at, "-t", "tmpfs", "-o", f"size={size}", "tmpfs")


def fill(folder: Path) -> None:
    """Until nothing more fits."""
    with (folder / "ballast").open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
