"""Rows survive the index, whatever their names."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_backup.errors import CorruptData
from iot_backup.worker import index
from iot_backup.worker.index import BLOCK_DEVICE, FIFO, FILE, FOLDER, HARD_LINK, HOLE, ROOT, STATES, SYMLINK, Part, Row
from iot_backup.worker.index_reader import IndexReader

SHA256 = "0123456789abcdef" * 4
ROWS = [
    Row(ROOT, FOLDER, 0, 1, 2, 3, 0o755, 4, 5, 0, 0),
    Row(b"file", FILE, 2**40, -1, 2, 2**63, 0o7777, 2**32 - 2, 5, 0, 512, SHA256),
    Row(b"linked", FILE, 0, 1, 2, 3, 0, 0, 0, 0, 1024, SHA256, links=3),
    Row(b"n\xff\x00"[:2] + 'ä\n"\\'.encode(), FIFO, 0, 1, 2, 3, 0o644, 4, 5, 0, 2048),
    Row(b"other", HARD_LINK, 0, 1, 2, 3, 0o644, 4, 5, 0, 4096, link=b"linked"),
    Row(b"rare", FILE, 9, 1, 2, 3, 0o644, 4, 5, 0, 8000, SHA256, head=512, xattrs=((b"user.\xff", b"\x00\xff"), (b"user.b", b""))),
    Row(b"sda", BLOCK_DEVICE, 0, 1, 2, 3, 0o644, 4, 5, 0, 8000, device=(8, 1)),
    Row(b"sparse", FILE, 9, 1, 2, 3, 0o644, 4, 5, 0, 8000, SHA256, parts=(Part(0, 512, 4), Part(HOLE, 0, 5))),
    Row(b"sym", SYMLINK, 0, 1, 2, 3, 0o777, 4, 5, 0, 8192, link=b"/\xfe/.."),
    *(Row(b"z" + state.encode(), FILE, 1, 1, 2, 3, 0o644, 4, 5, 0, 9000, SHA256, state=state) for state in sorted(STATES)),
]


def whole(rows: list[Row], *, notes: int = 0) -> bytes:
    lines = [index.first_line(["0123456789abcdef"]), *(index.member_line(row) for row in rows)]
    lines += [index.note_line("skipped", b"s\xff", "a socket")] * notes
    return b"".join([*lines, index.last_line(members=len(rows), notes=notes, tar_size=7)])


def reader(data: bytes) -> IndexReader:
    return IndexReader(io.BytesIO(data))  # type: ignore[arg-type]


def test_rows_come_back_as_they_were() -> None:
    read = reader(whole(ROWS, notes=2))
    assert [row._replace(links=1) if row.kind != FILE else row for row in read] == ROWS
    assert (read.members, read.notes, read.tar_size) == (len(ROWS), {"skipped": 2}, 7)


@given(
    path=st.binary(min_size=1).filter(lambda p: b"\0" not in p and b"/" not in p and p not in {b".", b".."}),
    number=st.integers(-(2**63), 2**63),
)
def test_any_name_comes_back(path: bytes, number: int) -> None:
    row = Row(path, FILE, 1, number, 2, 3, 0o644, 4, 5, 0, 9000, SHA256)
    assert list(reader(whole([row]))) == [row]


@pytest.mark.parametrize("name", [b"\n", b".\n", b"..\n", b"...", b"d\n"])
@pytest.mark.parametrize("folder", [b"", b"d/"])
def test_a_name_that_ends_with_a_line_break_is_a_name(folder: bytes, name: bytes) -> None:
    row = Row(folder + name, FILE, 1, 1, 2, 3, 0o644, 4, 5, 0, 9000, SHA256)
    assert list(reader(whole([row]))) == [row]


@pytest.mark.parametrize("path", [b"", b"/", b"/a", b"a/", b"a//b", b"..", b"../a", b"a/..", b"a/./b", b"a\0b", b"\n/../a", b"a/\n/.."])
def test_a_path_that_leads_out_of_its_folder_is_refused(path: bytes) -> None:
    with pytest.raises(CorruptData, match="leads out of its folder"):
        list(reader(whole([Row(path, FILE, 1, 1, 2, 3, 0o644, 4, 5, 0, 9000, SHA256)])))


def test_lines_are_ascii_json_for_any_reader() -> None:
    for line in whole(ROWS, notes=1).splitlines():
        line.decode("ascii")
        assert isinstance(json.loads(line), dict)


@pytest.mark.parametrize("damage", [lambda d: d[:-1], lambda d: d + b"\n", lambda d: d + b"{}\n", lambda d: b"", lambda d: d[5:]])
def test_a_damaged_index_is_refused(damage: object) -> None:
    assert callable(damage)
    with pytest.raises(CorruptData):
        list(reader(damage(whole(ROWS))))


def test_unknown_facts_of_a_later_release_are_passed_over() -> None:
    data = whole([ROWS[0]]).replace(b'"kind"', b'"colour":{"a":1},"kind"')
    assert list(reader(data)) == [ROWS[0]]


@pytest.mark.parametrize(
    "wrong",
    [
        {"archive": 1},
        {"offset": -1},
        {"head": -1},
        {"parts": (Part(0, 0, 1),)},
        {"parts": (Part(1, 0, 9),)},
        {"parts": (Part(-2, 0, 9),)},
        {"parts": (Part(0, -1, 9),)},
        {"parts": (Part(0, 0, 10), Part(HOLE, 0, -1))},
        {"xattrs": ((b"", b"v"),)},
        {"xattrs": ((b"user.a", bytes(65537)),)},
    ],
)
def test_rare_facts_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    row = Row(b"file", FILE, 9, 1, 2, 3, 0o644, 4, 5, 0, 512, SHA256)._replace(**wrong)  # type: ignore[arg-type]
    with pytest.raises(CorruptData):
        list(reader(whole([row])))


@pytest.mark.parametrize("archives", [b"[]", b'["x"]', b"null", b'["0123456789abcdef",7]'])
def test_an_index_says_whose_archives_it_refers_to(archives: bytes) -> None:
    with pytest.raises(CorruptData, match="whose archives"):
        reader(whole([]).replace(b'["0123456789abcdef"]', archives, 1))


def test_a_row_begins_with_what_stat_gives() -> None:
    """So that an unchanged file is told by comparing bytes."""
    for row in ROWS:
        assert index.member_line(row).startswith(index.stat_text(row.path, row.kind, row[2:9]).encode())
