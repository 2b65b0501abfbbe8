"""One task for several tools, in turn."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Self

from tests.bench.measuring import Cost, Failed
from tests.bench.peers import Tool
from tests.bench.table import Line, Table, better
from tests.cluster.progress import say


class Contest:
    """Rounds are interleaved, each tool once in each, and of a tool's runs the best counts: what other work takes from one round, it takes from
    all. What was measured goes into the table, whatever ends it."""

    def __init__(self, table: Table, task: str, rounds: int) -> None:
        self.table, self.task, self.rounds = table, task, rounds
        self._best: dict[str, Line] = {}
        self._out: set[str] = set()
        self._round = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.table.add(*self._best.values())

    def turns(self, tools: Iterable[Tool]) -> Iterator[tuple[bool, Tool]]:
        """Whose turn it is, and whether this is the last round. Who failed is out."""
        asked = list(tools)
        for number in range(1, self.rounds + 1):
            self._round, last = number, number == self.rounds
            for tool in asked:
                if tool.name not in self._out and (last or not tool.once):
                    yield last, tool

    @contextmanager
    def trying(self, tool: Tool) -> Iterator[None]:
        """A peer that fails is told of; ours ends it all."""
        try:
            yield
        except Failed as error:
            if not tool.peer:
                raise
            self._out.add(tool.name)
            self.table.say(f"{self.task}: {tool.name} failed: {error}")
            say(self.table.said[-1])

    def note(self, tool: Tool, cost: Cost, stored: float | None = None) -> None:
        say(f"{self.task}, round {self._round} of {self.rounds}: {tool.name} {cost.wall:.2f} s")
        better(self._best, Line(self.task, tool.name, cost, stored))
