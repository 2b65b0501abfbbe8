"""What may be a key: checked by every store before it touches anything."""

from __future__ import annotations

from iot_backup.errors import Internal


def parts(key: str) -> tuple[str, ...]:
    """The key's components, folders first. Raises Internal for a key that `core/layout.py` could not have built."""
    found = tuple(key.split("/"))
    if not all(map(_plain, found)):
        raise Internal(f"object key {key!r} is not a relative path of plain names; this is a defect, please report it")
    return found


def folder(prefix: str) -> tuple[tuple[str, ...], str]:
    """The folders a listing by `prefix` stays in, and the same as text: "" or with a slash at the end."""
    above, slash, _ = prefix.rpartition("/")
    return (parts(above), above + slash) if slash else ((), "")


def _plain(name: str) -> bool:
    """Names that begin with a dot are a store's own: files that are not finished, and `.` and `..`."""
    return bool(name) and not name.startswith(".") and name.isprintable() and "\\" not in name
