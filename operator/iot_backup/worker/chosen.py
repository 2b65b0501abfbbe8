"""Which rows of an index a restore writes: all, or what a selection asks for, with the folders above it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from iot_backup.worker import tar
from iot_backup.worker.index import CHANGED, FILE, FOLDER, HARD_LINK, SUPERSEDED, Row
from iot_backup.worker.selection import Selection


def chosen(rows: Iterable[Row], selection: Selection) -> Iterator[Row]:
    """The rows to write, in their order. Folders all come: who writes decides which of them it needs.

    A hard link whose first name was not asked for brings the content itself, and further names link to it. For that the rows of
    files with several names that were not asked for are kept in memory.
    """
    if not selection:
        yield from rows
        return
    firsts: dict[bytes, Row] = {}
    for row in rows:
        if row.kind == FOLDER or selection.selects(row.path, False):
            if row.kind == HARD_LINK and (first := firsts.get(row.link)) is not None:
                if first.kind == FILE:
                    firsts[row.link] = row
                    yield instead_of_link(row, first)
                else:
                    yield row._replace(link=first.path)
            else:
                yield row
        elif row.kind == FILE and row.links > 1 and row.state not in (CHANGED, SUPERSEDED):
            firsts[row.path] = row


def instead_of_link(link: Row, first: Row) -> Row:
    """A file of the link's path with the content of the file's first name, which is not written itself."""
    head = first.head or (0 if first.parts else len(tar.header(first)))
    return first._replace(path=link.path, head=head, mode=link.mode, uid=link.uid, gid=link.gid, mtime_ns=link.mtime_ns)
