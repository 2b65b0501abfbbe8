"""What a restore would do, and cost: from the index, the manifests and a look at the target alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from iot_backup.core.manifest import Manifest
from iot_backup.core.report import PlanResult
from iot_backup.errors import CorruptData, SourceUnavailable, Untrusted
from iot_backup.repository.catalogue import Catalogue, size_of
from iot_backup.repository.lineage import Lineage
from iot_backup.worker.chosen import chosen
from iot_backup.worker.comparing import Comparison
from iot_backup.worker.extract import Rules
from iot_backup.worker.index_reader import IndexReader
from iot_backup.worker.survey import Survey

_MISSING = 8
"""Members named at most."""
_SECONDS_A_PATH = 60e-6
"""Of writing one small file, apart from its bytes."""
_SPEEDS = (20e6, 200e6)
"""Bytes a second, at least and at most: reading a small index tells of round trips, not of speed."""


@dataclass(frozen=True)
class Costs:
    """What is needed to say what a restore reads from the store."""

    catalogue: Catalogue
    line: Lineage
    verifies: bool
    """Archives would be read whole before they are read to write."""
    speed: float
    """Bytes a second, at which the index was read."""

    def missing(self, ids: Sequence[str]) -> tuple[str, ...]:
        """Of the backups with these ids, and of the parents, the ones that are gone or damaged, as far as manifests and sizes tell."""
        known = {member.id: member for member in self.line.members}
        gone = [self.line.missing] if self.line.missing else []
        for id_ in ids:
            manifest = known.get(id_) or self._looked_for(id_)
            whole = manifest is not None and size_of(self.catalogue.store, manifest.archive_key) == manifest.archive.size
            if not whole and id_ not in gone:
                gone.append(id_)
        return tuple(gone[:_MISSING])

    def _looked_for(self, id_: str) -> Manifest | None:
        """A member behind one that is missing, which no parent leads to any more."""
        try:
            return self.catalogue.find(id_, self.line.members[-1].chain).manifest
        except (SourceUnavailable, CorruptData, Untrusted):
            return None

    def read_bytes(self, ids: Sequence[str], survey: Survey) -> int:
        """From the archives: the frames that are needed, as if nothing were compressed, or all of an archive if that is less."""
        there = {member.id: member.archive.size for member in self.line.members}
        sizes = [there.get(id_, 0) for id_ in ids]
        needed = sum(min(size, survey.plain.get(number, 0)) for number, size in enumerate(sizes))
        return needed + (sum(sizes) if self.verifies else 0)


def planned(rows: IndexReader, target: int, rules: Rules, costs: Costs, what: str) -> PlanResult:
    """Read the index once, beside the target. `what` was asked for, in words. Nothing is written. CorruptData, NothingMatches, AccessDenied, SourceUnavailable."""
    survey, comparison = Survey(rules.selection), Comparison(target, rules)
    try:
        for row in chosen(rows, rules.selection):
            survey.add(row)
            comparison.add(row)
        comparison.finish()
    finally:
        comparison.close()
    survey.something(what)
    manifest, found = costs.line.members[-1], comparison.found
    read_bytes = costs.read_bytes(rows.archives, survey)
    # A restore of a part opens only the archives that it needs; one of everything opens all.
    needed = [id_ for number, id_ in enumerate(rows.archives) if number in survey.plain] if rules.selection else rows.archives
    return PlanResult(
        archive=manifest.id,
        chain=manifest.chain,
        snapshot_time=manifest.snapshot_time,
        members=max(1, len(needed)),
        files=survey.files,
        bytes=survey.size,
        add=found.add,
        change=found.change,
        same=found.same,
        keep=found.keep,
        delete=found.made_way + (rules.mirror.removed if rules.mirror else 0),
        read_bytes=read_bytes,
        space_needed=found.tightest.space,
        space_free=found.tightest.free,
        missing=costs.missing(needed),
        seconds=round(read_bytes / min(max(costs.speed, _SPEEDS[0]), _SPEEDS[1]) + survey.paths * _SECONDS_A_PATH),
    )
