"""What backups a repository holds, as their manifests say, and which of those are to be believed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from iot_backup.core import layout
from iot_backup.core import manifest as manifests
from iot_backup.core.layout import Member
from iot_backup.core.manifest import Manifest
from iot_backup.crypto.signing import Purpose, verified
from iot_backup.errors import CorruptData, IotBackupError, NotFound, SourceUnavailable, Untrusted
from iot_backup.repository import trust, writers
from iot_backup.repository.records import RepositoryRecord, WriterRecord
from iot_backup.repository.writing import found
from iot_backup.storage.store import Store

_LOOK_BACK = 32
"""Good manifests read to find a chain's highest seq: names carry the store's time, so the newest are among the last ones, but where a clock was wrong."""


@dataclass(frozen=True)
class Entry:
    """One backup: its manifest, or why that does not count."""

    member: Member
    manifest: Manifest | None
    manifest_sha256: str
    """Empty for one that is too long to be read."""
    problem: IotBackupError | None = None
    """CorruptData or Untrusted."""


@dataclass(frozen=True)
class Catalogue:
    """Reads manifests of one repository. Each writer is judged once."""

    store: Store
    namespace: str
    record: RepositoryRecord
    known: dict[str, WriterRecord] = field(default_factory=dict)
    """Writers judged so far; a caller puts its own key in, which it need not be told to trust."""

    def entries(self, chain: str | None = None) -> list[Entry]:
        """All backups of a chain, or of all chains, oldest name first. A damaged or forged one is an entry with its problem.

        A listing may be old: what is missing here may be there. StorageUnavailable, AccessDenied.
        """
        return [entry for member in self._members(chain) if (entry := self._entry(member)) is not None]

    def next_seq(self, chain: str) -> int:
        """One more than the highest of the chain that an admitted writer, or ourselves, signed."""
        members = self._members(chain)
        good, highest = 0, 0
        for member in reversed(members):
            # A chain of so many backups has a number that high, unless two runs took the same one: else a clock was wrong.
            if good >= _LOOK_BACK and highest >= len(members):
                break
            entry = self._entry(member)
            if entry and entry.manifest:
                good, highest = good + 1, max(highest, entry.manifest.seq)
        return highest + 1

    def recent(self, chain: str, writer: str, seq: int = 0) -> list[Entry]:
        """The newest backups of a chain, and all that those build on: what a new one of this writer may build on, oldest name first.

        They reach back at least to the newest of his that can be built on, however many others there are behind it, and to one of the number
        `seq` or a higher one, which somebody remembers: where a clock was wrong, its name may be among the oldest. All, if there is none.
        """
        members = self._members(chain)
        seq = seq or len(members)
        named = {member.id: member for member in members}
        found: dict[str, Entry | None] = {}
        good, own, highest = 0, False, 0
        for member in reversed(members):
            entry = found[member.id] = self._entry(member)
            if entry and entry.manifest:
                good, highest = good + 1, max(highest, entry.manifest.seq)
                own |= entry.manifest.writer == writer and entry.manifest.type != "Configuration"
            if good >= _LOOK_BACK and own and highest >= seq:
                break
        above = [entry.manifest.parent for entry in found.values() if entry and entry.manifest and entry.manifest.parent]
        while above:
            parent = above.pop()
            if parent.id in found or parent.id not in named:
                continue
            entry = found[parent.id] = self._entry(named[parent.id])
            if entry and entry.manifest and entry.manifest.parent:
                above.append(entry.manifest.parent)
        return sorted((entry for entry in found.values() if entry), key=lambda entry: (entry.member.started, entry.member.id))

    def doomed(self) -> set[str]:
        """Ids of backups that retention says it is about to delete."""
        return {info.key.removeprefix(layout.DOOMED) for info in self.store.list(layout.DOOMED)}

    def damaged(self) -> set[str]:
        """Ids of backups that a hold calls damaged. By the holds' names alone: a forged one costs no more than a Full."""
        parts = (layout.hold_parts(info.key) for info in self.store.list(layout.HOLDS))
        return {each[0] for each in parts if each is not None and each[1] == "damaged"}

    def newest(self, chain: str) -> Entry | None:
        """The newest good backup of a chain: by seq, not by the clock."""
        good = {entry.manifest.id: entry for entry in self.entries(chain) if entry.manifest}
        last = manifests.newest([entry.manifest for entry in good.values() if entry.manifest])
        return good[last.id] if last else None

    def find(self, id_: str, chain: str | None = None) -> Entry:
        """The backup of that id, in its chain if given. SourceUnavailable if there is none; CorruptData, Untrusted if it does not count."""
        problem: IotBackupError | None = None
        for where in [chain, None] if chain else [None]:
            for member in self._members(where):
                entry = self._entry(member) if member.id == id_ else None
                if entry is not None and entry.problem is None:
                    return entry
                # Anyone with credentials can add a manifest of the same id under another name: it must not hide the true one.
                problem = problem or (entry.problem if entry else None)
        raise problem or SourceUnavailable(
            f"the store has no backup {id_} of namespace {self.namespace}: it was deleted, or belongs to another storage or namespace. "
            "Look at status.archive of the Backups of this storage."
        )

    def over(self, store: Store) -> Catalogue:
        """The same, read from this store."""
        return replace(self, store=store)

    def judged(self, member: Member, data: bytes) -> Manifest:
        """The manifest under a member's key, if everything about it holds. CorruptData, Untrusted."""
        what = member.manifest
        manifest, body, signature = manifests.decoded(data, what)
        if manifest.repository_id != self.record.repository_id or manifest.namespace != self.namespace:
            raise Untrusted(f"{what} belongs to another repository ({manifest.namespace}, {manifest.repository_id}): it was copied here")
        if manifest.member != member:
            raise Untrusted(f"{what} says that it is {manifest.member.manifest}: it was moved or copied")
        writer = self.writer(manifest.writer)
        if writer is None:
            raise Untrusted(
                f"{what} is by writer {manifest.writer}, whom nobody admitted here. If it is a cluster of yours, admit its key; "
                "until then this backup does not count."
            )
        if not verified(bytes.fromhex(writer.public_key), Purpose.MANIFEST, body, signature):
            raise Untrusted(f"{what} has no valid signature of writer {manifest.writer}: it was damaged after it was signed, or forged")
        trust.check_manifest_cipher(self.record, manifest)
        return manifest

    def _entry(self, member: Member) -> Entry | None:
        sha256 = ""
        try:
            data = found(self.store, member.manifest)
            if data is None:
                return None
            sha256 = hashlib.sha256(data).hexdigest()
            return Entry(member, self.judged(member, data), sha256)
        except (CorruptData, Untrusted) as error:
            return Entry(member, None, sha256, error)

    def writer(self, id_: str) -> WriterRecord | None:
        """Who that is; None if nobody admitted it. Untrusted, CorruptData."""
        if id_ not in self.known:
            record = writers.admitted(self.store, self.record, self.namespace, id_)
            if record is None:
                return None
            self.known[id_] = record
        return self.known[id_]

    def _members(self, chain: str | None) -> list[Member]:
        """By name, which begins with the time."""
        prefix = f"{layout.CHAINS}{layout.checked(chain, 'chain')}/" if chain else layout.CHAINS
        return sorted(_parsed(info.key for info in self.store.list(prefix)), key=lambda member: (member.started, member.id))


def _parsed(keys: Iterable[str]) -> Iterable[Member]:
    return (member for key in keys if (member := layout.member_of_manifest(key)) is not None)


def size_of(store: Store, key: str) -> int | None:
    """An object's size, asked by its key; None if the store says that there is none."""
    try:
        return store.head(key).size
    except NotFound:
        return None
