"""The index of one archive: JSON lines, one for each member in archive order, with everything a restore has to know.

    {"format":"iot-backup-index","version":1}
    {"path":"a/b","kind":"f","size":3,"mtime_ns":...,"sha256":"...","offset":512, ...}      a member
    {"note":"unreadable","path":"c","reason":"Permission denied"}                            what a person should know of a path
    {"frames":{"first":0,"sizes":[[1234,4194304],...]}}                                      stored and plain bytes of each frame
    {"end":{"members":1,"notes":1,"frames":1,"tar_size":10240}}                              last: tells a cut index from a whole one

Names are bytes; in JSON they are text with Python's surrogateescape (a byte 0x80-0xff that is no UTF-8 is U+DC80-U+DCFF).
Unknown keys of a known version are ignored by readers, so that later releases may add facts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring_ascii
from typing import Final, NamedTuple

FORMAT: Final = "iot-backup-index"
VERSION: Final = 1

FILE: Final = "f"
FOLDER: Final = "d"
SYMLINK: Final = "l"
HARD_LINK: Final = "h"
FIFO: Final = "p"
KINDS: Final = frozenset((FILE, FOLDER, SYMLINK, HARD_LINK, FIFO))

WHOLE: Final = ""
CHANGED: Final = "changed"
"""The file changed while it was read, twice: its content may be of no single moment."""
DAMAGED: Final = "damaged"
"""The file could not be read to its end: zeros stand for the rest."""
SUPERSEDED: Final = "superseded"
"""The file changed while it was read; the next member is a second reading of it."""
STATES: Final = frozenset((WHOLE, CHANGED, DAMAGED, SUPERSEDED))

FRAMES_A_LINE: Final = 1000
"""Keeps lines short, however large the archive is."""
ROOT: Final = b"."
"""Path of the backed-up folder itself, the first member."""


class Row(NamedTuple):
    """One member of the archive."""

    path: bytes
    """Below the root, without a leading slash; `ROOT` for the root itself."""
    kind: str
    """One of KINDS."""
    size: int
    """Bytes of content in the archive; 0 for all but files."""
    mtime_ns: int
    ctime_ns: int
    inode: int
    mode: int
    """Permission bits with setuid, setgid, sticky; no type."""
    uid: int
    gid: int
    offset: int
    """Of the member's first header in the tar stream."""
    sha256: str = ""
    """Of the content in the archive, hex; files only."""
    link: bytes = b""
    """A symlink's target, or the path of the member that a hard link is another name of."""
    links: int = 1
    """Names the file had in its file system; hard links may refer to it only where it is more than 1."""
    state: str = WHOLE
    """One of STATES; files only."""


def first_line() -> bytes:
    return b'{"format":"%b","version":%d}\n' % (FORMAT.encode(), VERSION)


def member_line(row: Row) -> bytes:
    """A row as its line. Written by hand: it is on the path of every file, and json.dumps takes five times as long."""
    optional = ""
    if row.kind == FILE:
        optional = f',"sha256":"{row.sha256}"'
        if row.links > 1:
            optional += f',"links":{row.links}'
        if row.state:
            optional += f',"state":"{row.state}"'
    elif row.link:
        optional = f',"link":{_text(row.link)}'
    return (
        f'{{"path":{_text(row.path)},"kind":"{row.kind}","size":{row.size},"mtime_ns":{row.mtime_ns},"ctime_ns":{row.ctime_ns},'
        f'"inode":{row.inode},"mode":{row.mode},"uid":{row.uid},"gid":{row.gid},"offset":{row.offset}{optional}}}\n'
    ).encode("ascii")


def note_line(note: str, path: bytes, reason: str) -> bytes:
    return b'{"note":"%b","path":%b,"reason":%b}\n' % (note.encode(), _text(path).encode(), json.dumps(reason).encode())


def last_lines(frames: Iterable[tuple[int, int]], *, members: int, notes: int, tar_size: int) -> Iterator[bytes]:
    """The frame table, as (stored, plain) bytes of each frame in order, and the end."""
    first, sizes = 0, []
    for frame in frames:
        sizes.append(frame)
        if len(sizes) == FRAMES_A_LINE:
            yield _line({"frames": {"first": first, "sizes": sizes}})
            first, sizes = first + len(sizes), []
    if sizes:
        yield _line({"frames": {"first": first, "sizes": sizes}})
    yield _line({"end": {"members": members, "notes": notes, "frames": first + len(sizes), "tar_size": tar_size}})


def _line(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def _text(name: bytes) -> str:
    return encode_basestring_ascii(name.decode("utf-8", "surrogateescape"))
