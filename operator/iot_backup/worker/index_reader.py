"""Reads an index back, strictly: what is not a whole, well-formed index of a known version is CorruptData."""

from __future__ import annotations

import binascii
import io
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from iot_backup.errors import CorruptData
from iot_backup.worker.index import FILE, FORMAT, HARD_LINK, HOLE, KINDS, ROOT, STATES, SYMLINK, VERSION, Part, Row

_MAX_LINE = 4 << 20
"""Bytes: the deepest path we write, six characters a byte, twice, is well below it."""
_BUFFER = 256 << 10
_MAX_ID = 0xFFFFFFFF
_UNSAFE = re.compile(rb"(?:\A|/)\.{0,2}(?:/|\Z)|\0")
"""An empty, `.` or `..` component, a slash at either end, a NUL. `$` would also match before a line break, which names may end with."""
_DECODER = json.JSONDecoder()
_SHA256 = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"[0-9a-f]{16}")
_MAX_XATTR = 65536
"""Bytes of one value: Linux takes no more."""


class IndexReader:
    """One pass over an index. Until it ended without an error, what it gave may be part of a cut index."""

    def __init__(self, plain: io.RawIOBase, noted: Callable[[str, bytes], None] | None = None) -> None:
        """Reads the first line. `noted(note, path)` is called for each note, before the row behind it is given."""
        self._noted = noted
        self._lines = io.BufferedReader(plain, _BUFFER)
        self.members = 0
        self.notes: dict[str, int] = {}
        """How many of each kind."""
        self.tar_size = 0
        """Bytes of this backup's own tar stream; known at the end."""
        self.archives: tuple[str, ...] = self._first()
        """Ids of the backups whose archives the rows refer to, this one's last."""

    def _first(self) -> tuple[str, ...]:
        first = self._line()
        if first.get("format") != FORMAT:
            raise CorruptData("the index is no index: its first line is another one")
        if first.get("version") != VERSION:
            raise CorruptData(
                f"the index has version {first.get('version')!r}, this release reads {VERSION}: use the release that wrote it"
            )
        archives = first.get("archives")
        if not (isinstance(archives, list) and archives and all(isinstance(i, str) and _ID.fullmatch(i) for i in archives)):
            raise CorruptData("the index does not say whose archives it refers to: it was damaged or replaced")
        return tuple(archives)

    def __iter__(self) -> Iterator[Row]:
        while "end" not in (line := self._line()):
            if "path" in line and "kind" in line:
                self.members += 1
                yield parsed_row(line, len(self.archives))
            elif "note" in line:
                note = str(line["note"])
                self.notes[note] = self.notes.get(note, 0) + 1
                if self._noted is not None:
                    self._noted(note, _noted_path(line))
        self._check_end(line["end"])

    def _line(self) -> dict[str, Any]:
        text = self._lines.readline(_MAX_LINE)
        if not text.endswith(b"\n"):
            raise CorruptData("the index ends in the middle: it was cut off")
        try:
            value = _DECODER.decode(text.decode("ascii"))
        except (ValueError, RecursionError) as error:
            raise CorruptData("the index holds a line that is no JSON: it was damaged or replaced") from error
        if not isinstance(value, dict):
            raise CorruptData("the index holds a line that is no object: it was damaged or replaced")
        return value

    def _check_end(self, end: Any) -> None:
        if not isinstance(end, dict):
            raise CorruptData("the index holds a malformed end: it was damaged or replaced")
        counted = {"members": self.members, "notes": sum(self.notes.values())}
        if any(end.get(key) != count for key, count in counted.items()) or type(end.get("tar_size")) is not int:
            raise CorruptData(f"the index says at its end that it holds {end}, and holds {counted}: lines are missing or doubled")
        if self._lines.read(1):
            raise CorruptData("the index goes on behind its end: it was changed")
        self.tar_size = end["tar_size"]


