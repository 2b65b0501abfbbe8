"""What is in a backup: the rows of its index, verified before the first one is handed out."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from iot_backup.core.manifest import Manifest
from iot_backup.repository import reading
from iot_backup.standalone.catalogue import Opened
from iot_backup.worker.compression import Decompressed
from iot_backup.worker.index import FOLDER, HARD_LINK, SUPERSEDED, SYMLINK, Row
from iot_backup.worker.index_reader import IndexReader

KINDS = {"f": "file", FOLDER: "folder", SYMLINK: "link", HARD_LINK: "hardlink", "p": "fifo", "c": "device", "b": "device"}
_LETTERS = {FOLDER: "d", SYMLINK: "l", "f": "-", HARD_LINK: "h"}


def rows(there: Opened, manifest: Manifest) -> Iterator[Row]:
    """Each path of the tree once, in the order of the walk. CorruptData, WrongKey before the first."""
    store, repository = there.repository.store, there.repository
    verified = reading.verify(store, manifest.member.index, manifest.index)
    index = IndexReader(Decompressed(reading.index(store, manifest, repository.identity, verified)))
    return (row for row in index if row.state != SUPERSEDED)


def path(row: Row) -> str:
    """Bytes that are no UTF-8 as surrogate escapes."""
    return row.path.decode("utf-8", "surrogateescape")


def plain(row: Row) -> dict[str, Any]:
    """For JSON."""
    fields: dict[str, Any] = {
        "path": path(row),
        "kind": KINDS[row.kind],
        "size": row.size,
        "mode": f"{row.mode:04o}",
        "uid": row.uid,
        "gid": row.gid,
        "mtime": datetime.fromtimestamp(row.mtime_ns / 1e9, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
    }
    if row.sha256:
        fields["sha256"] = row.sha256
    if row.link:
        fields["link"] = row.link.decode("utf-8", "surrogateescape")
    return fields


def line(row: Row) -> str:
    """For people, in columns."""
    when = datetime.fromtimestamp(row.mtime_ns // 10**9, UTC).strftime("%Y-%m-%d %H:%M:%S")
    link = f" -> {row.link.decode('utf-8', 'surrogateescape')}" if row.link else ""
    return f"{_LETTERS.get(row.kind, row.kind)}{row.mode:04o} {row.uid:>6} {row.gid:>6} {row.size:>14} {when} {path(row)}{link}"
