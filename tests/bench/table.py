"""The figures of a benchmark as a table that docs/benchmarks.md can hold, and the names of its tasks."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.bench.measuring import Cost

FIRST = "first backup"
SAME = "nothing changed"
CHANGED = "1 % changed"
RESTORE = "restore into memory"
COLD = "first backup, page cache cold"
INTO_S3 = "first backup into S3"
FROM_S3 = "restore from S3 into memory"
ONE_FILE = "one file"


@dataclass(frozen=True)
class Line:
    """One tool at one task."""

    task: str
    tool: str
    cost: Cost
    stored: float | None = None
    """MB; None where nothing is stored."""


def better(best: dict[str, Line], line: Line) -> None:
    """Of a tool's runs the fastest counts, and the least CPU; memory is that of the largest."""
    known = best.get(line.tool)
    if known is None:
        best[line.tool] = line
        return
    fastest = min(known, line, key=lambda each: each.cost.wall)
    costs = known.cost, line.cost
    cost = replace(fastest.cost, cpu=min(cost.cpu for cost in costs), peak=max(cost.peak for cost in costs))
    best[line.tool] = replace(fastest, cost=cost)


@dataclass
class Table:
    """Lines of one task stand together; the first of them is ours, and the others' ratio is ours by theirs."""

    lines: list[Line] = field(default_factory=list)
    said: list[str] = field(default_factory=list)

    def add(self, *lines: Line) -> None:
        self.lines += lines

    def say(self, what: str) -> None:
        """A sentence below the table."""
        self.said.append(what)

    def text(self) -> str:
        rows = ["| | tool | wall s | CPU s | peak MB | stored MB | ours / it |", "|---|---|---|---|---|---|---|"]
        ours: dict[str, Line] = {}
        for line in self.lines:
            first = ours.setdefault(line.task, line)
            ratio = "" if first is line else f"{first.cost.wall / line.cost.wall:.2f}"
            cost, kept = line.cost, "" if line.stored is None else f"{line.stored:.2f}"
            peak = cost.peak or ""
            rows.append(f"| {line.task} | {line.tool} | {cost.wall:.2f} | {cost.cpu:.2f} | {peak} | {kept} | {ratio} |")
        return "\n".join([*rows, *(f"\n{said}" for said in self.said)])
