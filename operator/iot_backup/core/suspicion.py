"""Whether a backup looks as if its source was damaged: emptied, encrypted by somebody else, changed all over. A pure decision.

It is held against what the last good backups of the same source were. Nobody is to be told of wolves: it takes three of those, a size
that matters, and a change beyond all that was before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from iot_backup.core.manifest import Manifest
from iot_backup.units import format_size

_HISTORY = 10
"""Backups that are looked at, at most."""
_ENOUGH = 3
"""With fewer nothing is known."""
_MANY_FILES, _MANY_BYTES = 20, 1 << 20
"""A source below both is too small to tell."""
_LEFT = 0.5
"""Less of the usual files or bytes than this is a loss."""
_STILL, _CHANGED = 0.25, 0.8
"""Increments that never stored more than the first share of the source, and now more than the second."""
_TEXT, _NOISE = 0.6, 0.95
"""Sources that always were compressed to less than the first share, and now to no less than the second."""


@dataclass(frozen=True)
class Figures:
    """Of one backup."""

    type: str
    files: int
    source_bytes: int
    stored_bytes: int

    @property
    def share(self) -> float:
        """Of the source that is in its own archive."""
        return self.stored_bytes / self.source_bytes if self.source_bytes else 0.0


def figures(manifest: Manifest) -> Figures:
    return Figures(manifest.type, manifest.counts.files, manifest.counts.source_bytes, manifest.archive.size)


def of(now: Figures, before: Sequence[Figures]) -> str | None:
    """What is odd, as a sentence; None if nothing is. `before`: of the same source, oldest first."""
    last = before[-_HISTORY:]
    if len(last) < _ENOUGH:
        return None
    return _loss(now, last) or _change(now, [each for each in last if each.type == now.type])


def _loss(now: Figures, last: Sequence[Figures]) -> str | None:
    files, size = median(each.files for each in last), median(each.source_bytes for each in last)
    if files >= _MANY_FILES and now.files < _LEFT * files:
        return f"the source has {now.files} files, and had {files:.0f}"
    if size >= _MANY_BYTES and now.source_bytes < _LEFT * size:
        return f"the source has {format_size(now.source_bytes)}, and had {format_size(int(size))}"
    return None


def _change(now: Figures, alike: Sequence[Figures]) -> str | None:
    """`alike`: of the same type."""
    if len(alike) < _ENOUGH or now.source_bytes < _MANY_BYTES:
        return None
    most = max(each.share for each in alike)
    if now.type in ("Incremental", "Differential"):
        odd = most < _STILL and now.share > _CHANGED
        return f"{now.share:.0%} of the source is new or changed, and never more than {most:.0%} was" if odd else None
    odd = most < _TEXT and now.share >= _NOISE
    return f"the source could be compressed to {most:.0%}, and cannot be any more: was it encrypted?" if odd else None
