"""POSIX ACLs as Linux keeps them in extended attributes, and as text, which is how tar carries them.

u32 version 2, then for each entry: u16 tag, u16 permissions, u32 id (of a user or group; else all ones)
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

ACCESS = b"system.posix_acl_access"
DEFAULT = b"system.posix_acl_default"
"""What is made in a folder begins with this one."""

_VERSION = 2
_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_GROUP_OBJECT, _MASK = 0x04, 0x10
_NAMES = {0x01: b"user", 0x02: b"user", _GROUP_OBJECT: b"group", 0x08: b"group", _MASK: b"mask", 0x20: b"other"}
_WITH_ID = frozenset((0x02, 0x08))
_LETTERS = tuple(bytes((r, w, x)) for r in b"-r" for w in b"-w" for x in b"-x")


def text(value: bytes) -> bytes:
    """The entries, one a line, ids as numbers: `user::rw-`, `user:1000:r--`, ... b"" for what is no ACL of this version."""
    lines = []
    for tag, permissions, number in _entries(value):
        if tag not in _NAMES or permissions > 7:
            return b""
        lines.append(b"%b:%b:%b\n" % (_NAMES[tag], b"%d" % number if tag in _WITH_ID else b"", _LETTERS[permissions]))
    return b"".join(lines)


def group_permissions(value: bytes) -> int:
    """What the owning group may do, 0 to 7. In a mode these bits are the ACL's mask, which may allow more."""
    found = {tag: permissions for tag, permissions, _ in _entries(value)}
    return found.get(_GROUP_OBJECT, 0) & found.get(_MASK, 7) & 7


def _entries(value: bytes) -> Iterator[tuple[int, int, int]]:
    """Tag, permissions, id; none for what is no ACL of this version."""
    if len(value) % _ENTRY.size == _HEADER.size and _HEADER.unpack_from(value)[0] == _VERSION:
        yield from _ENTRY.iter_unpack(value[_HEADER.size :])
