"""A repository copied to another store, byte for byte: a replica with the same identity, which proves itself as the first one does.

Key files go first, then repo.json, generations and writers; then the backups, parents before children: archive, index and state, each
held against the hash that the signed manifest gives, and the manifest last. What an earlier copy left unfinished is found under its own
name and compared, so a copy that was interrupted anywhere is simply made again. Nothing is ever deleted or overwritten here:
what is left of a backup that the primary takes away before it is copied whole is for the sweep.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass, field

from iot_backup.core import layout
from iot_backup.core import manifest as manifests
from iot_backup.core.layout import Member
from iot_backup.core.manifest import Manifest, Parent, StoredObject
from iot_backup.core.spec import Trust
from iot_backup.errors import AlreadyExists, ChainBroken, CorruptData, IotBackupError, KeyMissing, NotFound, Untrusted
from iot_backup.repository import generations, keyfiles, removals
from iot_backup.repository.opening import Repository
from iot_backup.repository.writing import found, settled
from iot_backup.storage.store import Store

Watch = Callable[[int], None]
"""Told of every step with the bytes that it moved, maybe 0; what it raises ends the copy."""


@dataclass(frozen=True)
class Copy:
    """One backup that the other store holds now."""

    manifest: Manifest
    manifest_sha256: str


@dataclass
class Copied:
    """What a copy did, and what it could not do."""

    done: list[Copy] = field(default_factory=list)
    """In the order in which they were copied."""
    problems: list[IotBackupError] = field(default_factory=list)
    """One for each backup of the primary that does not count, or is damaged there: it was left out, and all that builds on it."""


def check_target(repo_json: bytes, target: Store) -> None:
    """Untrusted if the target holds another repository: a copy never replaces one, and never mixes two."""
    there = found(target, layout.REPO)
    if there not in (None, repo_json):
        raise Untrusted(
            "it holds another repository than the primary, with another identity, so nothing was copied there. Give the copies a place of their own "
            "(another prefix, path or container), or remove the other repository if nobody needs it."
        )


def adopt(primary: Repository, trust: Trust, target: Store, watch: Watch) -> None:
    """Make the target a replica without backups, or see that it is one. Untrusted, KeyMissing, and what the stores raise."""
    repo_json = primary.store.read(layout.REPO)
    if generations.accepted(primary.store, repo_json, trust.fingerprint) != primary.record:
        raise Untrusted("the primary's repository was replaced while it was copied: nothing more was. Find out who writes to the storage.")
    check_target(repo_json, target)
    if primary.record.recipient is not None and not keyfiles.listed(primary.store, primary.record):
        raise KeyMissing("the primary has no key file, and without one no copy could ever be opened: bring it back, then run again")
    for key in _listed(primary.store, layout.KEYS, lambda key: layout.key_file_parts(key) is not None):
        _small(primary.store, target, key, watch)
    _same(target, layout.REPO, repo_json)
    for prefix, ours in ((layout.GENERATIONS, _is_generation), (layout.WRITERS, lambda key: layout.writer_parts(key) is not None)):
        for key in _listed(primary.store, prefix, ours):
            _small(primary.store, target, key, watch)


def copy_backups(primary: Repository, target: Store, watch: Watch) -> Copied:
    """Copy every backup that counts and that the target does not have. The target is a replica already (`adopt`).

    A damaged backup is left out and told, and never stops the others; one whose base the primary does not have either is left out: nothing can
    be restored from it. A failure of the target ends it with the target's error: what is copied by then stays, and the next copy goes on from there.
    """
    copied = Copied()
    dead: set[str] = set()
    for member, manifest, data in _missing(primary, target, copied.problems):
        try:
            base = _base(manifest, target, {copy.manifest.id for copy in copied.done})
            _copy(primary.store, target, member, manifest, data, watch)
            _look_again(manifest, base, target)
        except CorruptData as error:
            if isinstance(error, ChainBroken) and _without_base(manifest, primary.store, dead):
                dead.add(manifest.id)
            elif found(primary.store, member.manifest) is not None:  # else retention took it away meanwhile
                copied.problems.append(error)
            continue
        copied.done.append(Copy(manifest, hashlib.sha256(data).hexdigest()))
    return copied


def _missing(primary: Repository, target: Store, problems: list[IotBackupError]) -> list[tuple[Member, Manifest, bytes]]:
    """Backups that the primary lists and the target does not, parents first; those that are about to be deleted are left out, and those
    that the target's own retention took."""
    there = {info.key for info in target.list(layout.CHAINS)}
    over = primary.catalogue.over(target)
    leaving = primary.catalogue.doomed() | over.doomed() | {victim.id for victims in removals.listed(over).values() for victim in victims}
    new = []
    for key in _listed(primary.store, layout.CHAINS, lambda key: layout.member_of_manifest(key) is not None):
        member = layout.member_of_manifest(key)
        if member is None or key in there or member.id in leaving:
            continue
        try:
            data = found(primary.store, key)
            if data is not None:
                new.append((member, primary.catalogue.judged(member, data), data))
        except (CorruptData, Untrusted) as error:
            problems.append(error)
    return sorted(new, key=lambda each: (each[1].chain, each[1].seq))


