"""The index of one backup: JSON lines, one for each path of the tree in the order of the walk, with everything a restore has to know.

    {"format":"iot-backup-index","version":1,"archives":["<id>",...]}                        whose archives the rows refer to, this backup's last
    {"path":"a/b","kind":"f","size":3,"mtime_ns":...,"archive":0,"offset":512, ...}         a path
    {"note":"unreadable","path":"c","reason":"Permission denied"}                            what a person should know of a path
    {"end":{"members":1,"notes":1,"tar_size":10240}}                                         last: tells a cut index from a whole one

It describes the whole tree, also in an incremental backup: a restore needs one index, and of the archives what the rows point at.
Along the rows the offsets in each archive only grow. Each row begins with what stat() gives, in one fixed form, so that an
unchanged file is told by comparing bytes. docs/format.md is the specification.

Names are bytes; in JSON they are text with Python's surrogateescape (a byte 0x80-0xff that is no UTF-8 is U+DC80-U+DCFF).
Unknown keys of a known version are ignored by readers, so that later releases may add facts.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections.abc import Sequence
from json.encoder import encode_basestring_ascii
from typing import Final, NamedTuple

FORMAT: Final = "iot-backup-index"
VERSION: Final = 1

FILE: Final = "f"
FOLDER: Final = "d"
SYMLINK: Final = "l"
HARD_LINK: Final = "h"
FIFO: Final = "p"
CHARACTER_DEVICE: Final = "c"
BLOCK_DEVICE: Final = "b"
DEVICES: Final = frozenset((CHARACTER_DEVICE, BLOCK_DEVICE))
KINDS: Final = frozenset((FILE, FOLDER, SYMLINK, HARD_LINK, FIFO, *DEVICES))

WHOLE: Final = ""
CHANGED: Final = "changed"
"""The file changed while it was read, twice: its content may be of no single moment."""
DAMAGED: Final = "damaged"
"""The file could not be read to its end: zeros stand for the rest."""
SUPERSEDED: Final = "superseded"
"""The file changed while it was read; the next member is a second reading of it."""
STATES: Final = frozenset((WHOLE, CHANGED, DAMAGED, SUPERSEDED))

HOLE: Final = -1
"""In place of an archive's number: zeros that are nowhere stored."""
ROOT: Final = b"."
"""Path of the backed-up folder itself, the first member."""


BLOCKS_BEGIN: Final = b'{"blocks":{"size":'
END_BEGIN: Final = b'{"end":'


class Part(NamedTuple):
    """A run of a file's bytes, and where it is."""

    archive: int
    """Number in `archives`, or HOLE."""
    position: int
    """In that archive's tar stream; 0 for a hole."""
    length: int
    """Bytes."""


class Row(NamedTuple):
    """One path of the tree."""

    path: bytes
    """Below the root, without a leading slash; `ROOT` for the root itself."""
    kind: str
    """One of KINDS."""
    size: int
    """Bytes of content; 0 for all but files."""
    mtime_ns: int
    ctime_ns: int
    inode: int
    mode: int
    """Permission bits with setuid, setgid, sticky; no type."""
    uid: int
    gid: int
    archive: int
    """Number in `archives` of the one that holds the member."""
    offset: int
    """Of the member's first header in that archive's tar stream."""
    sha256: str = ""
    """Of the content, holes as zeros, hex; files only."""
    link: bytes = b""
    """A symlink's target, or the path of the member that a hard link is another name of."""
    links: int = 1
    """Names the file had in its file system; hard links may refer to it only where it is more than 1."""
    state: str = WHOLE
    """One of STATES; files only."""
    head: int = 0
    """Bytes of the member's headers where they are not those that this row makes: its attributes changed since, its content did not."""
    xattrs: tuple[tuple[bytes, bytes], ...] = ()
    """Extended attributes by name, sorted: ACLs and capabilities are among them."""
    device: tuple[int, int] = (0, 0)
    """Major and minor number; devices only."""
    parts: tuple[Part, ...] = ()
    """The content from its beginning to its end, where it is not in one piece behind the headers: holes, and blocks of older archives."""

    @property
    def data_size(self) -> int:
        """Bytes of content that are not holes."""
        return self.size if not self.parts else sum(part.length for part in self.parts if part.archive != HOLE)


