"""Chains made by hand: an index whose rows point into the archives of several backups."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import zstandard

from iot_backup.core.manifest import Compression, Counts, Manifest, Owner, Parent, Source, StoredObject
from iot_backup.crypto.container import NO_HEADER_SHA256, sealer
from iot_backup.crypto.signing import WriterKey
from iot_backup.worker import tar
from iot_backup.worker.index import FILE, Part, Row, first_line, last_line, member_line
from tests.pipeline.roundtrip import IDENTITY, Backup, back_up, index_text, rows
from tests.pipeline.sites import NAMESPACE, Site
from tests.unit.repository.test_catalogue import signed_by

START = datetime(2026, 11, 23, 12, tzinfo=UTC)


def with_rows(backup: Backup, lines: Sequence[Row], archives: int = 1) -> Backup:
    """The same archive under another index, of a chain with so many archives; `backup`'s own is the last."""
    end = json.loads(index_text(backup).splitlines()[-1])["end"]
    text = [first_line([f"{number:016x}" for number in range(archives)])]
    text += [member_line(row) for row in lines]
    text.append(last_line(members=len(lines), notes=0, tar_size=end["tar_size"]))
    index, header_sha256 = sealed(zstandard.compress(b"".join(text)), backup.cipher)
    told = dataclasses.replace(backup.packed.index, size=len(index), header_sha256=header_sha256)
    return dataclasses.replace(backup, index=index, packed=dataclasses.replace(backup.packed, index=told))


def sealed(content: bytes, cipher: str) -> tuple[bytes, str]:
    container = sealer(None if cipher == "None" else IDENTITY.recipient, cipher)
    out = bytearray(container.room(len(content)))
    end = container.feed(content, out, 0)
    return container.header + bytes(out[:end]) + container.finish(), container.header_sha256


def on_top(before: Sequence[Backup], later: Backup) -> Backup:
    """`later`, a whole backup, as an incremental of the last of `before`: what did not change since is taken from where that one has it."""
    known = {row.path: row for row in rows(before[-1])}
    number = len(before)

    def moved(row: Row) -> Row:
        old = known.get(row.path)
        if row.kind != FILE or old is None or old.sha256 != row.sha256:
            return row._replace(archive=number)
        head = old.head or (0 if old.parts else len(tar.header(old)))
        return row._replace(archive=old.archive, offset=old.offset, head=head, parts=old.parts)

    return with_rows(later, [moved(row) for row in rows(later)], number + 1)


def grown(source: Path, changes: Sequence[Callable[[Path], object]], **how: object) -> list[Backup]:
    """One backup after each change of the source, each on top of the one before."""
    chain: list[Backup] = []
    for change in changes:
        change(source)
        whole = back_up(source, **how)  # type: ignore[arg-type]
        chain.append(on_top(chain, whole) if chain else with_rows(whole, rows(whole)))
    return chain


def whole_blocks(old: Row, new: Row, block: int, changed: set[int], number: int) -> Row:
    """`new`, with all but the changed blocks of its content taken from `old`'s archive, as a delta does. `new` is in archive `number`."""
    here, there = new.offset + (new.head or len(tar.header(new))), old.offset + (old.head or len(tar.header(old)))
    parts = []
    for at in range(0, new.size, block):
        length = min(block, new.size - at)
        parts.append(Part(number, here + at, length) if at // block in changed else Part(old.archive, there + at, length))
    return new._replace(parts=tuple(parts))


def fill(path: Path, size: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.urandom(size))


def stored(site: Site, chain: Sequence[Backup], **changes: object) -> list[Manifest]:
    """A chain in the store of a plain repository, as its admitted writer would commit it. `changes`: to the last manifest."""
    made: list[Manifest] = []
    for number, backup in enumerate(chain):
        manifest = described(site, backup, number, made)
        if number == len(chain) - 1:
            manifest = manifest.model_copy(update=changes)
        made.append(manifest)
        site.place.put(manifest.archive_key, backup.archive)
        site.place.put(manifest.member.index, backup.index)
        site.place.put(manifest.member.manifest, signed_by(WriterKey(site.writer_key), manifest))
    return made


def described(site: Site, backup: Backup, number: int, before: Sequence[Manifest]) -> Manifest:
    assert site.trust is not None
    counts = backup.packed.counts
    parent = None
    if before:
        sha256 = hashlib.sha256(site.place.read(before[-1].member.manifest)).hexdigest()
        parent = Parent(id=before[-1].id, manifest_sha256=sha256)
    return Manifest(
        tool="a test",
        repository_id=site.trust.repository_id,
        namespace=NAMESPACE,
        chain="daily",
        id=f"{number:016x}",
        type="Incremental" if before else "Full",
        seq=number + 1,
        parent=parent,
        start_time=START + timedelta(hours=number),
        snapshot_time=START + timedelta(hours=number),
        completion_time=START + timedelta(hours=number),
        writer=WriterKey(site.writer_key).id,
        cipher="None",
        recipient=None,
        compression=Compression(algorithm="Zstd", level=1),
        archive=facts_of(backup.archive),
        index=facts_of(backup.index),
        counts=Counts(files=counts.files + counts.hard_links, entries=counts.entries, source_bytes=counts.source_bytes),
        root_owner=Owner(uid=0, gid=0),
        source=Source(claim="data"),
    )


def facts_of(stored: bytes) -> StoredObject:
    return StoredObject(size=len(stored), sha256=hashlib.sha256(stored).hexdigest(), header_sha256=NO_HEADER_SHA256)
