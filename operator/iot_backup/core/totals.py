"""Sums over all runs of a job that there ever were, for counters that never go back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

BUCKETS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 28800.0, 86400.0)
"""Upper bounds of durations, seconds: from an unchanged small folder to a run that takes a day."""
RESULTS = ("completed", "partial", "failed", "cancelled")


@dataclass(frozen=True)
class Totals:
    """Of one job."""

    results: dict[str, int] = field(default_factory=dict)
    """Runs by how they ended."""
    durations: tuple[int, ...] = (0,) * (len(BUCKETS) + 1)
    """Of runs that left a backup: how many took at most so long, each counted in one bucket; the last one is for longer ones."""
    seconds: float = 0.0
    """Of those together."""

    @property
    def runs(self) -> int:
        return sum(self.results.values())

    @property
    def failed(self) -> int:
        return self.results.get("failed", 0)

    def plus(self, ended: Iterable[tuple[str, float | None]]) -> Totals:
        """With more runs: how each ended, and the seconds it took if it left a backup."""
        results, durations, seconds = dict(self.results), list(self.durations), self.seconds
        for result, took in ended:
            results[result] = results.get(result, 0) + 1
            if took is not None:
                at = next((number for number, bound in enumerate(BUCKETS) if took <= bound), len(BUCKETS))
                durations[at] += 1
                seconds += took
        return Totals(results, tuple(durations), seconds)

    def plain(self) -> dict[str, Any]:
        """For JSON."""
        return {"results": self.results, "durations": list(self.durations), "seconds": self.seconds}


def of_plain(value: Any) -> Totals:
    """What `plain` made; nothing for anything else, or by other buckets."""
    try:
        durations = tuple(int(count) for count in value["durations"])
        found = Totals({str(name): int(count) for name, count in value["results"].items()}, durations, float(value["seconds"]))
    except (TypeError, KeyError, ValueError, AttributeError):
        return Totals()
    return found if len(durations) == len(BUCKETS) + 1 else Totals()