def parsed_row(line: dict[str, Any], archives: int) -> Row:
    """A row from its line's JSON, refusing what no row of ours can be. `archives`: how many there are. CorruptData."""
    try:
        row = Row(
            _name(line["path"]),
            line["kind"],
            line["size"],
            line["mtime_ns"],
            line["ctime_ns"],
            line["inode"],
            line["mode"],
            line["uid"],
            line["gid"],
            line["archive"],
            line["offset"],
            line.get("sha256", ""),
            _name(line.get("link", "")),
            line.get("links", 1),
            line.get("state", ""),
        )
        if len(line) > _PLAIN_KEYS + ("sha256" in line):
            row = _with_rare(row, line)
        sound = _is_sound(row, archives)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CorruptData("the index holds a malformed member: it was damaged or replaced") from error
    if not sound:
        raise CorruptData(f"the index holds a malformed member ({row.path!r}): it was damaged or replaced")
    if _UNSAFE.search(row.path) and row.path != ROOT:
        raise CorruptData(f"the index holds the path {row.path!r}, which leads out of its folder: nothing of ours writes that")
    return row


def parts_of(line: bytes) -> tuple[Part, ...]:
    """The parts of a row of ours that is not read otherwise; none in most."""
    if line.endswith(_NO_PARTS) or _PARTS not in line:  # a quote inside a name is written with a backslash
        return ()
    return tuple(Part(*part) for part in _DECODER.decode(line.decode("ascii"))["parts"])


_PARTS = b',"parts":['
_NO_PARTS = b'"}\n'
"""The end of a row whose last value is a text: parts are a list, and only attributes, in braces, come behind them."""
_PLAIN_KEYS = 11
"""Keys of the most plain row, besides a file's hash: more may be one of the rare ones."""


def _with_rare(row: Row, line: dict[str, Any]) -> Row:
    """The fields that few rows have. TypeError, ValueError (binascii.Error is one) for what they cannot be."""
    major, minor = line.get("device", (0, 0))
    return row._replace(
        head=line.get("head", 0),
        xattrs=tuple((_name(name), _value(text)) for name, text in line.get("xattrs", {}).items()),
        device=(major, minor),
        parts=tuple(Part(*part) for part in line.get("parts", ())),
    )


def _value(text: str) -> bytes:
    return binascii.a2b_base64(text, strict_mode=True)


def _is_sound(row: Row, archives: int) -> bool:
    numbers = row[2:11]
    if {*map(type, numbers), type(row.links), type(row.head)} != {int} or row.kind not in KINDS or row.state not in STATES:
        return False
    if not (0 <= row.mode <= 0o7777 and 0 <= row.uid < _MAX_ID and 0 <= row.gid < _MAX_ID and row.size >= 0 and row.links >= 1):
        return False
    if not (0 <= row.archive < archives and row.offset >= 0 and row.head >= 0 and _xattrs_are_sound(row)):
        return False
    if row.kind == FILE:
        return _SHA256.fullmatch(row.sha256) is not None and not row.link and _parts_are_sound(row, archives)
    return not (row.size or row.state or row.parts or row.head) and _link_is_sound(row)


def _link_is_sound(row: Row) -> bool:
    if row.kind in (SYMLINK, HARD_LINK):
        return bool(row.link) and b"\0" not in row.link
    return not row.link and all(type(n) is int and 0 <= n < 1 << 32 for n in row.device)


def _xattrs_are_sound(row: Row) -> bool:
    return all(name and b"\0" not in name and len(value) <= _MAX_XATTR for name, value in row.xattrs)


def _parts_are_sound(row: Row, archives: int) -> bool:
    """Whether the parts, if there are any, make up the content."""
    if not row.parts:
        return True
    for archive, position, length in row.parts:
        if {type(archive), type(position), type(length)} != {int} or not HOLE <= archive < archives or position < 0 or length <= 0:
            return False
    return sum(part.length for part in row.parts) == row.size


def _noted_path(line: dict[str, Any]) -> bytes:
    try:
        return _name(line["path"])
    except (KeyError, ValueError, AttributeError) as error:
        raise CorruptData("the index holds a malformed note: it was damaged or replaced") from error


def _name(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")
