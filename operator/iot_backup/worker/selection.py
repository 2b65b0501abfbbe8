"""Which paths a backup takes, or a restore brings back: patterns of gitignore's syntax, matched below the backed-up folder.

`exclude` works as in a .gitignore: the last line that matches decides, `!` brings back what an earlier one left out, but nothing
comes back from a folder that was left out. `include` reads the same lines the other way round: only what they match is taken, and
everything in a folder that they match, down to where a later line says otherwise; `!` takes out again. What is excluded is never included.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache

from iot_backup.errors import InvalidSpec
from iot_backup.worker import gitignore
from iot_backup.worker.gitignore import Line, decided
from iot_backup.worker.index import ROOT
from iot_backup.worker.notes import printable

_WILD = re.compile(r"[*?\[\\]")
_FOLDERS_REMEMBERED = 1024


class Selection:
    """Two lists of patterns, compiled. Paths are bytes relative to the backed-up folder, as in the index; its root is always taken."""

    def __init__(self, include: Sequence[str] = (), exclude: Sequence[str] = ()) -> None:
        """Raises InvalidSpec for a line that is no pattern."""
        self._include = _compiled(include, "include") if include else None
        self._exclude = _compiled(exclude, "exclude") if exclude else None
        self._beginnings = tuple(_beginning(line) for line in include if line.strip() and line[0] not in "!#")
        self._excluded_folder: Callable[[bytes], bool] = lru_cache(_FOLDERS_REMEMBERED)(self._in_excluded)
        self._included_folder: Callable[[bytes], bool] = lru_cache(_FOLDERS_REMEMBERED)(self._in_included)

    def __bool__(self) -> bool:
        """Whether there are patterns: without any, everything is taken and nothing needs to be asked."""
        return self._include is not None or self._exclude is not None

    def selects(self, path: bytes, is_folder: bool) -> bool:
        """Whether this path is meant, in any order of asking. The folders above it may not be: they only hold it."""
        if path == ROOT:
            return True
        return self.includes(path, is_folder) and not (self._excluded_folder(_parent(path)) or self.excludes(path, is_folder))

    def excludes(self, path: bytes, is_folder: bool) -> bool:
        """Whether this very path is left out. All below an excluded folder is, too: who walks down does not enter it."""
        return self._exclude is not None and decided(self._exclude, path, is_folder) is True

    def includes(self, path: bytes, is_folder: bool) -> bool:
        """Whether it is among what shall be taken, if it is not excluded."""
        if self._include is None:
            return True
        own = decided(self._include, path, is_folder)
        return self._included_folder(_parent(path)) if own is None else own

    def may_hold(self, folder: bytes) -> bool:
        """Whether something below this folder may be included: False saves a walk through it."""
        names = folder.split(b"/")
        return self._include is None or any(all(map(bytes.__eq__, names, beginning)) for beginning in self._beginnings)

    def _in_excluded(self, folder: bytes) -> bool:
        """Whether the folder, or one above it, is excluded; b"" is the root."""
        names = folder.split(b"/") if folder else []
        return any(self.excludes(b"/".join(names[: depth + 1]), True) for depth in range(len(names)))

    def _in_included(self, folder: bytes) -> bool:
        """Whether what is in the folder is included, if no line says otherwise: as its nearest folder of which a line says something."""
        while folder:
            own = decided(self._include or (), folder, True)
            if own is not None:
                return own
            folder = _parent(folder)
        return False


EVERYTHING = Selection()


def _parent(path: bytes) -> bytes:
    return path.rpartition(b"/")[0]


def _compiled(lines: Sequence[str], what: str) -> tuple[Line, ...]:
    found = []
    for line in lines:
        if "\n" in line:
            raise InvalidSpec(f"{what} holds {line!r} as one line: write one pattern an entry")
        try:
            found.append(gitignore.parsed(line))
        except ValueError as error:
            raise InvalidSpec(f"{what} holds the line {line!r}, which is no pattern of gitignore's syntax: {error}") from error
    return tuple(line for line in found if line is not None)


def _beginning(line: str) -> tuple[bytes, ...]:
    """The folders' names that a matching path begins with, as far as the line says them in so many words."""
    parts = line.rstrip().rstrip("/").split("/")
    if len(parts) == 1 or line[0].isspace():  # the first matches at any depth; what the second means is not worth knowing
        return ()
    if not parts[0]:
        del parts[0]
    plain = []
    for part in parts:
        if _WILD.search(part):
            break
        plain.append(os.fsencode(part))
    return tuple(plain)


def described(include: Sequence[str], exclude: Sequence[str]) -> str:
    """The patterns in a message for people."""
    said = [f"{what} {', '.join(map(repr, lines))}" for what, lines in (("include", include), ("exclude", exclude)) if lines]
    return printable(" and ".join(said).encode())[:500]
