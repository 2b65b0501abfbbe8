"""What changed between two backups: their indexes, walked side by side. No archive is read for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iot_backup.standalone.contents import KINDS, path
from iot_backup.worker.index import FILE, FOLDER, ROOT, Row

ADDED, REMOVED, CHANGED = "added", "removed", "changed"
SIGNS = {ADDED: "+", REMOVED: "-", CHANGED: "~"}


@dataclass(frozen=True)
class Difference:
    """One path."""

    change: str
    path: str
    kind: str
    what: tuple[str, ...] = ()
    """Of a changed one: kind, content, target, mode, owner, xattrs, time."""
    old: Row | None = None
    new: Row | None = None

    @property
    def content(self) -> bool:
        """Whether it is a file whose content is another one."""
        return "content" in self.what

    def plain(self) -> dict[str, object]:
        fields: dict[str, object] = {"change": self.change, "path": self.path, "kind": self.kind}
        if self.what:
            fields["what"] = list(self.what)
        if self.old is not None and self.old.kind == FILE:
            fields["old_size"] = self.old.size
        if self.new is not None and self.new.kind == FILE:
            fields["new_size"] = self.new.size
        return fields

    def line(self) -> str:
        what = f" ({', '.join(self.what)})" if self.what else ""
        return f"{SIGNS[self.change]} {self.path}{what}"


def differences(old: Iterator[Row], new: Iterator[Row]) -> Iterator[Difference]:
    """Every path that is not the same in both, in the order of the walk, which both follow."""
    left, right = next(old, None), next(new, None)
    while left is not None or right is not None:
        if right is None or (left is not None and _place(left) < _place(right)):
            assert left is not None
            yield Difference(REMOVED, path(left), KINDS[left.kind], old=left)
            left = next(old, None)
        elif left is None or _place(right) < _place(left):
            yield Difference(ADDED, path(right), KINDS[right.kind], new=right)
            right = next(new, None)
        else:
            if what := changes(left, right):
                yield Difference(CHANGED, path(right), KINDS[right.kind], what, left, right)
            left, right = next(old, None), next(new, None)


def changes(old: Row, new: Row) -> tuple[str, ...]:
    """What of a path is another. A folder's time is not: it follows from what is in it."""
    if old.kind != new.kind:
        return ("kind",)
    differs = {
        "content": (old.size, old.sha256) != (new.size, new.sha256),
        "target": old.link != new.link or old.device != new.device,
        "mode": old.mode != new.mode,
        "owner": (old.uid, old.gid) != (new.uid, new.gid),
        "xattrs": old.xattrs != new.xattrs,
        "time": old.mtime_ns != new.mtime_ns and old.kind != FOLDER,
    }
    return tuple(name for name, different in differs.items() if different)


def _place(row: Row) -> list[bytes]:
    """Where the walk meets it: `/` counts as the lowest byte."""
    return [] if row.path == ROOT else row.path.split(b"/")
