"""Level 3 of a verification: the index opened and held to its own rules, and files hashed out of the archives it refers to."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from iot_backup.core.manifest import Manifest
from iot_backup.errors import ChainBroken, CorruptData, IotBackupError, WrongKey
from iot_backup.repository import reading
from iot_backup.repository.catalogue import Entry
from iot_backup.repository.opening import Repository
from iot_backup.worker.ahead import Ahead
from iot_backup.worker.archive import Archive
from iot_backup.worker.compression import Decompressed
from iot_backup.worker.flow import Flow, Stop
from iot_backup.worker.index import FILE, SUPERSEDED, Row
from iot_backup.worker.index_reader import IndexReader
from iot_backup.worker.unpacking import Source

_NAMED = 8
"""Damaged files that are told by name; of the others only the number."""
_ALL = 100.0


@dataclass
class Checked:
    """What was read of one backup."""

    files: int = 0
    bytes: int = 0
    problems: list[IotBackupError] = field(default_factory=list)
    damaged: int = 0


def check(
    repository: Repository, entries: Sequence[Entry], manifest: Manifest, *, percent: float, rng: random.Random, stop: Stop
) -> Checked:
    """Read the index whole, and hash the content of each file, or of about `percent` of them. Cancelled, and what the store raises."""
    checked = Checked()
    try:
        archives = [Archive(source.opened(), compressed=source.compressed) for source in sources(repository, entries, manifest)]
        _walk(repository, manifest, archives, checked, lambda: percent >= _ALL or rng.random() * _ALL < percent, Flow(stop))
    except (CorruptData, WrongKey) as error:
        checked.problems.append(error)
    if checked.damaged > _NAMED:
        checked.problems.append(CorruptData(f"{checked.damaged - _NAMED} more files of {manifest.id} are damaged"))
    return checked


def index_rows(repository: Repository, manifest: Manifest) -> IndexReader:
    """A backup's index, opened. CorruptData, WrongKey."""
    return IndexReader(Decompressed(reading.index(repository.store, manifest, repository.identity)))


def sources(repository: Repository, entries: Sequence[Entry], manifest: Manifest) -> list[Source]:
    """The archives that the index refers to, by their numbers. CorruptData, ChainBroken: it names one on which the backup does not build."""
    by_id = {e.manifest.id: e.manifest for e in entries if e.manifest and e.manifest.chain == manifest.chain}
    family: dict[str, Manifest] = {}
    current: Manifest | None = manifest
    while current is not None and current.id not in family:
        family[current.id] = current
        current = by_id.get(current.parent.id) if current.parent else None
    ids = index_rows(repository, manifest).archives
    if ids[-1] != manifest.id:
        raise CorruptData(f"the index of {manifest.id} says that it belongs to {ids[-1]}: it was replaced")
    if strangers := [id_ for id_ in ids if id_ not in family]:
        raise ChainBroken(
            f"the index of {manifest.id} refers to the archives of {', '.join(strangers)}, on which it does not build, or which are gone"
        )
    return [_source(repository, family[id_]) for id_ in ids]


def _source(repository: Repository, manifest: Manifest) -> Source:
    return Source(
        lambda: reading.archive(repository.store, manifest, repository.identity), compressed=manifest.compression.algorithm == "Zstd"
    )


def _walk(
    repository: Repository, manifest: Manifest, archives: Sequence[Archive], checked: Checked, picked: Callable[[], bool], flow: Flow
) -> None:
    rows = index_rows(repository, manifest)
    ahead = Ahead(flow, archives, (row for row in _growing(rows) if row.kind == FILE and row.state != SUPERSEDED and picked()))
    try:
        for row in ahead:
            flow.check()
            _file(ahead, row, checked)
    finally:
        ahead.close()
    flow.join(*ahead.threads)
    if rows.tar_size != archives[-1].size:
        raise CorruptData(f"the index of {manifest.id} counts {rows.tar_size} bytes of its archive, which has {archives[-1].size}")


def _file(ahead: Ahead, row: Row, checked: Checked) -> None:
    try:
        whole = _sha256(ahead, row) == row.sha256
        error = None if whole else CorruptData("SHA-256 is not the one in the index")
    except CorruptData as found:
        error = found
    if error is None:
        checked.files += 1
        checked.bytes += row.size
        return
    checked.damaged += 1
    if checked.damaged <= _NAMED:
        checked.problems.append(CorruptData(f"the content of {row.path!r} is damaged: {error}"))


def _sha256(ahead: Ahead, row: Row) -> str:
    digest = hashlib.sha256()
    for piece, _ in ahead.content(row):
        digest.update(piece)
    return digest.hexdigest()


def _growing(rows: IndexReader) -> Iterator[Row]:
    """The rows; CorruptData where one lies before its predecessor in the same archive."""
    reached = [-1] * len(rows.archives)
    for row in rows:
        if row.offset <= reached[row.archive]:
            raise CorruptData(f"the index holds {row.path!r} out of its order in the archive: rows were moved or doubled")
        reached[row.archive] = row.offset
        yield row
