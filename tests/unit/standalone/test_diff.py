"""Two indexes side by side."""

from __future__ import annotations

from typing import Any

import pytest

from iot_backup.standalone import texts
from iot_backup.standalone.diff import differences
from iot_backup.worker.index import Row


def row(path: str, kind: str = "f", **changes: Any) -> Row:
    facts: dict[str, Any] = {"size": 3, "sha256": "a" * 64} if kind == "f" else {"size": 0}
    plain = {"mtime_ns": 1, "ctime_ns": 1, "inode": 1, "mode": 0o644, "uid": 0, "gid": 0, "archive": 0, "offset": 0}
    return Row(path.encode(), kind, **{**plain, **facts, **changes})


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ([], [], []),
        ([row(".", "d")], [row(".", "d", mtime_ns=2, inode=5)], []),
        ([row("a")], [row("a", inode=7, offset=512, ctime_ns=9)], []),
        ([row("a")], [], ["- a"]),
        ([], [row("a")], ["+ a"]),
        ([row("a")], [row("a", sha256="b" * 64)], ["~ a (content)"]),
        ([row("a")], [row("a", mode=0o600, uid=5, mtime_ns=2)], ["~ a (mode, owner, time)"]),
        ([row("a", "l", link=b"x")], [row("a", "l", link=b"y")], ["~ a (target)"]),
        ([row("a")], [row("a", "d"), row("a/b")], ["~ a (kind)", "+ a/b"]),
        ([row("a", xattrs=((b"user.x", b"1"),))], [row("a")], ["~ a (xattrs)"]),
        (
            [row(".", "d"), row("a", "d"), row("a/x"), row("a-b"), row("z")],
            [row(".", "d"), row("a", "d"), row("a/y"), row("a-b"), row("b")],
            ["- a/x", "+ a/y", "+ b", "- z"],
        ),
    ],
)
def test_every_path_that_differs_is_told_once(old: list[Row], new: list[Row], expected: list[str]) -> None:
    assert [each.line() for each in differences(iter(old), iter(new))] == expected


def test_sizes_are_those_of_each_side() -> None:
    (found,) = differences(iter([row("a", size=1)]), iter([row("a", size=2)]))
    assert found.plain() == {"change": "changed", "path": "a", "kind": "file", "what": ["content"], "old_size": 1, "new_size": 2}


@pytest.mark.parametrize("within", ["\f", "\v", "\x1c", "\x85", "\u2028", "\r"])
def test_only_a_line_feed_ends_a_line_of_a_text(within: str) -> None:
    assert texts._text(f"a{within}b\nx\r\n\nend".encode()) == [f"a{within}b\n", "x\r\n", "\n", "end"]


def test_what_is_no_text_has_no_lines() -> None:
    assert (texts._text(b"a\0b"), texts._text(b"\xff"), texts._text(b"")) == (None, None, [])
