"""Generations: the repository's identity, renewed. Old archives stay sealed to the old one; new ones go to the new.

Each is a file signed by the root before it and naming the fingerprint before it, so that the fingerprint of the last stands for
all. A generation is taken only by who was told its fingerprint: who has the old identity, a thief too, can make one.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from contextlib import suppress

from iot_backup.core import layout, signed
from iot_backup.core.spec import Trust
from iot_backup.crypto.signing import Purpose, SigningKey, verified
from iot_backup.errors import CorruptData, StorageUnavailable, Untrusted
from iot_backup.repository import records, trust
from iot_backup.repository.records import GenerationRecord, RenewedRecord, RepositoryRecord
from iot_backup.repository.writing import found, settled
from iot_backup.storage.store import Store

_MOST = 60
"""Generations looked at; an identity file holds one line for each."""


def accepted(store: Store, repo_json: bytes, fingerprint: str) -> RepositoryRecord:
    """The repository as of the generation of that fingerprint. Untrusted if it has none."""
    if not hmac.compare_digest(records.fingerprint(repo_json), fingerprint):
        with suppress(CorruptData):  # of a repo.json that is not the pinned one anyway
            for record, own in later(store, repo_json):
                if hmac.compare_digest(own, fingerprint):
                    return record
    trust.check_fingerprint(repo_json, fingerprint)
    return _first(repo_json)


def pinned(store: Store, repo_json: bytes | None, pinned_: Trust) -> RepositoryRecord:
    """The repository as the operator pinned it. Untrusted for any other, or none."""
    if repo_json is None:
        raise trust.vanished(pinned_.fingerprint)
    record = accepted(store, repo_json, pinned_.fingerprint)
    trust.check_pinned(record, pinned_)
    return record


def all_of(store: Store, repo_json: bytes) -> list[tuple[RepositoryRecord, str]]:
    """Every generation with its fingerprint, the newest first. Only as true as the last root of them is known to be ours."""
    return [*reversed([*later(store, repo_json)]), (_first(repo_json), records.fingerprint(repo_json))]


def later(store: Store, repo_json: bytes) -> Iterator[tuple[RepositoryRecord, str]]:
    """Each generation after the first, with its fingerprint, as far as each is signed by the one before. Rubbish ends them."""
    record, before = _first(repo_json), records.fingerprint(repo_json)
    while record.root is not None and record.generation < _MOST:
        data = found(store, layout.generation(record.generation + 1))
        if data is None:
            return
        try:
            record = _judged(data, record, before)
        except (CorruptData, Untrusted):
            return
        before = records.fingerprint(data)
        yield record, before


def goes_back(store: Store, repo_json: bytes, known: Trust, told: str) -> bool:
    """Whether the fingerprint `told` leads back, from what is trusted already, to another identity of the same repository that does not follow it.

    A command or a unit that names the fingerprint of before a renewal must not undo it: the old identity may be known to others. Nor must
    whoever hides the generation that is trusted. Untrusted if the store holds no repository of the fingerprint `told`.
    """
    if accepted(store, repo_json, told).repository_id != known.repository_id:
        return False
    ours = [fingerprint for _, fingerprint in all_of(store, repo_json)]  # the newest first
    return known.fingerprint not in ours or ours.index(told) > ours.index(known.fingerprint)


def write(store: Store, generation: GenerationRecord, signer: SigningKey) -> str:
    """Make a generation exist: the commit point of a renewal. Its fingerprint. StorageUnavailable if another one got there first."""
    body = signed.signable(generation.text())
    data = signed.closed(body, signer.sign(Purpose.GENERATION, body))
    if not settled(store, layout.generation(generation.number), data):
        raise StorageUnavailable(
            f"{layout.generation(generation.number)} is there already, made by somebody else at the same time: nothing was renewed. "
            "Find out who, and take that one by its fingerprint."
        )
    return records.fingerprint(data)


def described(record: RepositoryRecord, generation: GenerationRecord) -> RenewedRecord:
    """The repository as of the generation that follows `record`."""
    known = record.model_dump(exclude={"earlier", "recipient", "root"})
    return RenewedRecord(**known, recipient=generation.recipient, root=generation.root, earlier=record.recipients)


def _first(repo_json: bytes) -> RepositoryRecord:
    return records.decoded_signed(RepositoryRecord, repo_json, layout.REPO)[0]


def _judged(data: bytes, record: RepositoryRecord, before: str) -> RepositoryRecord:
    """The repository as of the next generation, if this is its file. Untrusted, CorruptData."""
    what = layout.generation(record.generation + 1)
    generation, body, signature = records.decoded_signed(GenerationRecord, data, what)
    if not verified(bytes.fromhex(record.root or ""), Purpose.GENERATION, body, signature):
        raise Untrusted(f"{what} is not signed by the root key before it")
    if (generation.repository_id, generation.number, generation.previous) != (record.repository_id, record.generation + 1, before):
        raise Untrusted(f"{what} does not follow what is before it: it was copied there")
    return described(record, generation)
