"""Index and state side by side: which line goes where, and that none is kept back for long."""

from __future__ import annotations

import json
from typing import cast

import pytest

from iot_backup.worker.frames import Frames
from iot_backup.worker.index import CHANGED, FILE, Row, blocks_line, member_line
from iot_backup.worker.rows import Rows

ROW = Row(b"a", FILE, 3, 1, 2, 9, 0o644, 0, 0, 0, 512, "0" * 64)


class Sink:
    """Takes a stream's bytes."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.closed = False

    def write(self, data: bytes) -> None:
        self.written += data

    def close(self) -> None:
        self.closed = True

    @property
    def lines(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.written.splitlines()]


def rows(index: Sink, state: Sink | None) -> Rows:
    return Rows(cast("Frames", index), cast("Frames", state) if state else None)


def test_which_line_goes_where() -> None:
    index, state = Sink(), Sink()
    written = rows(index, state)
    written.begin(["0" * 16], 77)
    written.add(ROW, blocks_line(7, b"d" * 16))
    written.note("skipped", b"s", "a socket")
    written.add(ROW._replace(path=b"b", state=CHANGED), b"never", sure=False)
    written.add_to_index(member_line(ROW._replace(path=b"c")))
    written.copy(member_line(ROW._replace(path=b"d")), b"")
    written.end(1024)
    assert index.closed
    assert state.closed
    assert "snapshot_time_ns" not in index.lines[0]
    assert [line.get("path") for line in index.lines[1:]] == ["a", "s", "b", "c", "d", None]
    assert index.lines[-1] == {"end": {"members": 4, "notes": 1, "tar_size": 1024}}
    assert state.lines[0]["snapshot_time_ns"] == 77
    assert state.lines[2] == {"blocks": {"size": 7, "tags": "ZGRkZGRkZGRkZGRkZGRkZA=="}}
    assert state.lines[3] == {"path": "b", "kind": "f"}
    assert [line.get("path") for line in state.lines[1:]] == ["a", None, "b", "d", None]
    assert state.lines[-1] == {"end": {"members": 3, "notes": 0, "tar_size": 1024}}


def test_without_a_state_the_index_is_the_same() -> None:
    index = Sink()
    written = rows(index, None)
    written.begin(["0" * 16], 77)
    written.add(ROW)
    written.end(0)
    assert [line.get("path") for line in index.lines] == [None, "a", None]


@pytest.mark.parametrize("what", ["rows", "unsure", "notes", "readings"])
def test_nothing_piles_up(what: str) -> None:
    index, state = Sink(), Sink()
    written = rows(index, state)
    written.begin(["0" * 16], 77)
    for number in range(5000):
        row = ROW._replace(path=b"%d" % number)
        if what == "rows":
            written.add(row)
        elif what == "unsure":
            written.add(row, sure=False)
        elif what == "notes":
            written.note("unreadable", row.path, "Permission denied")
        else:
            written.add_to_index(member_line(row))
    assert len(index.written) > 5000 * 40 - 100_000
    if what in ("rows", "unsure"):
        assert len(state.written) > 5000 * 25 - 100_000
