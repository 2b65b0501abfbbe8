"""Whether a repository is the one we mean: pure decisions over what was read."""

from __future__ import annotations

import hmac

from iot_backup.core import layout
from iot_backup.core.manifest import Manifest
from iot_backup.core.spec import Trust
from iot_backup.crypto.signing import Purpose, WriterKey, verified
from iot_backup.errors import CorruptData, InvalidSpec, Untrusted
from iot_backup.repository import records
from iot_backup.repository.records import RepositoryRecord


def check_algorithm(record: RepositoryRecord, algorithm: str) -> None:
    """A cipher never stands in for another in silence. Untrusted if nobody would encrypt, InvalidSpec if it is done otherwise than asked.

    A repository keeps the cipher it was made with: who wants another makes another repository.
    """
    if record.cipher == algorithm:
        return
    if record.cipher == "None":
        raise Untrusted(
            f"the store holds a repository without encryption, and spec.encryption.algorithm is {algorithm}: nothing was written. "
            "Another prefix gets a repository of its own."
        )
    raise InvalidSpec(
        f"the repository is encrypted with {record.cipher}, and spec.encryption.algorithm is {algorithm}: a repository keeps its cipher. "
        f"Set {record.cipher}, or use another prefix, which gets a repository of its own."
    )


def check_fingerprint(repo_json: bytes, expected: str) -> None:
    """Untrusted unless these are the bytes that were pinned."""
    actual = records.fingerprint(repo_json)
    if not hmac.compare_digest(actual, expected):
        raise Untrusted(
            f"the store holds another repository than the one pinned: fingerprint {actual}, expected {expected}. "
            "Nothing was encrypted to it. Find out who replaced repo.json; if it was you, set spec.encryption.fingerprint to the new one."
        )


def made_by(repo_json: bytes, writer: WriterKey) -> bool:
    """Whether this writer created the repository: a crash right after creation then needs nobody to confirm it."""
    _, body, signature = records.decoded_signed(RepositoryRecord, repo_json, layout.REPO)
    return verified(writer.signing.public, Purpose.REPOSITORY, body, signature)


def vanished(fingerprint: str) -> Untrusted:
    """What to say where a repository was known and none is there: never make a new one in its place."""
    return Untrusted(
        f"the repository with fingerprint {fingerprint} is not in the store: bucket, prefix or claim is another one, "
        "or repo.json was removed. No new repository was made in its place. Correct the location, or restore repo.json."
    )


def check_pinned(record: RepositoryRecord, pinned: Trust) -> None:
    """Untrusted if an order contradicts its own fingerprint, that of this record."""
    if record.repository_id != pinned.repository_id or record.recipient != pinned.recipient:
        raise Untrusted("id or recipient in the worker's order are not those of the repository with the pinned fingerprint")


def check_manifest_cipher(record: RepositoryRecord, manifest: Manifest) -> None:
    """CorruptData if a signed manifest says that its archive was sealed otherwise than its repository seals; Untrusted for a later generation."""
    if manifest.generation > record.generation:
        raise Untrusted(
            f"{manifest.member.manifest} is sealed to generation {manifest.generation} of the repository's identity, and this run was told to "
            f"trust generation {record.generation}: set spec.encryption.fingerprint to the new one"
        )
    recipient = record.recipients[manifest.generation - 1] if record.recipients else None
    if record.cipher != manifest.cipher or manifest.recipient != recipient:
        raise CorruptData(f"the manifest says {manifest.cipher} to {manifest.recipient}, the repository {record.cipher} to {recipient}")
