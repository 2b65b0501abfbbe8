"""Files with several names: under which the target has them, and links to those.

A target can hold several file systems, and no link leads from one to another: then a file has its content once in each.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from dataclasses import dataclass, field

from iot_backup.errors import CorruptData
from iot_backup.worker.index import Row
from iot_backup.worker.target import Target

_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.EACCES, errno.EOPNOTSUPP, errno.ENOENT, errno.ENOTDIR, errno.ELOOP)
"""The file can have no name here: in another file system, or too many already; a protected link; its folder closed to us by now, or gone."""
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PIECE = 1 << 20


@dataclass
class Linked:
    """A file with several names."""

    row: Row
    """Of its first name."""
    left: int
    """Names still to come, at most."""
    places: dict[int, bytes] = field(default_factory=dict)
    """By file system (st_dev), where its content is: the last place, as links to that may be possible where they are not to an earlier one."""
    stayed: bool = False
    """What was there under the first name stayed; whether that is this very file was not looked at so far."""

    def put(self, folder: int, path: bytes) -> None:
        """Its content was written to the path, which is in the folder of this descriptor."""
        self.places[os.fstat(folder).st_dev] = path


class HardLinks:
    """Of one restore. A folder is given by its descriptor."""

    def __init__(self, target: Target) -> None:
        self._target = target
        self._files: dict[bytes, Linked] = {}

    def written(self, folder: int, row: Row) -> None:
        """The first name of a file was written."""
        if row.links > 1:
            self._files[row.path] = Linked(row, row.links - 1)
            self._files[row.path].put(folder, row.path)

    def stayed(self, row: Row) -> None:
        """What the target has under the first name of a file stayed."""
        if row.links > 1:
            self._files[row.path] = Linked(row, row.links - 1, stayed=True)

    def of(self, row: Row) -> Linked:
        """The file that this hard link is one more name of. CorruptData if there is none, or if it has all its names."""
        linked = self._files.get(row.link)
        if linked is None or not linked.left:
            raise CorruptData(f"the index makes {row.path!r} a hard link to {row.link!r}, which is no file of this backup: it was changed")
        linked.left -= 1
        return linked

    def made(self, linked: Linked, folder: int, name: bytes) -> bool:
        """Make the name a link to what was written, or to what an interrupted restore had written. What has that name goes.

        False if there is nothing to link to, or no link can be made: then nothing was done. OSError.
        """
        if linked.stayed:
            linked.stayed = False
            device = self._found(linked.row)
            if device is not None:
                linked.places[device] = linked.row.path
        place = linked.places.get(os.fstat(folder).st_dev)
        if place is None or not self._linked(folder, place):
            return False
        try:
            self._target.place(folder, name)
        except BaseException:
            self._target.discard(folder)
            raise
        return True

    def _linked(self, folder: int, path: bytes) -> bool:
        parent, _, name = path.rpartition(b"/")
        try:
            above = self._target.named(parent)
            try:
                os.link(name, self._target.temporary, src_dir_fd=above, dst_dir_fd=folder, follow_symlinks=False)
            finally:
                os.close(above)
        except OSError as error:
            if error.errno not in _NO_LINK:
                raise
            return False
        return True

    def _found(self, row: Row) -> int | None:
        """The file system (st_dev) of what has the row's path, if it is the row's file: by size, time, and content, which is read."""
        parent, _, name = row.path.rpartition(b"/")
        try:
            above = self._target.named(parent)
            try:
                descriptor = os.open(name, _READ, dir_fd=above)
            finally:
                os.close(above)
        except OSError:
            return None
        try:
            found = os.fstat(descriptor)
            alike = stat.S_ISREG(found.st_mode) and (found.st_size, found.st_mtime_ns) == (row.size, row.mtime_ns)
            return found.st_dev if alike and _sha256(descriptor) == row.sha256 else None
        finally:
            os.close(descriptor)


def _sha256(descriptor: int) -> str:
    digest = hashlib.sha256()
    while piece := os.read(descriptor, _PIECE):
        digest.update(piece)
    return digest.hexdigest()
