"""The engine's bars, judged by the figures of one run."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from tests.bench import peers
from tests.bench.table import CHANGED, COLD, FIRST, FROM_S3, INTO_S3, RESTORE, SAME, Line

FLOOR = "sum of its primitives"
WAITED = "waited for the disk"
"""Among the seconds of the primitives, the one that is not CPU."""
LOCAL = "ours, into a folder"
WHOLE = "changed files, whole"
MOST_MEMORY = 160
"""MB."""


@dataclass(frozen=True)
class Verdict:
    """A bar, and what this run says of it."""

    bar: str
    goal: str
    figure: str
    met: bool | None
    """None: not measured in this run."""


class _Figures:
    """Ratios of lines; None where one of them is missing."""

    def __init__(self, lines: Sequence[Line]) -> None:
        self.lines = lines
        self._known = {(line.task, line.tool): line for line in lines}

    def line(self, task: str, tool: str = peers.OURS) -> Line | None:
        return self._known.get((task, tool))

    def time(self, task: str, one: str, other: str) -> float | None:
        """Wall seconds of one by the other's."""
        above, below = self.line(task, one), self.line(task, other)
        return above.cost.wall / below.cost.wall if above and below else None

    def stored(self, task: str, one: str, other: str) -> float | None:
        above, below = self.line(task, one), self.line(task, other)
        return above.stored / below.stored if above and below and above.stored is not None and below.stored else None


def judged(lines: Sequence[Line], beyond: float | None = None) -> list[Verdict]:
    """All bars, in the order of the requirements. `beyond`: bytes read for one file beyond its frames, as a share of the archive."""
    figures = _Figures(lines)
    return [
        *_first(figures),
        _at_most("A: first backup / the sum of its primitives on its cores", figures.time(f"A: {FIRST}", peers.OURS, FLOOR), 1.5),
        *_ahead(figures),
        _at_most("B: nothing changed / restic", figures.time(f"B: {SAME}", peers.OURS, peers.RESTIC.name), 0.25),
        *_restores(figures),
        *_changed(figures),
        _at_most("A: one file: bytes read beyond its frames / archive", beyond, 0.02, "{:.2%}"),
        _memory(figures),
        _seconds("D: nothing changed", figures.line(f"D: {SAME}"), 10.0),
        _at_most("B: first backup, page cache cold / GNU tar", figures.time(f"B: {COLD}", peers.OURS, peers.TAR.name), 0.6),
        _at_most("A: into S3: CPU seconds more than into a folder, for each GB stored", _extra_cpu(figures), 1.2),
    ]


def _first(figures: _Figures) -> Iterator[Verdict]:
    for level, goals in ((3, (0.85, 1.0, 0.75)), (1, (1.0, 1.15, 0.9))):
        pipe = peers.pipe(level).name
        for name, goal in zip("ABC", goals, strict=True):
            task = f"{name}: {FIRST}"
            stored = figures.stored(task, peers.OURS, pipe)
            beside = "" if stored is None or level == 1 else f" (stored: {stored:.2f})"
            yield _at_most(f"{task} / {pipe}", figures.time(task, peers.OURS, pipe), goal, f"{{:.2f}}{beside}")
            if level == 1:
                yield _at_most(f"{task}, stored / {pipe}", stored, 1.02, "{:.3f}")


def _ahead(figures: _Figures) -> Iterator[Verdict]:
    for name, goal in zip("ABC", (2.0, 3.0, 2.0), strict=True):
        task = f"{name}: {FIRST}"
        yield _at_least(f"restic / ours, {task}", figures.time(task, peers.RESTIC.name, peers.OURS), goal)
    for name in "ABC":
        task = f"{name}: {FIRST}"
        yield _more_than_one(f"rustic / ours, {task}", figures.time(task, peers.RUSTIC.name, peers.OURS))


def _restores(figures: _Figures) -> Iterator[Verdict]:
    yield _at_most(f"B: {RESTORE} / {peers.pipe(3).name}", figures.time(f"B: {RESTORE}", peers.OURS, peers.pipe(3).name), 1.2)
    for peer in peers.ON_S3:
        for task in (*(f"{name}: {RESTORE}" for name in "ABC"), f"A: {FROM_S3}"):
            yield _more_than_one(f"{peer.name} / ours, {task}", figures.time(task, peer.name, peers.OURS))


def _changed(figures: _Figures) -> Iterator[Verdict]:
    task = f"C: {CHANGED}"
    yield _at_most(f"{task}, stored / {WHOLE}", figures.stored(task, peers.OURS, WHOLE), 0.2)
    for peer in (peers.RESTIC, peers.BORG):
        yield _more_than_one(f"{task}, stored by {peer.name} / ours", figures.stored(task, peer.name, peers.OURS))


def _memory(figures: _Figures) -> Verdict:
    """Of every task of ours at its defaults: a limit holds for all of them."""
    bar, goal = "peak memory of a backup or restore", f"<= {MOST_MEMORY} MB"
    largest = max((line for line in figures.lines if line.tool in {peers.OURS, LOCAL}), key=lambda line: line.cost.peak, default=None)
    if largest is None:
        return Verdict(bar, goal, "", None)
    return Verdict(bar, goal, f"{largest.cost.peak} MB ({largest.task}, {largest.tool})", largest.cost.peak <= MOST_MEMORY)


def _extra_cpu(figures: _Figures) -> float | None:
    remote, local = figures.line(f"A: {INTO_S3}"), figures.line(f"A: {INTO_S3}", LOCAL)
    return (remote.cost.cpu - local.cost.cpu) / (remote.stored / 1000) if remote and local and remote.stored else None


def _at_most(bar: str, figure: float | None, goal: float, shown: str = "{:.2f}") -> Verdict:
    met = None if figure is None else figure <= goal
    return Verdict(bar, f"<= {goal:.0%}" if "%" in shown else f"<= {goal:g}", "" if figure is None else shown.format(figure), met)


def _at_least(bar: str, figure: float | None, goal: float) -> Verdict:
    return Verdict(bar, f">= {goal:g}", "" if figure is None else f"{figure:.2f}", None if figure is None else figure >= goal)


def _more_than_one(bar: str, figure: float | None) -> Verdict:
    return Verdict(bar, "> 1", "" if figure is None else f"{figure:.2f}", None if figure is None else figure > 1)


def _seconds(bar: str, line: Line | None, goal: float) -> Verdict:
    wall = line.cost.wall if line else None
    return Verdict(bar, f"<= {goal:g} s", "" if wall is None else f"{wall:.2f} s", None if wall is None else wall <= goal)


def text(verdicts: Sequence[Verdict]) -> str:
    """A table."""
    words = {True: "met", False: "**missed**", None: "not measured"}
    rows = [f"| {each.bar} | {each.goal} | {each.figure} | {words[each.met]} |" for each in verdicts]
    return "\n".join(["| bar | goal | this run | |", "|---|---|---|---|", *rows])
