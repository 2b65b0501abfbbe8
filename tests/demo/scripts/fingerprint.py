"""Prints a tree so that two equal prints mean two equal trees: a line an entry, sorted by name.

Kind, mode, owner, group, mtime in ns, size, SHA-256 of the content, target of a symlink, first name of a hard link. With
`content` as second argument only what stock tar keeps for somebody who is not root: kind, mode, whole seconds, content, links.
"""

import hashlib
import os
import stat
import sys


def lines(root: bytes, content_only: bool) -> list[str]:
    first_names: dict[int, bytes] = {}
    found = []
    for folder, folders, files in os.walk(root):
        folders.sort()
        for name in sorted([*folders, *files, b"."] if folder == root else [*folders, *files]):
            path = os.path.join(folder, name)
            found.append(line(path, os.path.relpath(path, root), first_names, content_only))
    return sorted(found)


def line(path: bytes, name: bytes, first_names: dict[int, bytes], content_only: bool) -> str:
    st = os.lstat(path)
    parts = [repr(name), stat.filemode(st.st_mode)]
    if not content_only:
        # The volume's own folder is the cluster's: it belongs to root, and only its owner may set its time.
        parts += [f"{st.st_uid}:{st.st_gid}", "-" if name == b"." else str(st.st_mtime_ns)]
    if stat.S_ISLNK(st.st_mode):
        parts.append(f"-> {os.readlink(path)!r}")
    elif stat.S_ISREG(st.st_mode):
        with open(path, "rb") as file:
            parts += [str(st.st_size), hashlib.file_digest(file, "sha256").hexdigest(), str(st.st_mtime_ns // 10**9)]
        if st.st_nlink > 1:
            parts.append(f"= {first_names.setdefault(st.st_ino, name)!r}")
    return " ".join(parts)


if __name__ == "__main__":
    print("\n".join(lines(os.fsencode(sys.argv[1]), sys.argv[2:] == ["content"])))
