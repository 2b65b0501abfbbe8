"""The state that an earlier backup left, as a cursor that goes along with the walk: memory does not grow with the number of files."""

from __future__ import annotations

import binascii
import io
import json
from typing import Any, NamedTuple

from iot_backup.errors import CorruptData, StateUnreadable
from iot_backup.worker.deltas import DIGEST, MOST_BLOCKS, Blocks
from iot_backup.worker.index import BLOCKS_BEGIN, END_BEGIN, FORMAT, KINDS, ROOT, VERSION, Row
from iot_backup.worker.index_reader import parsed_row

_MAX_LINE = 4 << 20
_BUFFER = 256 << 10
_NO_ROW_BEGINS = BLOCKS_BEGIN, END_BEGIN


class Old(NamedTuple):
    """What an earlier backup had of a path."""

    path: bytes
    kind: str
    line: bytes
    """Its row as it was written."""
    row: Row | None
    """None where that backup was not sure of it."""
    blocks: Blocks | None
    """Of a large file."""
    blocks_line: bytes
    same: bool = False
    """The path is now as it was then, as far as stat() tells, and that can be believed."""


class Earlier:
    """Rows one by one. StateUnreadable from any of its calls."""

    line: bytes
    """The row the cursor is at, as it was written; b"" behind the last one."""

    def __init__(self, plain: io.RawIOBase) -> None:
        """Reads the first line, and the first row."""
        self._lines = io.BufferedReader(plain, _BUFFER)
        self.archives, self.snapshot_time_ns = _first(self._read())
        self._parsed: tuple[bytes, dict[str, Any]] | None = None
        self.line = self._row_line(self._read())

    def at(self) -> bytes | None:
        """Sorting key of the row the cursor is at; None behind the last one."""
        return order(self._path_and_line()[0]) if self.line else None

    def take(self) -> tuple[bytes, bytes]:
        """The row's line and that of its blocks (b"" without), and on to the next."""
        line, following = self.line, self._read()
        blocks = b""
        if following.startswith(_NO_ROW_BEGINS):
            if following.startswith(BLOCKS_BEGIN):
                blocks, following = following, self._read()
            following = self._row_line(following)
        self.line, self._parsed = following, None
        return line, blocks

    def take_parsed(self) -> Old:
        """The same, read."""
        path, value = self._path_and_line()
        line, blocks_line = self.take()
        kind = value.get("kind")
        if kind not in KINDS:
            raise _unreadable(f"a row of kind {kind!r}")
        try:
            row = parsed_row(value, len(self.archives)) if "size" in value else None
        except CorruptData as error:
            raise _unreadable(str(error)) from error
        return Old(path, kind, line, row, _blocks(blocks_line) if blocks_line else None, blocks_line)

    def _path_and_line(self) -> tuple[bytes, dict[str, Any]]:
        if self._parsed is None:
            value = _json(self.line)
            try:
                self._parsed = value["path"].encode("utf-8", "surrogateescape"), value
            except (KeyError, AttributeError, ValueError) as error:
                raise _unreadable("a row without a path") from error
        return self._parsed

    def _row_line(self, line: bytes) -> bytes:
        """The line, or b"" if it is the last one, behind which nothing may come."""
        if not line.startswith(END_BEGIN):
            return line
        if self._lines.read(1):
            raise _unreadable("something behind its end")
        return b""

    def _read(self) -> bytes:
        try:
            line = self._lines.readline(_MAX_LINE)
        except CorruptData as error:
            raise StateUnreadable(str(error)) from error
        if not line.endswith(b"\n"):
            raise _unreadable("no end")
        return line


def order(path: bytes) -> bytes:
    """What the walk's order sorts by: `/` is the lowest byte (no name holds a NUL), and the root comes first."""
    return b"" if path == ROOT else path.replace(b"/", b"\0")


def _first(line: bytes) -> tuple[tuple[str, ...], int]:
    value = _json(line)
    archives, moment = value.get("archives"), value.get("snapshot_time_ns")
    if value.get("format") != FORMAT or value.get("version") != VERSION or type(moment) is not int:
        raise _unreadable("another first line than those of this version")
    if not (isinstance(archives, list) and archives and all(isinstance(id_, str) for id_ in archives)):
        raise _unreadable("no list of archives")
    return tuple(archives), moment


def _blocks(line: bytes) -> Blocks:
    value = _json(line)["blocks"]
    try:
        size, digests = value["size"], binascii.a2b_base64(value["sha256"], strict_mode=True)
    except (KeyError, TypeError, ValueError) as error:
        raise _unreadable("malformed block hashes") from error
    if type(size) is not int or size <= 0 or len(digests) % DIGEST or len(digests) > MOST_BLOCKS * DIGEST:
        raise _unreadable("malformed block hashes")
    return Blocks(size, digests)


def _json(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise _unreadable("a line that is no JSON") from error
    if not isinstance(value, dict):
        raise _unreadable("a line that is no object")
    return value


def _unreadable(what: str) -> StateUnreadable:
    return StateUnreadable(f"the state of the backup to build on holds {what}: it was damaged, or made by another version")
