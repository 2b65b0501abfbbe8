"""tar members as bytes: ustar headers, with PAX records only for what ustar cannot hold.

The same row always gives the same bytes. A restore relies on it: it does not parse headers, it builds the one that the signed
index asks for and compares (extract.py). So this encoding belongs to the index's format version: change both or none.
"""

from __future__ import annotations

import os

from iot_backup.worker import pax, sparse
from iot_backup.worker.index import BLOCK_DEVICE, CHARACTER_DEVICE, FIFO, FILE, FOLDER, HARD_LINK, SYMLINK, Row

BLOCK = 512
END = bytes(2 * BLOCK)
"""Closes an archive; nothing follows it."""
RESERVED = b".kbackup"
"""Top folder of the members that are ours. A user's own path of that name gets a `~` at its end inside the archive."""
DELETED = RESERVED + b"/deleted/"
"""Before a number: a list of paths that are gone."""
METADATA = RESERVED + b"/metadata/"
"""Before a file's name: new attributes of a file whose content did not change."""
DELTA = RESERVED + b"/delta/"
"""Before a file's name: changed blocks of it."""

_NANOSECONDS = 1_000_000_000
_MAX_ID = 0o7777777
_MAX_NUMBER = 0o77777777777
_NAME = 100
"""Bytes of ustar's name and link fields."""
_TYPES = {FILE: b"0", HARD_LINK: b"1", SYMLINK: b"2", CHARACTER_DEVICE: b"3", BLOCK_DEVICE: b"4", FOLDER: b"5", FIFO: b"6"}
_DEVICES = frozenset((_TYPES[CHARACTER_DEVICE], _TYPES[BLOCK_DEVICE]))
_BINARY = b"hdrcharset", b"BINARY"
"""A record before names that are no text."""
_PAX_TYPE = b"x"
_MAGIC = b"ustar\x0000"
_OWNER_NAMES = 64
"""Bytes of two fields that stay empty: names mean something else on another system."""
_REST = bytes(BLOCK - 157 - _NAME - len(_MAGIC))
_PADDING = tuple(bytes(_NAME - n) for n in range(_NAME + 1))
_BLANK_CHECKSUM = 8 * 0x20
_PLAIN_TAILS = {
    type_: (tail, sum(tail) + _BLANK_CHECKSUM)
    for type_ in (*_TYPES.values(), _PAX_TYPE)
    for tail in (type_ + bytes(_NAME) + _MAGIC + _REST,)
}

_PLAIN_FILE_TAIL, _PLAIN_FILE_CHECKSUM = _PLAIN_TAILS[_TYPES[FILE]]


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


def stored_size(row: Row) -> int:
    """Bytes of a member behind its headers, without padding."""
    return sparse.stored_size(row.parts) if row.parts else row.size


def header(row: Row, below: bytes = b"") -> bytes:
    """Everything of a member that stands before its content; of a sparse file also the map of its data.

    Of `parts` only their lengths count, and which are holes: where they are need not be known yet. `below`: one of our own folders,
    for a member that is about the path and not the path itself.
    """
    name, link = below + stored_name(row.path), row.link
    if row.kind == FOLDER:
        name += b"/"
    elif row.kind == HARD_LINK:
        link = stored_name(link)
    type_, mtime = _TYPES[row.kind], row.mtime_ns // _NANOSECONDS
    if row.parts:
        return _sparse_header(row, name, mtime)
    records = _pax_records(row, name, link, row.size, mtime)
    if not records:
        return _ustar(name, type_, link, (row.mode, row.uid, row.gid, row.size, mtime), row.device)
    return _with_records(records, _ustar(name[:_NAME], type_, link[:_NAME], _fitting(row, row.size, mtime), row.device))


