"""Backups as only who has the writer's key can make them: other indexes, and chains out of Fulls."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from itertools import pairwise

import zstandard

from iot_backup.core import manifest, signed
from iot_backup.core.manifest import Manifest, Parent, StoredObject
from iot_backup.crypto.signing import Purpose, WriterKey
from iot_backup.repository import reading
from iot_backup.repository.opening import Repository, open_for_restore
from iot_backup.worker import tar
from iot_backup.worker.compression import Decompressed
from iot_backup.worker.index import FILE, Part, Row, first_line, last_line, member_line
from iot_backup.worker.index_reader import IndexReader
from tests.pipeline.sites import NAMESPACE, Site

BLOCK = 1 << 20
"""Bytes of a delta's blocks."""


def opened(site: Site) -> Repository:
    return open_for_restore(site.store(), NAMESPACE, site.trust, brought=site.person)


def manifest_of(site: Site, id_: str) -> Manifest:
    (key,) = [key for key in site.manifests() if id_ in key]
    found, _, _ = manifest.decoded(site.place.read(key))
    return found


def index_of(site: Site, found: Manifest) -> bytes:
    """The index's lines."""
    repository = opened(site)
    return Decompressed(reading.index(repository.store, found, repository.identity)).readall()


def rows_of(site: Site, found: Manifest) -> list[Row]:
    repository = opened(site)
    return list(IndexReader(Decompressed(reading.index(repository.store, found, repository.identity))))


def with_another_index(site: Site, id_: str, change: Callable[[bytes], bytes]) -> None:
    """What an admitted writer gone bad may do: its own signature on any index."""
    found = manifest_of(site, id_)
    rewritten(site, found, change(index_of(site, found)))


def rewritten(site: Site, found: Manifest, rows: bytes, **changes: object) -> None:
    """The backup anew, with these rows, signed by the site's writer."""
    sealer, plain = opened(site).sealer(), zstandard.ZstdCompressor().compress(rows)
    out = bytearray(sealer.room(len(plain)))
    end = sealer.feed(plain, out, 0)
    sealed = sealer.header + bytes(out[:end]) + sealer.finish()
    described = StoredObject(size=len(sealed), sha256=hashlib.sha256(sealed).hexdigest(), header_sha256=sealer.header_sha256)
    made = found.model_copy(update={"index": described, **changes})
    if made.archive_key != found.archive_key:
        site.place.put(made.archive_key, site.place.read(found.archive_key))
        site.place.remove(found.archive_key)
    site.place.put(made.member.index, sealed)
    body = manifest.signable(made)
    site.place.put(made.member.manifest, signed.closed(body, WriterKey(site.writer_key).signing.sign(Purpose.MANIFEST, body)))


def chained(site: Site, ids: list[str], deltas: Iterable[bytes] = ()) -> None:
    """Make a chain of these Fulls: each an increment of the one before, whose archive holds what did not change.

    `deltas`: files of which only the first block changes: the others are where they were.
    """
    for number, (parent, id_) in enumerate(pairwise(ids), 1):
        above = manifest_of(site, parent)
        known = {row.path: row for row in rows_of(site, above)}
        found = manifest_of(site, id_)
        rows = [_built_on(row, known.get(row.path), number, row.path in deltas) for row in rows_of(site, found)]
        end = index_of(site, found).rpartition(b'"tar_size":')[2]
        lines = [first_line(ids[: number + 1]), *map(member_line, rows)]
        lines.append(last_line(members=len(rows), notes=0, tar_size=int(end.rstrip(b"}\n"))))
        sha256 = hashlib.sha256(site.place.read(above.member.manifest)).hexdigest()
        rewritten(site, found, b"".join(lines), type="Incremental", parent=Parent(id=parent, manifest_sha256=sha256))


def _built_on(row: Row, old: Row | None, number: int, delta: bool) -> Row:
    here = row._replace(archive=number)
    if row.kind != FILE or old is None or old.kind != FILE:
        return here
    if old.sha256 == row.sha256:
        head = old.head or (0 if old.parts else len(tar.header(old)))
        return row._replace(archive=old.archive, offset=old.offset, head=head, parts=old.parts)
    return _delta(old, here) if delta else here


def _delta(old: Row, new: Row) -> Row:
    stored = Part(new.archive, new.offset + len(tar.header(new)), BLOCK)
    before = old.parts or (Part(old.archive, old.offset + len(tar.header(old)), old.size),)
    first, *rest = before
    assert first.length >= BLOCK
    left = Part(first.archive, first.position + BLOCK, first.length - BLOCK)
    return new._replace(parts=(stored, *([left] if left.length else []), *rest))
