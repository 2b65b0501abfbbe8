"""Whether a backup looks as if its source was damaged: emptied, encrypted by somebody else, changed all over. A pure decision.

It is held against what the job's last good backups were. Nobody is to be told of wolves: it takes a size that matters, a change beyond all
that was before, and, but for the worst, several backups to compare with. Where a person let a freeze go, what was odd is the new measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

from iot_backup.core.manifest import Manifest
from iot_backup.units import format_size

_HISTORY = 10
"""Backups of a kind that are looked at, at most."""
_ENOUGH = 3
"""With fewer little is known."""
_MANY_FILES, _MANY_BYTES = 20, 1 << 20
"""A source below both is too small to tell."""
_LEFT, _LITTLE_LEFT = 0.5, 0.1
"""Less of the usual files or bytes than this is a loss: than the second, where there is little to compare with."""
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
    same_source: bool = True
    """Of the same folder by the same filters as the one that is looked at; else of its job."""

    @property
    def share(self) -> float:
        """Of the source that is in its own archive."""
        return self.stored_bytes / self.source_bytes if self.source_bytes else 0.0


def figures(manifest: Manifest, *, same_source: bool = True) -> Figures:
    return Figures(manifest.type, manifest.counts.files, manifest.counts.source_bytes, manifest.archive.size, same_source)


def of(now: Figures, before: Sequence[Figures], *, frozen: bool = False) -> str | None:
    """What is odd, as a sentence; None if nothing is. `before`: oldest first. `frozen`: the chain is, so nobody accepted what was odd before."""
    return _odd(now, _measure(before, frozen=frozen))


def _measure(before: Sequence[Figures], *, frozen: bool) -> list[Figures]:
    """What to compare with: an odd one that was accepted stands for itself and all before it, one that was not is none."""
    found: list[Figures] = []
    for each in before:
        if _odd(each, found) is None:
            found.append(each)
        elif not frozen:
            found = [each]
    return found


def _odd(now: Figures, before: Sequence[Figures]) -> str | None:
    return _loss(now, before) or _change(now, [each for each in before if each.same_source and each.type == now.type][-_HISTORY:])


def _loss(now: Figures, before: Sequence[Figures]) -> str | None:
    alike = [each for each in before if each.same_source]
    last, left = (alike, _LEFT) if len(alike) >= _ENOUGH else (before, _LITTLE_LEFT)
    if not last:
        return None
    files, size = median(each.files for each in last[-_HISTORY:]), median(each.source_bytes for each in last[-_HISTORY:])
    if files >= _MANY_FILES and now.files < left * files:
        return f"the source has {now.files} files, and had {files:.0f}"
    if size >= _MANY_BYTES and now.source_bytes < left * size:
        return f"the source has {format_size(now.source_bytes)}, and had {format_size(int(size))}"
    return None


def _change(now: Figures, alike: Sequence[Figures]) -> str | None:
    """`alike`: of the same source and type."""
    if not alike or now.source_bytes < _MANY_BYTES:
        return None
    most = max(each.share for each in alike)
    if now.type in ("Incremental", "Differential"):
        odd = len(alike) >= _ENOUGH and most < _STILL and now.share > _CHANGED
        return f"{now.share:.0%} of the source is new or changed, and never more than {most:.0%} was" if odd else None
    odd = most < _TEXT and now.share >= _NOISE
    return f"the source could be compressed to {most:.0%}, and cannot be any more: was it encrypted?" if odd else None
