"""Lines of gitignore's syntax as git itself reads them, by its documentation and its wildmatch.c.

Each line is asked about one path by itself: what a folder above has to do with it is the caller's matter, as it is git's, which does not
enter a folder that is left out. Names are bytes to git, so `?` and a class stand for one byte. Libraries that match a path together with
its folders, or in which a class takes a slash, leave out what git keeps: `*`, `!*/`, `!*.csv` is the plainest case.
"""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

_CLASSES = {
    "alnum": "0-9A-Za-z",
    "alpha": "A-Za-z",
    "blank": " \\t",
    "cntrl": "\\x00-\\x1f\\x7f",
    "digit": "0-9",
    "graph": "!-~",
    "lower": "a-z",
    "print": " -~",
    "punct": "!-/:-@\\[-`{-~",
    "space": " \\t\\n\\r\\f\\v",
    "upper": "A-Z",
    "xdigit": "0-9A-Fa-f",
}


class Line(NamedTuple):
    """One pattern."""

    negated: bool
    folders_only: bool
    paths: re.Pattern[bytes]
    """Of whole ones."""


def parsed(line: str) -> Line | None:
    """None for a comment and an empty line. ValueError, in words, for what can match nothing."""
    text = _without_trailing_spaces(os.fsencode(line).decode("latin-1"))
    if not text or text.startswith("#"):
        return None
    negated = text.startswith("!")
    text = text.removeprefix("!")
    folders_only = text.endswith("/")
    text = text.removesuffix("/")
    if not text:
        raise ValueError("it names nothing")
    anchored = "/" in text
    pattern = _Pattern(text.removeprefix("/"), anchored).regex()
    return Line(negated, folders_only, re.compile((pattern if anchored else f"(?:.*/)?{pattern}").encode("latin-1"), re.DOTALL))


def decided(lines: Sequence[Line], path: bytes, is_folder: bool) -> bool | None:
    """What the last line that matches this very path says: True, False for one with `!`; None if none matches."""
    for line in reversed(lines):
        if (is_folder or not line.folders_only) and line.paths.fullmatch(path):
            return not line.negated
    return None


def _without_trailing_spaces(text: str) -> str:
    """One that is escaped stays."""
    stripped = text.rstrip(" ")
    backslashes = len(stripped) - len(stripped.rstrip("\\"))
    return stripped + " " if backslashes % 2 and len(stripped) < len(text) else stripped


@dataclass
class _Pattern:
    """A pattern on its way to a regular expression, which is fullmatched; bytes as the first 256 characters."""

    text: str
    anchored: bool
    at: int = 0

    def regex(self) -> str:
        found = ""
        while self.at < len(self.text):
            letter = self.text[self.at]
            if letter == "*":
                found += self._stars()
                continue
            self.at += 1
            if letter == "?":
                found += "[^/]"
            elif letter == "[":
                found += self._class()
            else:
                found += re.escape(self._escaped() if letter == "\\" else letter)
        return found

    def _stars(self) -> str:
        """`**` between slashes is any number of folders; anywhere else stars stay within one name."""
        begin = self.at
        while self.text.startswith("*", self.at):
            self.at += 1
        ends = self.at == len(self.text)
        alone = (begin == 0 or self.text[begin - 1] == "/") and (ends or self.text[self.at] == "/")
        if self.at - begin < 2 or not alone or not self.anchored:
            return "[^/]*"
        if ends:
            return ".*"
        self.at += 1
        return "(?:.*/)?"

    def _class(self) -> str:
        """Of one character, which is never a slash."""
        negated = self.text[self.at : self.at + 1] in ("!", "^")
        self.at += negated
        items = self._item()  # a `]` here is one of the characters
        while not self.text.startswith("]", self.at):
            items += self._item()
        self.at += 1
        return f"(?!/)[{'^' if negated else ''}{items}]"

    def _item(self) -> str:
        """A character, a range, or a named class."""
        if self.text.startswith("[:", self.at) and (end := self.text.find(":]", self.at + 2)) > 0:
            name = self.text[self.at + 2 : end]
            if name not in _CLASSES:
                raise ValueError(f"there is no class [:{name}:]")
            self.at = end + 2
            return _CLASSES[name]
        low = self._letter()
        if not self.text.startswith("-", self.at) or self.text[self.at + 1 : self.at + 2] in ("", "]"):
            return re.escape(low)
        self.at += 1
        high = self._letter()
        if high < low:
            raise ValueError(f"nothing lies between {low} and {high}")
        return f"{re.escape(low)}-{re.escape(high)}"

    def _letter(self) -> str:
        if self.at == len(self.text):
            raise ValueError("it has a [ without its ]")
        letter = self.text[self.at]
        self.at += 1
        return self._escaped() if letter == "\\" else letter

    def _escaped(self) -> str:
        if self.at == len(self.text):
            raise ValueError("it ends with a backslash")
        self.at += 1
        return self.text[self.at - 1]
