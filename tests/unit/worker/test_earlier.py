"""The cursor over an earlier backup's rows: order, deletions, and refusal of what is no state."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_backup.errors import CorruptData, StateUnreadable
from iot_backup.worker.deltas import Blocks
from iot_backup.worker.earlier import Earlier, order
from iot_backup.worker.index import FILE, FOLDER, Row, blocks_line, first_line, last_line, member_line, unsure_line

IDS = ("0" * 16, "1" * 16)


def row(path: bytes, kind: str = FILE, **changes: object) -> Row:
    made = Row(path, kind, 3 if kind == FILE else 0, 1, 2, 9, 0o644, 0, 0, 0, 512, "0" * 64 if kind == FILE else "")
    return made._replace(**changes)


def state(lines: Sequence[bytes], *, first: bytes = first_line(IDS, 77), last: bytes | None = None) -> io.BytesIO:
    end = last_line(members=len(lines), notes=0, tar_size=0) if last is None else last
    return io.BytesIO(first + b"".join(lines) + end)


def opened(lines: Sequence[bytes], **how: bytes) -> Earlier:
    return Earlier(io.BufferedReader(state(lines, **how)))  # type: ignore[arg-type]


def test_rows_come_one_by_one_with_their_blocks() -> None:
    first, second = member_line(row(b".", FOLDER)), member_line(row(b"a"))
    blocks = blocks_line(10, b"d" * 32)
    earlier = opened([first, second, blocks, unsure_line(b"b", FOLDER)])
    assert (earlier.archives, earlier.snapshot_time_ns) == (IDS, 77)
    assert (earlier.line, earlier.at()) == (first, b"")
    assert earlier.take() == (first, b"")
    assert (earlier.line, earlier.at()) == (second, b"a")
    old = earlier.take_parsed()
    assert (old.path, old.kind, old.row, old.blocks, old.line, old.blocks_line) == (
        b"a",
        FILE,
        row(b"a"),
        Blocks(10, b"d" * 32),
        second,
        blocks,
    )
    unsure = earlier.take_parsed()
    assert (unsure.path, unsure.kind, unsure.row) == (b"b", FOLDER, None)
    assert (earlier.line, earlier.at()) == (b"", None)


def test_an_empty_state_is_at_its_end() -> None:
    assert opened([]).at() is None


names = st.binary(min_size=1, max_size=4).filter(lambda name: b"/" not in name and b"\0" not in name and name not in (b".", b".."))


@given(st.lists(st.lists(names, min_size=1, max_size=4), max_size=20))
def test_the_order_is_that_of_the_walk(paths: list[list[bytes]]) -> None:
    """Names of a folder by their bytes, what is in a folder right behind it."""
    assert sorted(paths) == sorted(paths, key=lambda parts: order(b"/".join(parts)))
    assert all(order(b".") < order(b"/".join(parts)) for parts in paths)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"no json\n",
        b"[]\n",
        first_line(IDS),
        first_line(IDS, 7).replace(b'"version":1', b'"version":2'),
        first_line(IDS, 7).replace(b"iot-backup-index", b"another"),
        first_line((), 7),
        first_line(IDS, 7),
        first_line(IDS, 7) + b'{"end":{}}\n' + b"more\n",
        first_line(IDS, 7) + member_line(row(b"a"))[:-1],
    ],
)
def test_what_is_no_state_is_refused_at_once(content: bytes) -> None:
    with pytest.raises(StateUnreadable):
        Earlier(io.BufferedReader(io.BytesIO(content)))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "line",
    [
        b"no json\n",
        b"[1]\n",
        b'{"kind":"f"}\n',
        b'{"path":7,"kind":"f"}\n',
        b'{"path":"a","kind":"x"}\n',
        member_line(row(b"a", archive=2)),
        member_line(row(b"a", size=-1)),
        member_line(row(b"../a")),
        member_line(row(b"a")) + b'{"blocks":{"size":0,"tags":""}}\n',
        member_line(row(b"a")) + b'{"blocks":{"size":1,"tags":"!"}}\n',
        member_line(row(b"a")) + b'{"blocks":{"size":1,"tags":"YWJj"}}\n',
        member_line(row(b"a")) + b'{"blocks":{"size":"1"}}\n',
        member_line(row(b"a")) + b'{"blocks":{"size":7}\n',
        member_line(row(b"a")) + b'{"blocks":{"size":7,"no":1}}\n{"blocks":7}\n',
    ],
)
def test_a_row_that_is_none_is_refused_when_it_is_read(line: bytes) -> None:
    earlier = opened([line])
    with pytest.raises(StateUnreadable, match="damaged, or made by another version"):
        _to_its_end(earlier)


def _to_its_end(earlier: Earlier) -> None:
    while earlier.line:
        earlier.take_parsed()


def test_an_error_below_is_told_as_one_of_the_state() -> None:
    class Broken(io.RawIOBase):
        given = False

        def readable(self) -> bool:
            return True

        def readinto(self, buffer: bytearray) -> int:  # type: ignore[override]
            if self.given:
                raise CorruptData("somebody changes its objects")
            self.given = True
            start = first_line(IDS, 7) + member_line(row(b"a"))
            buffer[: len(start)] = start
            return len(start)

    with pytest.raises(StateUnreadable, match="somebody changes"):
        Earlier(Broken()).take()
