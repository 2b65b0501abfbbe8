"""The short way into the archive, for what most trees are made of: small files with one name, no extended attributes, and nothing known of them.

Byte for byte what `regular.RegularFiles` would write of them; whatever is not as usual is left to that. A file takes a third less time here,
and where there are a hundred thousand of them, time is all in this function.
"""

from __future__ import annotations

import hashlib
import os
from time import perf_counter

from iot_backup.worker import tar
from iot_backup.worker.contents import Files
from iot_backup.worker.frames import Frames
from iot_backup.worker.index import small_file_line
from iot_backup.worker.prefetch import Prefetch
from iot_backup.worker.rows import Rows
from iot_backup.worker.sparse import SPARSE_FROM
from iot_backup.worker.walk import Found
from iot_backup.worker.xattrs import XattrReader

_ZEROS = bytes(tar.BLOCK)


class SmallFiles:
    """Appends one file at a time to the archive's frame, or does not touch it."""

    def __init__(self, archive: Frames, rows: Rows, files: Files, xattrs: XattrReader, number: int, prefetch: Prefetch) -> None:
        """`number`: of the archive in the index. `prefetch` is told how long reading takes."""
        self._archive, self._rows, self._files, self._xattrs, self._number = archive, rows, files, xattrs, number
        self._prefetch = prefetch
        self._most = min(SPARSE_FROM, archive.size // 2)

    def add(self, found: Found) -> bool:
        """Whether the file is in the backup now; if not, nothing of it is, and nothing was noted."""
        st, archive = found.stat, self._archive
        size = st.st_size
        if not 0 < size < self._most or st.st_nlink != 1:
            return False
        head = tar.plain_file(found.path, st)
        if head is None:
            return False
        padding = -size % tar.BLOCK
        if archive.pos + tar.BLOCK + size + padding > archive.size:
            archive.flush()
        content = archive.pos + tar.BLOCK
        end = content + size
        view = archive.view
        target = view[content:end]
        begin = perf_counter()
        if not self._read(found, target, size):
            return False
        self._prefetch.took(perf_counter() - begin)
        sha256 = hashlib.sha256(target).hexdigest()
        line = small_file_line(found.path, st, self._number, archive.written, sha256)
        view[archive.pos : content] = head
        view[end : end + padding] = _ZEROS[:padding]
        archive.pos = end + padding
        self._rows.copy(line, b"")
        return True

    def _read(self, found: Found, target: memoryview, size: int) -> bool:
        """Whether one read gave the whole file, which was as promised before and after it, and has nothing beside its content."""
        files, promised = self._files, found.stat
        try:
            descriptor = files.open(found.name, found.folder)
        except OSError:
            return False
        try:
            if self._xattrs.read(descriptor, promised.st_dev) != ((), "") or files.read(descriptor, target) != size:
                return False
            st = os.fstat(descriptor)
        except OSError:
            return False
        finally:
            os.close(descriptor)
        return (
            st.st_mtime_ns == promised.st_mtime_ns
            and st.st_ctime_ns == promised.st_ctime_ns
            and st.st_size == size
            and st.st_ino == promised.st_ino
        )
