"""What the next backup of a chain builds on: a pure decision.

An incremental backup is only as good as all it builds on, and it copies what its base said of unchanged files. So a base is a backup
of the same source by the same filters, sealed to the same key, made by this very writer (nobody else can read its state), and
one whose own line of parents is complete. Where there is none, the backup is a Full, which needs nothing.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from iot_backup import vocabulary
from iot_backup.core import manifest as manifests
from iot_backup.core.manifest import Manifest, Source
from iot_backup.core.report import Warn
from iot_backup.core.spec import BackupType

BUILDS = frozenset({"Incremental", "Differential"})
"""Types that build on another backup."""
CHAIN_FULL = "ChainFull"
"""Reason of a Full that nobody needs to be warned of: the chain has reached its length."""


@dataclass(frozen=True)
class Known:
    """A backup of the chain whose manifest was judged good."""

    manifest: Manifest
    sha256: str
    """Of the manifest's bytes."""


@dataclass(frozen=True)
class Wanted:
    """The backup to be made."""

    type: BackupType
    source: Source
    """Of which what it is and how it is filtered count: not which job or schedule asks for it."""
    writer: str
    """Id of the writer's key."""
    writer_admitted: bool
    cipher: str
    recipient: str | None
    generation: int
    max_chain_length: int
    """Members, the Full included."""


@dataclass(frozen=True)
class Choice:
    """What it becomes."""

    type: BackupType
    base: Known | None = None
    reason: str = ""
    """Why it is a Full although it was wanted as another type: a word of `vocabulary`, CHAIN_FULL, or nothing."""
    message: str = ""
    """For people; with a reason."""

    @property
    def warnings(self) -> tuple[Warn, ...]:
        """What a person should know of it."""
        return (Warn(reason=self.reason, message=self.message),) if self.reason and self.reason != CHAIN_FULL else ()


def chosen(known: Sequence[Known], wanted: Wanted, gone: Collection[str] = ()) -> Choice:
    """The type and the base of the next backup. `known`: good backups of its chain, in any order; `gone`: ids that are being deleted, or damaged."""
    if wanted.type not in BUILDS:
        return Choice(wanted.type)
    own = [k for k in known if k.manifest.writer == wanted.writer and _may_be_base(k.manifest, wanted.type)]
    if not wanted.writer_admitted or not known:
        return Choice("Full")  # the first has a warning of its own; the second is how each chain begins
    by_id = {k.manifest.id: k for k in known if k.manifest.id not in gone}
    whole = [k for k in own if _length(k, by_id)]
    base = max(whole, key=lambda k: manifests.order(k.manifest), default=None)
    if base is None:
        return _full(vocabulary.BASE_MISSING, _why_none(known, own, wanted))
    reason, why = _refusal(base, wanted, _length(base, by_id))
    return _full(reason, why) if reason else Choice(wanted.type, base)


def line(base: Known, known: Sequence[Known]) -> list[Manifest]:
    """The base and all that it builds on, its Full last, as far as they are known."""
    by_id = {k.manifest.id: k.manifest for k in known}
    found = [base.manifest]
    while (parent := found[-1].parent) is not None and parent.id in by_id and len(found) <= len(by_id):
        found.append(by_id[parent.id])
    return found


def _may_be_base(manifest: Manifest, wanted: BackupType) -> bool:
    return manifest.type == "Full" if wanted == "Differential" else manifest.type in BUILDS or manifest.type == "Full"


def _length(member: Known, by_id: dict[str, Known]) -> int:
    """Members from this one to its Full; 0 if one of them is missing, or is not the one that its child signed."""
    length, current = 1, member
    if by_id.get(member.manifest.id) is not member:
        return 0
    while (parent := current.manifest.parent) is not None:
        above = by_id.get(parent.id)
        if above is None or above.sha256 != parent.manifest_sha256 or above.manifest.seq >= current.manifest.seq:
            return 0
        length, current = length + 1, above
    return length if current.manifest.type == "Full" else 0


def _refusal(base: Known, wanted: Wanted, length: int) -> tuple[str, str]:
    """Reason and message where the newest possible base is none for this backup; two empty ones where it is."""
    made = base.manifest
    if difference := _difference(made.source, wanted.source):
        return vocabulary.SOURCE_CHANGED, f"the chain's last backup {made.id} was made with {difference}: backups build on one of the same"
    if (made.cipher, made.recipient, made.generation) != (wanted.cipher, wanted.recipient, wanted.generation):
        return vocabulary.RECIPIENT_CHANGED, f"the chain's last backup {made.id} is sealed to another key than new ones are"
    if made.state is None:
        return vocabulary.BASE_MISSING, f"the chain's last backup {made.id} has no state to compare with: an older version made it"
    if length >= wanted.max_chain_length:
        return CHAIN_FULL, f"the chain has {length} members, and maxChainLength is {wanted.max_chain_length}"
    return "", ""


def _difference(old: Source, new: Source) -> str:
    """What of the source or its filters is another now."""
    facts = ("claim", "path", "include", "exclude", "one_file_system")
    return ", ".join(
        f"{fact} {getattr(old, fact)!r} instead of {getattr(new, fact)!r}" for fact in facts if getattr(old, fact) != getattr(new, fact)
    )


def _why_none(known: Sequence[Known], own: Sequence[Known], wanted: Wanted) -> str:
    if own:
        newest = max(own, key=lambda k: manifests.order(k.manifest)).manifest.id
        return f"the chain's backups cannot be built on: {newest}, the newest, or one that it builds on is gone, damaged, or does not count"
    if any(k.manifest.writer == wanted.writer for k in known):
        return "the chain has no Full of this cluster that could be built on"
    return "the chain's backups were made by other writers, whose state this one cannot read: if its key was lost, this is the one Full it costs"


def _full(reason: str, why: str) -> Choice:
    return Choice("Full", None, reason, f"{why}. This backup is a Full instead; the next ones build on it.")
