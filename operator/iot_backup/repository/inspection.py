"""What the store holds of each backup, judged without a key: manifests, sizes, digests, and what is missing between them.

Reads only. A difference is told as what it most likely is: cut off, damaged, swapped with another backup's, or a stranger's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from iot_backup.core.manifest import Manifest, StoredObject
from iot_backup.crypto import age_header
from iot_backup.crypto import cipher as ciphers
from iot_backup.crypto.stream import NONCE
from iot_backup.errors import ChainBroken, CorruptData, IotBackupError, NotFound
from iot_backup.repository.catalogue import Entry, size_of
from iot_backup.storage.store import Store

Gap = tuple[int, int]
"""First and last of some numbers that follow each other."""


@dataclass(frozen=True)
class Part:
    """One stored object of a backup, and what its manifest signs of it."""

    key: str
    signed: StoredObject


def parts(manifest: Manifest) -> tuple[Part, ...]:
    """Archive, index, and state if there is one."""
    found = (Part(manifest.archive_key, manifest.archive), Part(manifest.member.index, manifest.index))
    return (*found, Part(manifest.member.state, manifest.state)) if manifest.state else found


@dataclass(frozen=True)
class Inspector:
    """Judges backups among all others of the repository: `entries` are all there are."""

    store: Store
    entries: Sequence[Entry]
    check: Callable[[], None] = lambda: None
    """Called for each chunk that is read; may raise to stop."""

    def metadata(self, manifest: Manifest) -> Iterator[IotBackupError]:
        """What sizes and manifests tell: objects that are gone, cut or appended to, a parent that is missing or another one."""
        for part in parts(manifest):
            if problem := self._size(part):
                yield problem
        if problem := self.parent(manifest):
            yield problem

    def bytes(self, manifest: Manifest) -> Iterator[IotBackupError]:
        """The same, with every stored byte read."""
        for part in parts(manifest):
            if problem := self._digest(part, manifest):
                yield problem
        if problem := self.parent(manifest):
            yield problem

    def parent(self, manifest: Manifest) -> IotBackupError | None:
        """What is wrong with the backup that this one builds on: it is missing, does not count, or is not the one that was built on."""
        wanted = manifest.parent
        if wanted is None:
            return None
        named = [entry for entry in self.entries if entry.member.id == wanted.id and entry.member.chain == manifest.chain]
        if any(entry.manifest and entry.manifest_sha256 == wanted.manifest_sha256 for entry in named):
            return None
        what = f"the backup {manifest.id} builds on {wanted.id}"
        if not named:
            return ChainBroken(f"{what}, which is not in the store: it was deleted, or its manifest is hidden. Its content is lost")
        if problem := next((entry.problem for entry in named if entry.problem), None):
            return ChainBroken(f"{what}, which does not count: {problem}")
        return ChainBroken(f"{what} with the manifest {wanted.manifest_sha256}, and another manifest is in its place: it was replaced")

    def _size(self, part: Part) -> IotBackupError | None:
        size = size_of(self.store, part.key)
        if size is None:
            return _gone(part)
        return None if size == part.signed.size else _resized(part, size)

    def _digest(self, part: Part, manifest: Manifest) -> IotBackupError | None:
        digest, size, begin = hashlib.sha256(), 0, b""
        try:
            for chunk in self.store.stream(part.key):
                self.check()
                digest.update(chunk)
                size += len(chunk)
                begin += bytes(chunk[: _MOST_HEADER - len(begin)])
        except NotFound:
            return _gone(part)
        found = digest.hexdigest()
        if found == part.signed.sha256:
            return None
        if owner := self._owner(found):
            return CorruptData(f"{part.key} holds the bytes of {owner}: the two were swapped, or one was copied over the other")
        if size != part.signed.size:
            return _resized(part, size)
        sealed_by_age = manifest.cipher != "None" and part.key != manifest.member.state
        if sealed_by_age and (header := _header_sha256(begin, manifest.cipher)) and header != part.signed.header_sha256:
            return CorruptData(
                f"{part.key} has the right size, but begins with another header than was signed: "
                "another archive stands in its place, by another writer or another run"
            )
        return CorruptData(f"{part.key} is damaged: of its {size} bytes, SHA-256 is {found}, and its manifest signs {part.signed.sha256}")

    def _owner(self, sha256: str) -> str | None:
        """The key that these bytes belong to, if a manifest signs them."""
        manifests = (entry.manifest for entry in self.entries if entry.manifest)
        return next((part.key for manifest in manifests for part in parts(manifest) if part.signed.sha256 == sha256), None)


def with_parents(wanted: Iterable[Entry], entries: Sequence[Entry]) -> tuple[Entry, ...]:
    """The wanted backups and all that they build on, in the order of `entries`."""
    good = {(entry.member.chain, entry.member.id): entry for entry in entries if entry.manifest}
    taken = set()
    for entry in wanted:
        current: Entry | None = entry
        while current is not None and current.member not in taken:
            taken.add(current.member)
            parent = current.manifest.parent if current.manifest else None
            current = good.get((current.member.chain, parent.id)) if parent else None
    return tuple(entry for entry in entries if entry.member in taken)


def gaps(manifests: Iterable[Manifest], explained: Mapping[str, Collection[int]]) -> dict[str, tuple[Gap, ...]]:
    """By chain the numbers below its highest that no manifest has: each was a backup, and somebody took it away.

    `explained`: by chain the numbers that retention took away, by its signed records.
    """
    seen: dict[str, set[int]] = {}
    for manifest in manifests:
        seen.setdefault(manifest.chain, {0, *explained.get(manifest.chain, ())}).add(manifest.seq)
    found = {
        chain: tuple((before + 1, after - 1) for before, after in pairwise(sorted(numbers)) if after > before + 1)
        for chain, numbers in seen.items()
    }
    return {chain: missing for chain, missing in found.items() if missing}


_MOST_HEADER = age_header.MAX_HEADER + NONCE


def _header_sha256(begin: bytes, cipher: str) -> str | None:
    """Of the header and nonce that an encrypted object begins with; None if it has no whole one."""
    rest = [begin]
    try:
        header, _ = age_header.fetched(lambda _: rest.pop() if rest else b"", ciphers.named(cipher))
    except CorruptData:
        return None
    return hashlib.sha256(begin[: len(header) + NONCE]).hexdigest()


def _gone(part: Part) -> CorruptData:
    return CorruptData(f"{part.key} is not in the store, and its manifest is: somebody deleted it")


def _resized(part: Part, size: int) -> CorruptData:
    if size < part.signed.size:
        return CorruptData(f"{part.key} has {size} of the {part.signed.size} bytes that its manifest signs: it was cut off or replaced")
    return CorruptData(
        f"{part.key} has {size} bytes, and its manifest signs {part.signed.size}: something was appended, or it was replaced"
    )
