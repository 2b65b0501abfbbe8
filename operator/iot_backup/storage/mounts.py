"""What is mounted where in this process's sight: /proc/self/mountinfo."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import NamedTuple

_FILE = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(r"\\([0-7]{3})")


class Mount(NamedTuple):
    """One line of it."""

    point: Path
    kind: str
    """Of the file system, such as ext4 or nfs4."""


def mounted() -> list[Mount]:
    """In the order they were mounted. OSError."""
    return parsed(os.fsdecode(_FILE.read_bytes()))


def parsed(mountinfo: str) -> list[Mount]:
    """Names may be of any bytes; blanks and backslashes in them are escaped, and nothing else."""
    found = []
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        point = _ESCAPED.sub(lambda match: chr(int(match[1], 8)), fields.split(" ")[4])
        found.append(Mount(Path(point), rest.split(" ")[0]))
    return found
