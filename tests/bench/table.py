"""The figures of a benchmark as a table that docs/benchmarks.md can hold."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from tests.bench.measuring import Cost


@dataclass(frozen=True)
class Line:
    """One tool at one task."""

    task: str
    tool: str
    cost: Cost
    stored: float
    """MB."""


def better(best: dict[str, Line], line: Line) -> None:
    """Of a tool's runs the fastest counts; memory is that of the largest."""
    known = best.get(line.tool)
    if known is None:
        best[line.tool] = line
        return
    fastest = min(known, line, key=lambda each: each.cost.wall)
    best[line.tool] = replace(fastest, cost=replace(fastest.cost, peak=max(known.cost.peak, line.cost.peak)))


@dataclass
class Table:
    """Lines of one task stand together; the first of them is ours, and the others' ratio is theirs by ours."""

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
            cost = line.cost
            rows.append(f"| {line.task} | {line.tool} | {cost.wall:.2f} | {cost.cpu:.2f} | {cost.peak} | {line.stored:.2f} | {ratio} |")
        return "\n".join([*rows, *(f"\n{said}" for said in self.said)])
