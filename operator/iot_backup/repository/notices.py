"""Small signed documents that writers leave for each other: doomed markers, records of removals, holds."""

from __future__ import annotations

from typing import TypeVar

from iot_backup.core import signed
from iot_backup.crypto.signing import Purpose, WriterKey, verified
from iot_backup.errors import Untrusted
from iot_backup.repository import records
from iot_backup.repository.catalogue import Catalogue
from iot_backup.repository.records import Notice

N = TypeVar("N", bound=Notice)


def encoded(record: Notice, writer: WriterKey, purpose: Purpose) -> bytes:
    """The file."""
    body = signed.signable(record.text())
    return signed.closed(body, writer.signing.sign(purpose, body))


def judged(catalogue: Catalogue, kind: type[N], data: bytes, key: str, purpose: Purpose) -> N:
    """What an admitted writer of this repository said. CorruptData, Untrusted."""
    record, body, signature = records.decoded_signed(kind, data, key)
    if (record.repository_id, record.namespace) != (catalogue.record.repository_id, catalogue.namespace):
        raise Untrusted(f"{key} belongs to another repository ({record.namespace}, {record.repository_id}): it was copied here")
    writer = catalogue.writer(record.writer)
    if writer is None or not verified(bytes.fromhex(writer.public_key), purpose, body, signature):
        raise Untrusted(f"{key} has no valid signature of an admitted writer: it was damaged, or made with store credentials alone")
    return record
