"""What the tools are given to do."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from pathlib import Path

from tests.bench import bars, cold, corpora, peers
from tests.bench.contest import Contest
from tests.bench.measuring import Cost, Failed
from tests.bench.object_store import ObjectStore
from tests.bench.peers import Tool
from tests.bench.places import Place, Workshop, memory
from tests.bench.table import CHANGED, COLD, FIRST, FROM_S3, INTO_S3, ONE_FILE, RESTORE, SAME, Line, Table

CORES = 2
"""What the bars are made for."""
FLOOR = Tool(bars.FLOOR, sys.executable, f'{sys.executable} -m tests.bench.primitives "$SRC" "$OUT/primitives"', peer=False)

Kept = Mapping[Tool, Place]
"""Places in which a tool has made its first backup."""


class Bench:
    def __init__(self, shop: Workshop, rounds: int, others: Sequence[Tool]) -> None:
        self.shop, self.rounds, self.others = shop, rounds, others
        self.table = Table()
        self.beyond: float | None = None
        """Bytes read for one file beyond its frames, as a share of the archive."""
        self._primitives: dict[str, float] = {}

    def _contest(self, task: str, rounds: int | None = None) -> Contest:
        return Contest(self.table, task, rounds or self.rounds)

    def nothing(self) -> None:
        """What each takes for a folder of one small file: start, key, commit, durability. It is part of every other figure."""
        tools = [peers.ours(), peers.pipe(3), *self.others]
        with self._contest("one small file") as contest, ExitStack() as stack:
            self._first(contest, tools, lambda _: self.shop.place(self.shop.small), stack)

    def tree(self, name: str) -> None:
        """First backups, for B one more of the same, and restores."""
        source = self.shop.tree(name)
        tools = [peers.ours(), peers.first_only(peers.ours(3)), peers.pipe(3), peers.first_only(peers.pipe(1)), *self.others]
        tools += [FLOOR] if name == "A" else []
        with ExitStack() as stack:
            with self._contest(f"{name}: {FIRST}") as contest:
                kept = self._first(contest, tools, lambda _: self.shop.place(source), stack)
            self._restore(f"{name}: {RESTORE}", source, kept)
            if name == "B":
                self._again(f"{name}: {SAME}", kept)
        if self._primitives:
            self._say_primitives(name)

    def empty_files(self) -> None:
        """D: what a million files cost. The peers take minutes for them: restic stands for all, in one round."""
        source = self.shop.tree("D")
        tools = [peers.ours(), *(peers.in_one_round(tool) for tool in self.others if tool is peers.RESTIC)]
        with ExitStack() as stack:
            with self._contest(f"D: {FIRST}", 1) as contest:
                kept = self._first(contest, tools, lambda _: self.shop.place(source), stack)
            self._again(f"D: {SAME}", kept)
            self._restore(f"D: {RESTORE}", source, {tool: place for tool, place in kept.items() if tool == peers.ours()}, 1)

    def into_s3(self, store: ObjectStore) -> None:
        """A into a bucket, and ours into a folder beside it in the same rounds: what storage adds."""
        source = self.shop.tree("A")
        local = replace(peers.first_only(peers.ours()), name=bars.LOCAL)
        tools = [peers.ours(), local, *(tool for tool in self.others if tool in peers.ON_S3)]

        def place(tool: Tool) -> AbstractContextManager[Place]:
            return self.shop.place(source) if tool is local else self.shop.bucket(source, store, tool)

        with ExitStack() as stack:
            with self._contest(f"A: {INTO_S3}") as contest:
                kept = self._first(contest, tools, place, stack)
            self._restore(f"A: {FROM_S3}", source, kept)

    def _first(
        self, contest: Contest, tools: Sequence[Tool], place_of: Callable[[Tool], AbstractContextManager[Place]], stack: ExitStack
    ) -> dict[Tool, Place]:
        """First backups, and what each stored. The places of the last round are kept until the stack ends."""
        kept = {}
        for last, tool in contest.turns(tools):
            with contest.trying(tool), ExitStack() as until:
                place = until.enter_context(place_of(tool))
                before = place.prepare(tool)
                cost = place.run(tool.first)
                if tool is FLOOR:
                    contest.note(tool, self._floor(place, cost))
                    continue
                contest.note(tool, cost, place.stored() - before)
                if last and (tool.again or tool.restore):
                    kept[tool] = place
                    stack.push(until.pop_all())
        return kept

    def _floor(self, place: Place, cost: Cost) -> Cost:
        """The sum of what was timed, spread over the cores."""
        spent: dict[str, float] = json.loads((place.out / "log").read_text().splitlines()[-1])
        waited = spent.pop(bars.WAITED)
        total = sum(spent.values())
        if not self._primitives or total < sum(self._primitives.values()) - self._primitives[bars.WAITED]:
            self._primitives = {**spent, bars.WAITED: waited}
        return replace(cost, wall=total / CORES, cpu=total)

    def _say_primitives(self, name: str) -> None:
        spent = dict(self._primitives)
        waited = spent.pop(bars.WAITED)
        each = ", ".join(f"{primitive} {seconds:.2f}" for primitive, seconds in spent.items())
        self.table.say(
            f"{name}: the primitives in CPU s: {each}. Their sum is spread over {CORES} cores; the {waited:.2f} s that the fsync waited are not in it."
        )

    def _again(self, task: str, kept: Kept) -> None:
        """One more backup of the tree as it was."""
        with self._contest(task) as contest:
            for _, tool in contest.turns(tool for tool in kept if tool.again):
                with contest.trying(tool):
                    before = kept[tool].stored()
                    cost = kept[tool].run(tool.again)
                    contest.note(tool, cost, kept[tool].stored() - before)

    def _restore(self, task: str, source: Path, kept: Kept, rounds: int | None = None) -> None:
        """Restores into memory; each tool's first tree is compared with the source."""
        compared = set()
        if len(kept) > 1 and peers.ours() in kept:
            kept = {**kept, peers.unverified(): kept[peers.ours()]}
        with self._contest(task, rounds) as contest:
            for _, tool in contest.turns(tool for tool in kept if tool.restore):
                with contest.trying(tool), memory() as target:
                    cost = kept[tool].run(tool.restore, DEST=str(target))
                    if tool not in compared:
                        _compare(source, target)
                        compared.add(tool)
                    contest.note(tool, cost)

    def changed(self, name: str) -> None:
        """One more backup with 1 % changed: what it stores hardly depends on the round, so there is one."""
        with self.shop.copy(name) as source, ExitStack() as stack, self._contest(f"{name}: {CHANGED}", 1) as contest:
            kept: dict[Tool, Place] = {}
            for _, tool in contest.turns([peers.ours(), *self.others]):
                with contest.trying(tool):
                    place = kept[tool] = stack.enter_context(self.shop.place(source))
                    place.prepare(tool)
                    place.run(tool.first)
            before = time.time() - 1  # of its clock and the one that stamps files, either can be ahead
            corpora.change(name, source, self.shop.scale)
            for _, tool in contest.turns(kept):
                with contest.trying(tool):
                    stored = kept[tool].stored()
                    cost = kept[tool].run(tool.again)
                    contest.note(tool, cost, kept[tool].stored() - stored)
            whole = replace(peers.pipe(3), name=bars.WHOLE)
            with contest.trying(whole), self.shop.place(source) as place:
                touched = [path for path in sorted(source.rglob("*")) if path.is_file() and path.stat().st_mtime >= before]
                (place.out / "list").write_text("".join(f"{path.relative_to(source)}\n" for path in touched))
                cost = place.run('tar cf - -C "$SRC" -T "$OUT/list" | zstd -q -3 -T2 | age -r "$RECIPIENT" > "$REPO" && $FLUSH')
                contest.note(whole, cost, place.stored())

    def one_file(self, name: str) -> None:
        """One file out of the whole, and what of the archive was read for it."""
        source, tool = self.shop.tree(name), peers.ours()
        with self.shop.place(source) as place, tempfile.TemporaryDirectory(prefix="iot-bench-", dir=self.shop.work) as target:
            place.prepare(tool)
            place.run(tool.first)
            wanted = sorted(path for path in source.rglob("*") if path.is_file())[7]
            reads = place.out / "reads"
            command = f'{tool.restore} --include "/{wanted.relative_to(source)}"'
            cost = place.run(command, DEST=target, BENCH_MODULE="tests.bench.launcher", BENCH_READS=str(reads))
            _same(wanted, Path(target) / wanted.relative_to(source))
            self.table.add(Line(f"{name}: {ONE_FILE} of {wanted.stat().st_size / 1e6:.3g} MB", tool.name, cost))
            read, needed = (json.loads(reads.read_text())[key] for key in ("read", "needed"))
            archive = max(path.stat().st_size for path in place.kept.rglob("*") if path.is_file())
            self.beyond = (read - needed) / archive
            self.table.say(
                f"{name}: one file: {read:,} bytes of an archive of {archive:,} were read; its frames hold {needed:,}: {read - needed:,} beyond them, "
                f"{self.beyond:.2%} of the archive and {(read - needed) / needed:.1%} of the frames."
            )

    def cold(self, name: str) -> None:
        """First backups of a tree that is on the disk only. GNU tar reads it, and does no more. A tool's own files are read again before its clock starts."""
        source = self.shop.tree(name)
        with self._contest(f"{name}: {COLD}") as contest:
            for _, tool in contest.turns([peers.ours(), peers.TAR]):
                with contest.trying(tool), self.shop.place(source) as place:
                    place.prepare(tool)
                    everything = cold.drop(source)
                    place.run(tool.wake)
                    before = place.stored()
                    cost = place.run(tool.first)
                    contest.note(tool, cost, (place.stored() - before) or None)
        if not everything:
            self.table.say(
                f"{name}: {COLD}: this machine's caches may not be dropped, so names and inodes stayed in memory; the files' pages did not."
            )


def _compare(source: Path, target: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.bench.comparing", str(source), str(target)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise Failed(f"it restored another tree: {(done.stdout or done.stderr).strip()[-500:]}")


def _same(wanted: Path, restored: Path) -> None:
    if subprocess.run(["cmp", "-s", str(wanted), str(restored)], check=False).returncode:
        raise Failed(f"{wanted.name} was restored as another file")
