"""Whether two trees are the same: names, kinds, modes, owners, times of files, links' targets, contents.

    python -m tests.bench.comparing ONE OTHER

prints what is not, and ends with 1 then: a process of its own, since it holds both trees' names.
"""

from __future__ import annotations

import filecmp
import os
import stat
import sys
from pathlib import Path


def differences(one: Path, other: Path) -> list[str]:
    """What is not the same, as paths below both with what differs."""
    left, right = _facts(one), _facts(other)
    found = [
        f"{path}: {left.get(path)} and {right.get(path)}"
        for path in sorted(left.keys() | right.keys())
        if left.get(path) != right.get(path)
    ]
    files = [path for path, facts in left.items() if facts[0] == stat.S_IFREG and right.get(path) == facts]
    return found + [f"{path}: content" for path in files if not filecmp.cmp(one / path, other / path, shallow=False)]


def _facts(root: Path) -> dict[str, tuple[int, int, int, int, object]]:
    facts: dict[str, tuple[int, int, int, int, object]] = {}
    for folder, folders, files in os.walk(root):
        for name in (*folders, *files):
            path = Path(folder, name)
            st = path.lstat()
            kind = stat.S_IFMT(st.st_mode)
            last: object = os.readlink(path) if kind == stat.S_IFLNK else (st.st_size, int(st.st_mtime)) if kind == stat.S_IFREG else None
            facts[str(path.relative_to(root))] = kind, stat.S_IMODE(st.st_mode), st.st_uid, st.st_gid, last
    return facts


if __name__ == "__main__":
    found = differences(Path(sys.argv[1]), Path(sys.argv[2]))
    print("\n".join(found[:5]))
    sys.exit(1 if found else 0)
