"""`make bench`: the engine beside what else people use, on the trees of corpora.py; docs/benchmarks.md says what the figures mean.

    python -m tests.bench.engine [--scale 1] [--rounds 3] [--only A,B] [--work FOLDER]

Rounds are interleaved, each tool once in each, and of a tool's runs the best counts: what other work took from one round, it takes from
all. The trees are kept in the cache, by name and scale; all else goes at the end.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench import corpora, peers
from tests.bench.comparing import differences
from tests.bench.measuring import Cost, run, stored
from tests.bench.peers import Tool
from tests.bench.table import Line, Table, better

NAMES = "ABCD"
_SETTLED = 61.0
"""Seconds after which a change is told by its time alone: what is younger than the backup by 60 s is read again (worker/changes.py)."""


@dataclass(frozen=True)
class Place:
    """Where one tool works: an empty folder for what it stores, and the source."""

    out: Path
    source: Path
    environment: dict[str, str]

    def run(self, command: str, **more: str) -> Cost:
        return run(command, {**self.environment, "SRC": str(self.source), **more}, self.out / "log")

    def stored(self) -> float:
        """MB of what the tool keeps, without what is ours or only a cache."""
        return sum(stored(self.out / name) for name in ("r", "o") if (self.out / name).exists())


class Bench:
    def __init__(self, work: Path, cache: Path, scale: float, rounds: int) -> None:
        self.work, self.cache, self.scale, self.rounds = work, cache, scale, rounds
        self.table = Table()
        work.chmod(0o755)
        self._shim()
        (work / "key").touch(0o600)
        made = subprocess.run(["age-keygen"], check=True, capture_output=True, text=True)
        (work / "key").write_text(made.stdout)
        self.recipient = next(line.split()[-1] for line in made.stdout.splitlines() if "public key" in line)

    def _shim(self) -> None:
        """`backup-manager` as it would be installed, from this checkout."""
        folder = self.work / "bin"
        folder.mkdir()
        shim = folder / "backup-manager"
        shim.write_text(f'#!/bin/sh\nexec {sys.executable} -m "${{BENCH_MODULE:-iot_backup}}" "$@"\n')
        shim.chmod(0o755)
        os.environ["PATH"] = f"{folder}:{os.environ['PATH']}"
        os.environ["PYTHONPATH"] = f"{Path('operator').resolve()}:{Path.cwd()}"
        # An installed package has its bytecode; the untimed preparation writes it.
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
        os.environ["PYTHONPYCACHEPREFIX"] = str(self.work / "bytecode")

    def corpus(self, name: str) -> Path:
        """The tree, made once."""
        folder = self.cache / f"{name}-{self.scale:g}"
        if not folder.exists():
            print(f"making {name} at scale {self.scale:g}", file=sys.stderr)
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
            time.sleep(_SETTLED)
        _warm(folder)
        return folder

    @contextmanager
    def place(self, source: Path) -> Iterator[Place]:
        """An empty place for one tool, gone afterwards."""
        out = Path(tempfile.mkdtemp(prefix="out-", dir=self.work))
        config = {
            "backup": {
                "storage": {"local": {"path": str(out / "r")}},
                "jobs": [
                    {"id": "bench", "type": "full", "source": str(source)},
                    {"id": "prepare", "type": "full", "source": str(self.work / "bin")},
                ],
            }
        }
        (out / "config.yml").write_text(json.dumps(config))
        environment = {
            **peers.SECRETS,
            "OUT": str(out),
            "KEY": str(self.work / "key"),
            "RECIPIENT": self.recipient,
            "STATE_DIR": str(out / "state"),
            "HOME": str(out / "home"),
        }
        try:
            yield Place(out, source, environment)
        finally:
            shutil.rmtree(out)

    def _done(self, best: dict[str, Line]) -> None:
        for line in best.values():
            print(f"{line.task}: {line.tool} {line.cost.wall:.2f} s", file=sys.stderr)
        self.table.add(*best.values())

    def first(self, name: str, tools: Sequence[Tool]) -> None:
        """First backups, and what each stored."""
        source = self.corpus(name)
        best: dict[str, Line] = {}
        for _ in range(self.rounds):
            for tool in tools:
                with self.place(source) as place:
                    before = self._prepared(place, tool)
                    cost = place.run(tool.first)
                    better(best, Line(f"{name}: first backup", tool.name, cost, place.stored() - before))
        self._done(best)

    def nothing(self, others: Sequence[Tool]) -> None:
        """What each takes for a folder of one small file: start, key, commit, durability. It is part of every other figure."""
        best: dict[str, Line] = {}
        for _ in range(self.rounds):
            for tool in (peers.ours(), peers.pipe(3), *others):
                with self.place(self.work / "bin") as place:
                    before = self._prepared(place, tool)
                    cost = place.run(tool.first)
                    better(best, Line("one small file", tool.name, cost, place.stored() - before))
        self._done(best)

    def again(self, name: str, tools: Sequence[Tool], *, change: bool = False) -> None:
        """One more backup, of the tree as it was or with 1 % changed. Each round changes a copy of its own, in the same way."""
        best: dict[str, Line] = {}
        what = f"{name}: 1 % changed" if change else f"{name}: nothing changed"
        for _ in range(1 if change else self.rounds):
            for tool in tools:
                with self._source(name, copied=change) as source, self.place(source) as place:
                    self._prepared(place, tool)
                    place.run(tool.first)
                    before = place.stored()
                    if change:
                        corpora.change(name, source, self.scale)
                    costs = [place.run(tool.again) for _ in range(1 if change else 2)]
                    cost = min(costs, key=lambda each: each.wall)
                    better(best, Line(what, tool.name, cost, (place.stored() - before) / len(costs)))
        self._done(best)
        if change:
            self._whole_file_increment(name)

    def _whole_file_increment(self, name: str) -> None:
        """What an increment of whole files stores: those that changed, by a pipe."""
        with self._source(name, copied=True) as source, self.place(source) as place:
            before = time.time() - 1  # of its clock and the one that stamps files, either can be ahead
            corpora.change(name, source, self.scale)
            touched = [path for path in sorted(source.rglob("*")) if path.is_file() and path.stat().st_mtime >= before]
            (place.out / "list").write_text("".join(f"{path.relative_to(source)}\n" for path in touched))
            cost = place.run('tar cf - -C "$SRC" -T "$OUT/list" | zstd -q -3 -T2 | age -r "$RECIPIENT" > "$OUT/o"')
            self.table.add(Line(f"{name}: 1 % changed", f"the {len(touched)} changed files whole", cost, place.stored()))

    @contextmanager
    def _source(self, name: str, *, copied: bool) -> Iterator[Path]:
        original = self.corpus(name)
        if not copied:
            yield original
            return
        copy = Path(tempfile.mkdtemp(prefix="source-", dir=self.work)) / name
        copy.parent.chmod(0o755)
        try:
            subprocess.run(["cp", "-a", "--reflink=auto", str(original), str(copy)], check=True)
            time.sleep(_SETTLED)
            yield copy
        finally:
            shutil.rmtree(copy.parent)

    def restore(self, name: str, tools: Sequence[Tool]) -> None:
        """Restores into memory: what a disk does with so many small files says more of the disk. The trees are compared."""
        source = self.corpus(name)
        best: dict[str, Line] = {}
        with _all(self.place(source) for _ in tools) as places:
            for tool, place in zip(tools, places, strict=True):
                self._prepared(place, tool)
                place.run(tool.first)
            for number in range(self.rounds):
                for tool, place in zip(tools, places, strict=True):
                    with tempfile.TemporaryDirectory(prefix="iot-bench-", dir="/dev/shm") as target:
                        cost = place.run(tool.restore, DEST=target)
                        if number == 0 and (found := differences(source, Path(target))):
                            raise SystemExit(f"{tool.name} restored another tree: {found[:5]}")
                    better(best, Line(f"{name}: restore into memory", tool.name, cost, 0))
        self._done(best)

    def one_file(self, name: str) -> None:
        """One file out of the whole, and what of the archive was read for it."""
        source = self.corpus(name)
        with self.place(source) as place, tempfile.TemporaryDirectory(prefix="iot-bench-", dir=self.work) as target:
            tool = peers.ours()
            self._prepared(place, tool)
            place.run(tool.first)
            wanted = sorted(path for path in source.rglob("*") if path.is_file())[7]
            reads = place.out / "reads"
            command = f'{tool.restore} --include "/{wanted.relative_to(source)}"'
            cost = place.run(command, DEST=target, BENCH_MODULE="tests.bench.launcher", BENCH_READS=str(reads))
            if (Path(target) / wanted.relative_to(source)).read_bytes() != wanted.read_bytes():
                raise SystemExit(f"{wanted} was restored as another file")
            read = json.loads(reads.read_text())
            self.table.add(Line(f"{name}: one file of {wanted.stat().st_size / 1e6:.3g} MB", "ours", cost, 0))
            beyond = read["read"] - read["needed"]
            self.table.say(
                f"{name}: one file: {read['read']:,} bytes of an archive of {place.stored():.0f} MB were read; its frames hold {read['needed']:,}: "
                f"{beyond:,} ({beyond / read['needed']:.1%}) beyond them."
            )

    def _prepared(self, place: Place, tool: Tool) -> float:
        """MB stored already when the clock starts."""
        (place.out / "home").mkdir()
        if tool.prepare:
            place.run(tool.prepare)
        return place.stored()


def _warm(folder: Path) -> None:
    """Into the page cache: the first tool is not to pay for the others."""
    subprocess.run(["find", str(folder), "-type", "f", "-exec", "cat", "{}", "+"], check=True, stdout=subprocess.DEVNULL)


@contextmanager
def _all(managers: Iterable[AbstractContextManager[Place]]) -> Iterator[list[Place]]:
    with ExitStack() as stack:
        yield [stack.enter_context(manager) for manager in managers]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--scale", type=float, default=1.0, help="of the trees")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="A,B,C,D", help="names of trees")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"), help="a folder of the disk that is written to")
    asked = parser.parse_args()
    names = set(asked.only.split(","))
    if not names <= set(NAMES):
        parser.error(f"--only takes some of {','.join(NAMES)}")
    cache = Path(os.environ.get("IOT_BACKUP_CACHE") or Path.home() / ".cache/iot-backup-operator") / "bench"
    cache.mkdir(parents=True, exist_ok=True)
    here = [tool for tool in (peers.RESTIC, peers.RUSTIC, peers.BORG) if tool.here]
    begun = os.getloadavg()[0]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was measured is still told, and nothing left behind
    with tempfile.TemporaryDirectory(prefix="iot-bench-", dir=asked.work) as work:
        bench = Bench(Path(work), cache, asked.scale, asked.rounds)
        try:
            _all_of(bench, names, here)
        finally:
            print(bench.table.text())
    for tool in (peers.RESTIC, peers.RUSTIC, peers.BORG):
        if not tool.here:
            print(f"\n{tool.name} is not here: {tool.how}")
    print(
        f"\nScale {asked.scale:g}, best of {asked.rounds}, {os.cpu_count()} cores, load {begun:.1f} before and {os.getloadavg()[0]:.1f} after."
    )


def _all_of(bench: Bench, names: set[str], others: list[Tool]) -> None:
    bench.nothing(others)
    for name in sorted(names & set("ABC")):
        bench.first(name, [peers.ours(), peers.ours(3), peers.pipe(3), peers.pipe(1), *others])
    for name in sorted(names & set("BD")):
        bench.again(name, [peers.ours(), *others])
    for name in sorted(names & set("AC")):
        bench.again(name, [peers.ours(), *others], change=True)
    for name in sorted(names & set("B")):
        bench.restore(name, [peers.ours(), peers.pipe(3), *others])
    for name in sorted(names & set("A")):
        bench.one_file(name)


if __name__ == "__main__":
    main()
