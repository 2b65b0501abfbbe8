"""Where tools work: the trees, kept in the cache, and for each run an empty folder or bucket, gone afterwards."""

from __future__ import annotations

import json
import multiprocessing
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench import corpora, peers
from tests.bench.measuring import Cost, run, stored
from tests.bench.object_store import ObjectStore
from tests.bench.peers import Tool
from tests.cluster.progress import say

SETTLED = 61.0
"""Seconds after which a change is told by its time alone: what is younger than the backup by 60 s is read again (worker/changes.py)."""


@dataclass(frozen=True)
class Place:
    """Where one tool works: a folder of its own, the source, and what it fills."""

    out: Path
    source: Path
    kept: Path
    """What is stored there counts."""
    environment: dict[str, str]

    def run(self, command: str, **more: str) -> Cost:
        return run(command, {**self.environment, "SRC": str(self.source), **more}, self.out / "log")

    def stored(self) -> float:
        """MB."""
        return stored(self.kept) if self.kept.exists() else 0.0

    def prepare(self, tool: Tool) -> float:
        """MB stored already when the clock starts."""
        (self.out / "home").mkdir()
        if tool.prepare:
            self.run(tool.prepare)
        return self.stored()


class Workshop:
    """Trees and places below one folder, which the caller removes."""

    def __init__(self, work: Path, cache: Path, scale: float) -> None:
        self.work, self.cache, self.scale = work, cache, scale
        self._copied: dict[str, tuple[Path, float]] = {}
        work.chmod(0o755)
        self._shim()
        made = subprocess.run(["age-keygen"], check=True, capture_output=True, text=True)
        (work / "key").touch(0o600)
        (work / "key").write_text(made.stdout)
        self.recipient = next(line.split()[-1] for line in made.stdout.splitlines() if "public key" in line)

    def _shim(self) -> None:
        """`backup-manager` as it would be installed, from this checkout."""
        self.small.mkdir()
        shim = self.small / "backup-manager"
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m "${{BENCH_MODULE:-iot_backup}}" "$@"\n')
        shim.chmod(0o755)
        os.environ["PATH"] = f"{self.small}:{os.environ['PATH']}"
        os.environ["PYTHONPATH"] = f"{Path('operator').resolve()}:{Path.cwd()}"
        # An installed package has its bytecode; the untimed preparation writes it.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(self.work / "bytecode")

    @property
    def small(self) -> Path:
        """A folder of one small file."""
        return self.work / "bin"

    def tree(self, name: str) -> Path:
        """The tree, made once, in the page cache: the first tool is not to pay for the others."""
        folder = self.cache / f"{name}-{self.scale:g}"
        if not folder.exists():
            say(f"making {name} at scale {self.scale:g}")
            self._make(name, folder)
        subprocess.run(["find", str(folder), "-type", "f", "-exec", "cat", "{}", "+"], check=True, stdout=subprocess.DEVNULL)
        return folder

    def _make(self, name: str, folder: Path) -> None:
        # Made where a database server's user can get at it, which a home folder is not.
        made, unfinished = self.work / name, self.cache / f"{folder.name}.unfinished"
        shutil.rmtree(unfinished, ignore_errors=True)
        # In a process of its own: what a command is started from counts as its peak, too.
        maker = multiprocessing.get_context("spawn").Process(target=corpora.make, args=(name, made, self.scale))
        maker.start()
        maker.join()
        if maker.exitcode:
            raise SystemExit(f"{name} could not be made")
        subprocess.run(["cp", "-a", str(made), str(unfinished)], check=True)
        shutil.rmtree(made)
        unfinished.rename(folder)
        time.sleep(SETTLED)

    def copy_early(self, name: str) -> None:
        """Begin what `copy` gives, so that it settles while others are measured."""
        folder = Path(tempfile.mkdtemp(prefix="source-", dir=self.work))
        folder.chmod(0o755)
        subprocess.run(["cp", "-a", "--reflink=auto", str(self.tree(name)), str(folder / name)], check=True)
        self._copied[name] = folder / name, time.monotonic()

    @contextmanager
    def copy(self, name: str) -> Iterator[Path]:
        """A copy that may be changed, settled; gone afterwards."""
        if name not in self._copied:
            self.copy_early(name)
        copy, since = self._copied.pop(name)
        try:
            time.sleep(max(0.0, since + SETTLED - time.monotonic()))
            yield copy
        finally:
            shutil.rmtree(copy.parent)

    @contextmanager
    def place(self, source: Path) -> Iterator[Place]:
        """A folder to store in."""
        with self._folder() as out:
            self._configure(out, source, {"local": {"path": str(out / "r")}})
            yield Place(out, source, out / "r", {**self._environment(out), "REPO": str(out / "r"), "FLUSH": f"sync -f {out}"})

    @contextmanager
    def bucket(self, source: Path, store: ObjectStore, tool: Tool) -> Iterator[Place]:
        """A bucket to store in."""
        with self._folder() as out:
            name = store.bucket()
            self._configure(out, source, {"s3": {"bucket": name, "endpoint": store.endpoint}})
            credentials = {"AWS_ACCESS_KEY_ID": store.access_key, "AWS_SECRET_ACCESS_KEY": store.secret_key}
            environment = self._environment(out) | credentials | peers.on_s3(tool, store.endpoint, name, str(store.ca_file))
            try:
                yield Place(out, source, store.data / name, environment)
            finally:
                shutil.rmtree(store.data / name, ignore_errors=True)  # room on the disk; nobody asks the server for it again

    @contextmanager
    def _folder(self) -> Iterator[Path]:
        out = Path(tempfile.mkdtemp(prefix="out-", dir=self.work))
        try:
            yield out
        finally:
            shutil.rmtree(out)

    def _configure(self, out: Path, source: Path, storage: dict[str, Any]) -> None:
        jobs = [
            {"id": "bench", "type": "full", "source": str(source)},
            {"id": "prepare", "type": "full", "source": str(self.small)},
        ]
        (out / "config.yml").write_text(json.dumps({"backup": {"storage": storage, "jobs": jobs}}))

    def _environment(self, out: Path) -> dict[str, str]:
        return {
            **peers.SECRETS,
            "OUT": str(out),
            "KEY": str(self.work / "key"),
            "RECIPIENT": self.recipient,
            "STATE_DIR": str(out / "state"),
            "HOME": str(out / "home"),
        }


@contextmanager
def memory() -> Iterator[Path]:
    """An empty folder in memory: what a disk does with many small files says more of the disk."""
    with tempfile.TemporaryDirectory(prefix="iot-bench-", dir="/dev/shm") as folder:
        yield Path(folder)
