"""What changed inside text files: read out of the archives of both backups, into memory."""

from __future__ import annotations

import difflib
import hashlib
import io
import threading
from collections.abc import Iterator, Sequence

from iot_backup.core.manifest import Manifest
from iot_backup.errors import CorruptData
from iot_backup.standalone.catalogue import Opened
from iot_backup.standalone.contents import path
from iot_backup.standalone.diff import Difference
from iot_backup.worker.ahead import Ahead
from iot_backup.worker.archive import Archive
from iot_backup.worker.flow import Flow
from iot_backup.worker.index import FILE, Row
from iot_backup.worker.verify_content import sources

LARGEST = 1 << 20
"""Bytes of a file: what is larger is no text for people."""
_MOST = 64 << 20
"""Bytes of all that is held at once."""

Side = tuple[Opened, Manifest]


def unified(old: Side, new: Side, found: Sequence[Difference]) -> dict[str, str]:
    """By path the unified diff of each file whose content changed, where both are text. CorruptData for content that is not the indexed one."""
    pairs = [
        (each.old, each.new) for each in found if each.content and each.old and each.new and _is_small(each.old) and _is_small(each.new)
    ]
    size, wanted = 0, []
    for left, right in pairs:
        size += left.size + right.size
        if size <= _MOST:
            wanted.append((left, right))
    before, after = _read(*old, [left for left, _ in wanted]), _read(*new, [right for _, right in wanted])
    texts = ((path(left), _text(before[left.path]), _text(after[left.path])) for left, _ in wanted)
    return {name: _diff(name, one, other) for name, one, other in texts if one is not None and other is not None}


def _is_small(row: Row) -> bool:
    return row.kind == FILE and row.size <= LARGEST


def _read(there: Opened, manifest: Manifest, rows: Sequence[Row]) -> dict[bytes, bytes]:
    """The contents of these rows, which are in the order of the walk."""
    if not rows:
        return {}
    repository = there.repository
    entries = repository.catalogue.entries(manifest.chain)
    archives = [Archive(source.opened(), compressed=source.compressed) for source in sources(repository, entries, manifest)]
    flow = Flow(threading.Event())
    ahead = Ahead(flow, archives, rows)
    try:
        read = dict(_contents(ahead))
    finally:
        ahead.close()
    flow.join(*ahead.threads)
    return read


def _contents(ahead: Ahead) -> Iterator[tuple[bytes, bytes]]:
    for row in ahead:
        content = b"".join(piece for piece, _ in ahead.content(row))
        if hashlib.sha256(content).hexdigest() != row.sha256:
            raise CorruptData(f"the content of {row.path!r} is not the one in the index: verify the backup")
        yield row.path, content


def _text(content: bytes) -> list[str] | None:
    """Its lines; None for what is no text."""
    try:
        # A form feed or a U+2028 ends no line, though `splitlines` says so.
        return None if b"\0" in content else list(io.StringIO(content.decode(), newline="\n"))
    except UnicodeDecodeError:
        return None


def _diff(name: str, old: list[str], new: list[str]) -> str:
    lines = (
        line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"
        for line in difflib.unified_diff(old, new, f"a/{name}", f"b/{name}")
    )
    return "".join(lines)
