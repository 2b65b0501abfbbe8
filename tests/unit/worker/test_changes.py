"""The walk and an earlier state side by side: every path is told as what it is, whatever the two trees are."""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass, field
from typing import cast

from hypothesis import given
from hypothesis import strategies as st

from iot_backup.worker.changes import Changes
from iot_backup.worker.earlier import Earlier, Old
from iot_backup.worker.frames import Frames
from iot_backup.worker.index import FILE, FOLDER, Row, first_line, last_line, member_line, unsure_line
from iot_backup.worker.members import Members
from iot_backup.worker.walk import Found

BASE_TIME = 100_000_000_000
OLD, NEW, RACY, FUTURE = BASE_TIME - 90_000_000_000, BASE_TIME + 5_000_000_000, BASE_TIME - 1, 1 << 62
"""Ctimes."""

Tree = dict[bytes, tuple[str, int]]
"""Path to kind and ctime; folders above a path are in it."""


@dataclass
class Told:
    """Stands in for the members, the archive, and what they do."""

    kept: list[bytes] = field(default_factory=list)
    added: dict[bytes, Old | None] = field(default_factory=dict)
    refused: frozenset[bytes] = frozenset()
    """Paths that cannot be read."""
    written: bytearray = field(default_factory=bytearray)

    def keep(self, found: Found, kind: str, line: bytes, blocks: bytes) -> None:
        assert b'"path":"%b","kind":"%b"' % (found.path, kind.encode()) in line
        self.kept.append(found.path)

    def add(self, found: Found, old: Old | None = None) -> bool:
        self.added[found.path] = old
        return found.path not in self.refused

    def write(self, data: bytes) -> None:
        self.written += data

    @property
    def deleted(self) -> list[bytes]:
        """From the lists: whole blocks behind their headers."""
        names, at = [], 0
        while at < len(self.written):
            size = int(self.written[at + 124 : at + 135], 8)
            assert self.written[at : at + 17] == b".kbackup/deleted/"
            names += self.written[at + 512 : at + 512 + size].split(b"\0")[:-1]
            at += 512 + size + -size % 512
        return [bytes(name) for name in names]


def told(
    old: Tree, new: Tree, *, now: int = 2 * BASE_TIME, unsure: frozenset[bytes] = frozenset(), refused: frozenset[bytes] = frozenset()
) -> Told:
    lines = [unsure_line(path, old[path][0]) if path in unsure else member_line(row(path, *old[path])) for path in in_order(old)]
    text = first_line(["0" * 16], BASE_TIME) + b"".join(lines) + last_line(members=len(lines), notes=0, tar_size=0)
    answer = Told(refused=refused)
    earlier = Earlier(cast("io.RawIOBase", io.BytesIO(text)))
    changes = Changes(earlier, cast("Members", answer), cast("Frames", answer), now)
    for path in in_order(new):
        changes.add(Found(-1, path.rpartition(b"/")[2], path, status(*new[path])))
    changes.finish()
    return answer


def in_order(tree: Tree) -> list[bytes]:
    return sorted(tree, key=lambda path: path.split(b"/"))


def row(path: bytes, kind: str, ctime: int) -> Row:
    return Row(path, kind, 7 if kind == FILE else 0, 1, ctime, 9, 0o640, 3, 4, 0, 512, "0" * 64 if kind == FILE else "")


def status(kind: str, ctime: int) -> os.stat_result:
    mode = (stat.S_IFREG if kind == FILE else stat.S_IFDIR) | 0o640
    plain = (mode, 9, 55, 1, 3, 4, 7 if kind == FILE else 4096, 0, 0, ctime // 10**9)
    return os.stat_result(plain, {"st_mtime_ns": 1, "st_ctime_ns": ctime})


def grown(found: dict[bytes, int]) -> Tree:
    """What is above another path is a folder, everything else a file or an empty folder."""
    tree: Tree = {}
    for path, ctime in found.items():
        parts = path.split(b"/")
        for depth in range(1, len(parts)):
            tree[b"/".join(parts[:depth])] = FOLDER, OLD
        tree.setdefault(path, (FILE if ctime == OLD or len(parts) > 1 else FOLDER, ctime))
    return {path: what for path, what in tree.items() if all(tree[above][0] == FOLDER for above in aboves(path))}


def aboves(path: bytes) -> list[bytes]:
    parts = path.split(b"/")
    return [b"/".join(parts[:depth]) for depth in range(1, len(parts))]


names = st.sampled_from([b"a", b"b", b"a.", b"a-", b"A", b"ab"])
paths = st.lists(names, min_size=1, max_size=3).map(b"/".join)
trees = st.dictionaries(paths, st.sampled_from([OLD, NEW]), max_size=12).map(grown)


@given(trees, trees)
def test_every_path_is_told_as_what_it_is(old: Tree, new: Tree) -> None:
    answer = told(old, new)
    same = {path for path in new if old.get(path) == new[path] and new[path][1] == OLD}
    assert set(answer.kept) == same
    assert set(answer.added) == set(new) - same
    assert {path for path, known in answer.added.items() if known} == (set(new) - same) & set(old)
    gone = {path for path in old if path not in new or new[path][0] != old[path][0]}
    tops = [path for path in in_order(old) if path in gone and not gone & set(aboves(path))]
    assert answer.deleted == tops
    assert {path for path in old if {path, *aboves(path)} & set(tops)} == gone | {path for path in old if gone & set(aboves(path))}


@given(trees, st.sampled_from([RACY, FUTURE]))
def test_what_cannot_be_believed_is_looked_at(tree: Tree, ctime: int) -> None:
    racy = {path: (kind, ctime) for path, (kind, _) in tree.items()}
    answer = told(racy, racy)
    assert answer.kept == []
    assert all(known and not known.same for known in answer.added.values())


@given(trees)
def test_nothing_is_believed_where_the_clock_stands_before_the_base(tree: Tree) -> None:
    assert told(tree, tree, now=BASE_TIME - 1).kept == []
    assert told(tree, tree, now=BASE_TIME).kept == [path for path in in_order(tree) if tree[path][1] == OLD]


@given(trees, st.data())
def test_what_the_base_was_not_sure_of_is_taken_again(tree: Tree, data: st.DataObject) -> None:
    unsure = frozenset(data.draw(st.sets(st.sampled_from(sorted(tree))) if tree else st.just(set())))
    answer = told(tree, tree, unsure=unsure)
    assert not unsure & set(answer.kept)
    assert all((known := answer.added[path]) and known.row is None for path in unsure)
    assert answer.deleted == []
    assert set(told(tree, {}, unsure=unsure).deleted) == {path for path in tree if not aboves(path)}


def test_what_cannot_be_read_any_more_is_gone() -> None:
    tree = {b"a": (FOLDER, OLD), b"a/x": (FILE, NEW), b"b": (FILE, NEW)}
    assert told(tree, tree, refused=frozenset({b"a/x"})).deleted == [b"a/x"]