def plain_file(path: bytes, st: os.stat_result) -> bytes | None:
    """The header of a file without extended attributes or holes, as `header` would make it; None where that is not one block."""
    mtime = st.st_mtime_ns // _NANOSECONDS
    uid, gid, size = st.st_uid, st.st_gid, st.st_size
    if (
        len(path) > _NAME
        or path.startswith(RESERVED)
        or uid > _MAX_ID
        or gid > _MAX_ID
        or size > _MAX_NUMBER
        or not 0 <= mtime <= _MAX_NUMBER
    ):
        return None
    octal = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % (st.st_mode & 0o7777, uid, gid, size, mtime)
    return b"%b%b%b%06o\0 %b" % (path, _PADDING[len(path)], octal, _PLAIN_FILE_CHECKSUM + sum(path) + sum(octal), _PLAIN_FILE_TAIL)


def _sparse_header(row: Row, name: bytes, mtime: int) -> bytes:
    content = sparse.sparse_map(row.parts)
    size = len(content) + sparse.stored_size(row.parts)
    stand_in = pax.sparse_stand_in(name)[:_NAME]
    records = b"".join(pax.record(key, value) for key, value in pax.sparse(name, row.size))
    if not _is_text(name):
        records = pax.record(*_BINARY) + records
    # The name is in the records already: a stand-in of the same length asks for no other.
    records += _pax_records(row, stand_in, b"", size, mtime)
    return _with_records(records, _ustar(stand_in, _TYPES[FILE], b"", _fitting(row, size, mtime))) + content


def _with_records(records: bytes, ustar: bytes) -> bytes:
    pax_header = _ustar(b"././@PaxHeader", _PAX_TYPE, b"", (0o644, 0, 0, len(records), 0))
    return pax_header + records + bytes(padding(len(records))) + ustar


def _fitting(row: Row, size: int, mtime: int) -> tuple[int, int, int, int, int]:
    """The numbers of a header, 0 for those that are in its PAX records."""
    return (
        row.mode,
        row.uid if row.uid <= _MAX_ID else 0,
        row.gid if row.gid <= _MAX_ID else 0,
        size if size <= _MAX_NUMBER else 0,
        mtime if 0 <= mtime <= _MAX_NUMBER else 0,
    )


def _ustar(name: bytes, type_: bytes, link: bytes, numbers: tuple[int, int, int, int, int], device: tuple[int, int] = (0, 0)) -> bytes:
    """`numbers`: mode, uid, gid, size, mtime."""
    octal = b"%07o\0%07o\0%07o\0%011o\0%011o\0" % numbers
    if link:
        tail = type_ + link + _PADDING[len(link)] + _MAGIC + _REST
        checksum = sum(tail) + _BLANK_CHECKSUM
    elif type_ in _DEVICES:
        tail = type_ + bytes(_NAME) + _MAGIC + bytes(_OWNER_NAMES) + b"%07o\0%07o\0" % device + bytes(len(_REST) - _OWNER_NAMES - 16)
        checksum = sum(tail) + _BLANK_CHECKSUM
    else:
        tail, checksum = _PLAIN_TAILS[type_]
    return b"%b%b%b%06o\0 %b" % (name, _PADDING[len(name)], octal, checksum + sum(name) + sum(octal), tail)


def _pax_records(row: Row, name: bytes, link: bytes, size: int, mtime: int) -> bytes:
    """Records for what ustar cannot hold; most members need none."""
    if (
        len(name) <= _NAME
        and len(link) <= _NAME
        and not row.xattrs
        and row.uid <= _MAX_ID
        and row.gid <= _MAX_ID
        and size <= _MAX_NUMBER
        and 0 <= mtime <= _MAX_NUMBER
    ):
        return b""
    fields = []
    if not row.parts and not (_is_text(name) and _is_text(link)):
        fields.append(_BINARY)
    if len(name) > _NAME:
        fields.append((b"path", name))
    if len(link) > _NAME:
        fields.append((b"linkpath", link))
    numbers = (b"size", size, _MAX_NUMBER), (b"uid", row.uid, _MAX_ID), (b"gid", row.gid, _MAX_ID), (b"mtime", mtime, _MAX_NUMBER)
    fields += [(key, b"%d" % value) for key, value, most in numbers if not 0 <= value <= most]
    fields += pax.attributes(row.xattrs)
    return b"".join(pax.record(key, value) for key, value in fields)


def _is_text(name: bytes) -> bool:
    try:
        name.decode()
    except UnicodeDecodeError:
        return False
    return True