def _base(manifest: Manifest, target: Store, whole: Collection[str]) -> Member | None:
    """The very backup that this one builds on, in the copy with all that it builds on itself; None for one that builds on nothing.

    `whole`: ids that need not be looked at again. ChainBroken if one of them is not there, or retention of the copy is about to take the base.
    """
    base, parent = None, manifest.parent
    members = _members(target, manifest.chain) if parent else []
    while parent is not None:
        member, data = _exactly(parent, members, target)
        if member is None:
            raise ChainBroken(f"{manifest.id} builds on {parent.id}, which the copy does not have: it was not copied")
        base = base or member
        parent = None if member.id in whole else manifests.decoded(data, member.manifest)[0].parent
    if base is not None and found(target, base.doomed) is not None:
        raise ChainBroken(f"{manifest.id} builds on {base.id}, which retention of the copy is about to take away: it was not copied")
    return base


def _exactly(parent: Parent, members: Iterable[Member], target: Store) -> tuple[Member | None, bytes]:
    """Of the members the one that is built on, and its manifest; anybody may put another one of the same id beside it."""
    for member in members:
        data = found(target, member.manifest) if member.id == parent.id else None
        if data is not None and hashlib.sha256(data).hexdigest() == parent.manifest_sha256:
            return member, data
    return None, b""


def _look_again(manifest: Manifest, base: Member | None, target: Store) -> None:
    """Did the base stay until the manifest was there? Retention of the copy marks first and looks second; we wrote first and look second. ChainBroken."""
    if base is None or manifest.parent is None:
        return
    if _exactly(manifest.parent, [base], target)[0] is None or found(target, base.doomed) is not None:
        raise ChainBroken(
            f"retention of the copy took {base.id} away while {manifest.id}, which builds on it, was copied: nothing of its chain can be "
            "restored from the copy until a new full backup is there"
        )


def _without_base(manifest: Manifest, primary: Store, dead: Collection[str]) -> bool:
    """Whether the primary does not have either what a backup builds on; `dead`: backups of which that is known."""
    parent = manifest.parent
    return parent is not None and (parent.id in dead or all(member.id != parent.id for member in _members(primary, manifest.chain)))


def _members(store: Store, chain: str) -> list[Member]:
    return [member for info in store.list(f"{layout.CHAINS}{chain}/") if (member := layout.member_of_manifest(info.key))]


def _copy(source: Store, target: Store, member: Member, manifest: Manifest, data: bytes, watch: Watch) -> None:
    objects = [(manifest.archive_key, manifest.archive), (member.index, manifest.index)]
    if manifest.state is not None:
        objects.append((member.state, manifest.state))
    for key, stored in objects:
        try:
            target.create_stream(key, _checked(source, key, stored, watch), size_hint=stored.size)
        except AlreadyExists:
            _compare(target, key, stored, watch)
    watch(0)
    # What is uploaded of a backup that the primary has taken away since is garbage from then on.
    if found(source, member.manifest) is None:
        raise CorruptData(f"{member.id} is gone from the primary, so it was not copied: verify the primary")
    _same(target, member.manifest, data)


def _checked(source: Store, key: str, stored: StoredObject, watch: Watch) -> Iterator[bytes]:
    """The object's bytes. CorruptData before their end if they are not those that the manifest signs: the target then keeps none."""
    digest, size = hashlib.sha256(), 0
    try:
        for chunk in source.stream(key):
            digest.update(chunk)
            size += len(chunk)
            watch(len(chunk))
            yield chunk
    except NotFound as error:
        raise CorruptData(f"{key} is gone from the primary, so its backup was not copied: verify the primary") from error
    if (size, digest.hexdigest()) != (stored.size, stored.sha256):
        raise CorruptData(f"{key} on the primary is not what its manifest signs, so its backup was not copied: verify the primary")


def _compare(target: Store, key: str, stored: StoredObject, watch: Watch) -> None:
    """What is there under the name already, from a copy that was interrupted. CorruptData if it is anything else."""
    digest, size = hashlib.sha256(), 0
    for chunk in target.stream(key):
        digest.update(chunk)
        size += len(chunk)
        watch(len(chunk))
    if (size, digest.hexdigest()) != (stored.size, stored.sha256):
        raise CorruptData(
            f"the copy holds another {key} than the primary, without a manifest, and nothing is overwritten: find out who put it there, and remove it"
        )


def _small(source: Store, target: Store, key: str, watch: Watch) -> None:
    watch(0)
    _same(target, key, source.read(key))


def _same(target: Store, key: str, body: bytes) -> None:
    """The target holds these bytes under the key when this returns. Untrusted if it holds others."""
    there = found(target, key)
    if there == body or (there is None and settled(target, key, body)):
        return
    raise Untrusted(f"the copy holds another {key} than the primary: it was damaged or replaced. Find out who writes to the storage.")


def _listed(store: Store, prefix: str, ours: Callable[[str], bool]) -> list[str]:
    return sorted(info.key for info in store.list(prefix) if ours(info.key))


def _is_generation(key: str) -> bool:
    number = key.removeprefix(layout.GENERATIONS)
    return number.isdecimal() and layout.generation(int(number)) == key
