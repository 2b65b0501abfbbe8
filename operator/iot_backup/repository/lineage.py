"""The backups that one builds on, up to its Full: each must be there, be good, and be the very one that its child signs."""

from __future__ import annotations

from dataclasses import dataclass

from iot_backup.core.manifest import Manifest, Parent
from iot_backup.errors import ChainBroken, CorruptData, SourceUnavailable, Untrusted
from iot_backup.repository.catalogue import Catalogue, Entry


@dataclass(frozen=True)
class Lineage:
    """As far as it could be followed."""

    members: tuple[Manifest, ...]
    """In the order of the chain, the wanted backup last; its Full first, if nothing is missing."""
    missing: str = ""
    """Id of the first one, seen from the wanted backup, that is gone or does not count."""
    problem: ChainBroken | None = None

    def whole(self) -> tuple[Manifest, ...]:
        """All members. ChainBroken if there is a problem."""
        if self.problem is not None:
            raise self.problem
        return self.members


def lineage(catalogue: Catalogue, wanted: Entry) -> Lineage:
    """Follow the parents of a backup to its Full. StorageUnavailable, AccessDenied.

    A parent is found by its id in the same chain, and by the SHA-256 of its manifest, which the child signs: so each link is as
    trustworthy as the wanted backup's own signature.
    """
    manifest = wanted.manifest
    if manifest is None:
        raise wanted.problem or CorruptData(f"{wanted.member.manifest} does not count")
    found = [manifest]
    while (parent := found[-1].parent) is not None:
        try:
            found.append(_parent(catalogue, found[-1], parent, wanted.member.id))
        except ChainBroken as problem:
            return Lineage(tuple(reversed(found)), parent.id, problem)
    return Lineage(tuple(reversed(found)))


def _parent(catalogue: Catalogue, child: Manifest, parent: Parent, wanted: str) -> Manifest:
    by = "" if child.id == wanted else f" (through {child.id})"
    said = f"the backup {wanted} builds on {parent.id}{by}"
    try:
        entry = catalogue.find(parent.id, child.chain)
    except SourceUnavailable as error:
        raise ChainBroken(
            f"{said}, which is no longer in the store: nothing was written. Restore a backup that is older than that one, or a newer Full."
        ) from error
    except (CorruptData, Untrusted) as error:
        raise ChainBroken(f"{said}, which does not count, so nothing was written: {error}") from error
    if entry.manifest is None or entry.manifest_sha256 != parent.manifest_sha256:
        raise ChainBroken(f"{said}, and the store holds another manifest of that id than the one it was made from: it was replaced")
    if entry.manifest.chain != child.chain or entry.manifest.seq >= child.seq:
        raise ChainBroken(f"{said}, which is number {entry.manifest.seq} of chain {entry.manifest.chain}: nothing of ours builds so")
    return entry.manifest
