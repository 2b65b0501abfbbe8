"""PAX records: what ustar cannot hold of a member."""

from __future__ import annotations

from collections.abc import Iterator

from iot_backup.worker import acl
from iot_backup.worker.xattrs import Xattrs

Field = tuple[bytes, bytes]

_ACLS = {acl.ACCESS: b"SCHILY.acl.access", acl.DEFAULT: b"SCHILY.acl.default"}


def record(key: bytes, value: bytes) -> bytes:
    """`<length> key=value\\n`, where the length counts its own digits."""
    rest = len(key) + len(value) + 3
    length = rest + len(str(rest))
    length = rest + len(str(length))
    return b"%d %b=%b\n" % (length, key, value)


def attributes(xattrs: Xattrs) -> Iterator[Field]:
    """Extended attributes as star named them, and ACLs besides in text, since GNU tar takes them from there only."""
    for name, value in xattrs:
        if name in _ACLS and (text := acl.text(value)):
            yield _ACLS[name], text
        # A key ends at the first `=`; GNU tar writes and reads them so.
        yield b"SCHILY.xattr." + name.replace(b"%", b"%25").replace(b"=", b"%3D"), value


def sparse(name: bytes, size: int) -> list[Field]:
    """GNU.sparse 1.0. `size`: of the whole file."""
    return [
        (b"GNU.sparse.major", b"1"),
        (b"GNU.sparse.minor", b"0"),
        (b"GNU.sparse.name", name),
        (b"GNU.sparse.realsize", b"%d" % size),
    ]


def sparse_stand_in(name: bytes) -> bytes:
    """What a sparse member is called for readers that do not know the format, so that none takes the data for the file."""
    folder, slash, last = name.rpartition(b"/")
    return folder + slash + b"GNUSparseFile.0/" + last