_NUMBERS = '"size":%d,"mtime_ns":%d,"ctime_ns":%d,"inode":%d,"mode":%d,"uid":%d,"gid":%d,'


def first_line(archives: Sequence[str], snapshot_time_ns: int | None = None) -> bytes:
    """`archives`: ids of the backups whose archives the rows refer to, in the order of the chain, this one's last.

    `snapshot_time_ns`: of a state, when the walk began, on the clock that stamps the files.
    """
    line: dict[str, object] = {"format": FORMAT, "version": VERSION, "archives": list(archives)}
    return _line(line if snapshot_time_ns is None else {**line, "snapshot_time_ns": snapshot_time_ns})


def stat_text(path: bytes, kind: str, numbers: tuple[int, int, int, int, int, int, int]) -> str:
    """How a row of this path begins. `numbers`: size, mtime_ns, ctime_ns, inode, mode, uid, gid.

    Written by hand: it is on the path of every file, and json.dumps takes five times as long.
    """
    return f'{{"path":{_text(path)},"kind":"{kind}",' + _NUMBERS % numbers


def member_line(row: Row) -> bytes:
    """A row as its line."""
    optional = ""
    if row.kind == FILE:
        optional = f',"sha256":"{row.sha256}"'
        if row.links > 1:
            optional += f',"links":{row.links}'
        if row.state:
            optional += f',"state":"{row.state}"'
        if row.head:
            optional += f',"head":{row.head}'
        if row.parts:
            optional += ',"parts":' + json.dumps(row.parts, separators=(",", ":"))
    elif row.link:
        optional = f',"link":{_text(row.link)}'
    elif row.kind in DEVICES:
        optional = f',"device":[{row.device[0]},{row.device[1]}]'
    if row.xattrs:
        optional += ',"xattrs":{' + ",".join(f'{_text(name)}:"{b64encode(value).decode()}"' for name, value in row.xattrs) + "}"
    return f'{stat_text(row.path, row.kind, row[2:9])}"archive":{row.archive},"offset":{row.offset}{optional}}}\n'.encode("ascii")


def small_file_line(path: bytes, st: os.stat_result, archive: int, offset: int, sha256: str) -> bytes:
    """The line of a file of which there is nothing special to say, as `member_line` makes it of its row."""
    text = encode_basestring_ascii(path.decode("utf-8", "surrogateescape"))
    return (
        f'{{"path":{text},"kind":"{FILE}","size":{st.st_size},"mtime_ns":{st.st_mtime_ns},"ctime_ns":{st.st_ctime_ns},"inode":{st.st_ino},'
        f'"mode":{st.st_mode & 0o7777},"uid":{st.st_uid},"gid":{st.st_gid},"archive":{archive},"offset":{offset},"sha256":"{sha256}"}}\n'
    ).encode("ascii")


def unsure_line(path: bytes, kind: str) -> bytes:
    """Of a state, in place of a row that the next backup must not go by: the path is in this backup, and no more is said of it."""
    return f'{{"path":{_text(path)},"kind":"{kind}"}}\n'.encode("ascii")


def blocks_line(size: int, digests: bytes) -> bytes:
    """Of a state, behind a large file's row. `size`: bytes of a block; `digests`: of each block, one behind the other."""
    return b'%b%d,"tags":"%b"}}\n' % (BLOCKS_BEGIN, size, b64encode(digests))


def note_line(note: str, path: bytes, reason: str) -> bytes:
    return b'{"note":"%b","path":%b,"reason":%b}\n' % (note.encode(), _text(path).encode(), json.dumps(reason).encode())


def last_line(*, members: int, notes: int, tar_size: int) -> bytes:
    """The end. `tar_size`: bytes of this backup's own tar stream."""
    return _line({"end": {"members": members, "notes": notes, "tar_size": tar_size}})


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _text(name: bytes) -> str:
    return encode_basestring_ascii(name.decode("utf-8", "surrogateescape"))
