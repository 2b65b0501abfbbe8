"""tar members as bytes: ustar headers, with PAX records only for what ustar cannot hold.

The same row always gives the same bytes. A restore relies on it: it does not parse headers, it builds the one that the signed
index asks for and compares (extract.py). So this encoding belongs to the index's format version: change both or none.
"""

from __future__ import annotations

from iot_backup.worker.index import FIFO, FILE, FOLDER, HARD_LINK, SYMLINK, Row

BLOCK = 512
END = bytes(2 * BLOCK)
"""Closes an archive; nothing follows it."""
RESERVED = b".kbackup"
"""Top folder of the members that are ours. A user's own path of that name gets a `~` at its end inside the archive."""

_NANOSECONDS = 1_000_000_000
_MAX_ID = 0o7777777
_MAX_NUMBER = 0o77777777777
_NAME = 100
"""Bytes of ustar's name and link fields."""
_TYPES = {FILE: b"0", HARD_LINK: b"1", SYMLINK: b"2", FOLDER: b"5", FIFO: b"6"}
_PAX_TYPE = b"x"
_MAGIC = b"ustar\x0000"
_REST = bytes(BLOCK - 157 - _NAME - len(_MAGIC))
_PADDING = tuple(bytes(_NAME - n) for n in range(_NAME + 1))
_BLANK_CHECKSUM = 8 * 0x20
_PLAIN_TAILS = {
    type_: (tail, sum(tail) + _BLANK_CHECKSUM)
    for type_ in (*_TYPES.values(), _PAX_TYPE)
    for tail in (type_ + bytes(_NAME) + _MAGIC + _REST,)
}


def padding(size: int) -> int:
    """Zero bytes behind `size` bytes of content."""
    return -size % BLOCK


def stored_name(path: bytes) -> bytes:
    """A path's name inside the archive, for every kind but a folder's trailing slash.

    A user's top-level `.kbackup`, `.kbackup~`, ... moves up by one `~`, so that it is never taken for a member of ours.
    """
    if not path.startswith(RESERVED):
        return path
    top, slash, rest = path.partition(b"/")
    return path if top.rstrip(b"~") != RESERVED else top + b"~" + slash + rest


def header(row: Row) -> bytes:
    """Everything of a member that stands before its content."""
    name, link = stored_name(row.path), row.link
    if row.kind == FOLDER:
        name += b"/"
    elif row.kind == HARD_LINK:
        link = stored_name(link)
    type_, mtime = _TYPES[row.kind], row.mtime_ns // _NANOSECONDS
    records = _pax_records(row, name, link, mtime)
    if not records:
        return _ustar(name, type_, link, (row.mode, row.uid, row.gid, row.size, mtime))
    fitting = (
        row.mode,
        row.uid if row.uid <= _MAX_ID else 0,
        row.gid if row.gid <= _MAX_ID else 0,
        row.size if row.size <= _MAX_NUMBER else 0,
        mtime if 0 <= mtime <= _MAX_NUMBER else 0,
    )
    pax = _ustar(b"././@PaxHeader", _PAX_TYPE, b"", (0o644, 0, 0, len(records), 0))
    return pax + records + bytes(padding(len(records))) + _ustar(name[:_NAME], type_, link[:_NAME], fitting)


def _ustar(name: bytes, type_: bytes, link: bytes, numbers: tuple[int, int, int, int, int]) -> bytes:
    """`numbers`: mode, uid, gid, size, mtime."""
    octal = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % numbers
    if link:
        tail = type_ + link + _PADDING[len(link)] + _MAGIC + _REST
        checksum = sum(tail) + _BLANK_CHECKSUM
    else:
        tail, checksum = _PLAIN_TAILS[type_]
    return b"%b%b%b%06o\0 %b" % (name, _PADDING[len(name)], octal, checksum + sum(name) + sum(octal), tail)


def _pax_records(row: Row, name: bytes, link: bytes, mtime: int) -> bytes:
    """Records for what ustar cannot hold; most members need none."""
    if (
        len(name) <= _NAME
        and len(link) <= _NAME
        and row.uid <= _MAX_ID
        and row.gid <= _MAX_ID
        and row.size <= _MAX_NUMBER
        and 0 <= mtime <= _MAX_NUMBER
    ):
        return b""
    fields = []
    if not (_is_text(name) and _is_text(link)):
        fields.append((b"hdrcharset", b"BINARY"))
    if len(name) > _NAME:
        fields.append((b"path", name))
    if len(link) > _NAME:
        fields.append((b"linkpath", link))
    numbers = (b"size", row.size, _MAX_NUMBER), (b"uid", row.uid, _MAX_ID), (b"gid", row.gid, _MAX_ID), (b"mtime", mtime, _MAX_NUMBER)
    fields += [(key, b"%d" % value) for key, value, most in numbers if not 0 <= value <= most]
    return b"".join(_pax_record(key, value) for key, value in fields)


def _pax_record(key: bytes, value: bytes) -> bytes:
    """`<length> key=value\\n`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
