"""What a person should know of single paths: counted, with a few examples; the index has all of them."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from dataclasses import dataclass, field

SKIPPED = "skipped"
"""Left out on purpose: a socket, an empty lost+found, what is mounted in a source of one file system."""
VANISHED = "vanished"
"""Was there when its folder was listed, and gone when it should be read."""
CHANGED = "changed"
"""Changed while it was read, twice; stored as it was read."""
UNREADABLE = "unreadable"
"""Could not be opened or listed; its content is not in the archive."""
DAMAGED = "damaged"
"""Could not be read to its end; zeros stand for the rest."""
INCOMPLETE = "incomplete"
"""Is in the archive with its content, but not with all its extended attributes: they could not be read."""
NOTES = (SKIPPED, VANISHED, CHANGED, UNREADABLE, DAMAGED, INCOMPLETE)

_EXAMPLES = 3


@dataclass
class Noted:
    """All notes of one kind."""

    count: int = 0
    examples: list[str] = field(default_factory=list)
    """The first few, as `path: reason`."""


class Notes:
    """Collects notes in constant memory and hands each on to the index."""

    def __init__(self, forward: Callable[[str, bytes, str], None]) -> None:
        """`forward(note, path, reason)` is called for each."""
        self._forward = forward
        self.noted = {note: Noted() for note in NOTES}

    def add(self, note: str, path: bytes, reason: str) -> None:
        entry = self.noted[note]
        entry.count += 1
        if len(entry.examples) < _EXAMPLES:
            entry.examples.append(f"{printable(path)}: {reason}")
        self._forward(note, path, reason)

    def refused(self, path: bytes, error: OSError) -> None:
        """Note a path that a call failed on: gone, or unreadable. A stale handle is no proof that the file is gone: its server may be."""
        if error.errno == errno.ENOENT:
            self.add(VANISHED, path, "gone when it should be read")
        else:
            self.add(UNREADABLE, path, error.strerror or type(error).__name__)


def printable(path: bytes) -> str:
    """A path for messages: what is no printable text is escaped."""
    text = os.fsdecode(path)
    return text if text.isprintable() else ascii(text)[1:-1]
