"""The folder a restore writes to: every step is relative to a held descriptor, and no link in it is ever followed."""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import stat
from contextlib import suppress

from iot_backup.errors import AccessDenied, IotBackupError, SourceUnavailable, TargetFull
from iot_backup.worker.notes import printable
from iot_backup.worker.removing import making_way, mount_of, remove
from iot_backup.worker.spared import Folders, is_one_of
from iot_backup.worker.walk import LISTED

_TEMPORARY = ".iot-backup-restore-{}.partial"
_LEFT_OVER = re.compile(r"\.iot-backup-restore-[0-9a-f]{16}\.partial")
_NOT_A_FOLDER = (errno.ENOTDIR, errno.ELOOP)
UNFINISHED = 0o1700
"""Mode of a folder that a restore made, until the restore leaves it. Nobody else gives it: the sticky bit is for folders that others write to."""
_PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC


class Target:
    """Opens and makes folders, puts finished paths in their place, and flushes it all at the end."""

    def __init__(self, root: int, spared: Folders = frozenset()) -> None:
        """`root`: descriptor of a folder, which stays the caller's. `spared`: folders that never make way."""
        self.root = root
        self.mount = mount_of(root)
        self.made_way = 0
        """Paths that went with the folders they were in, by `place`."""
        self._spared = spared
        self.temporary = _TEMPORARY.format(secrets.token_hex(8)).encode()
        """The one name under which anything is made before it takes its place."""
        self._file_systems = {os.fstat(root).st_dev: os.dup(root)}
        self._libc = ctypes.CDLL(None, use_errno=True)

    def enter(self, folder: int, name: bytes) -> tuple[int, bool]:
        """A descriptor of the folder `name`, and whether it was made; anything else of that name goes."""
        try:
            os.mkdir(name, UNFINISHED, dir_fd=folder)
        except FileExistsError:
            return self._enter_existing(folder, name)
        return os.open(name, LISTED, dir_fd=folder), True

    def enter_existing(self, folder: int, name: bytes) -> int | None:
        """A descriptor of the folder `name`; None if there is none, or something else has that name."""
        try:
            inner = entered(folder, name)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno not in _NOT_A_FOLDER:
                raise
            return None
        return self._prepared(inner)

    def prepare(self, folder: int) -> None:
        """Make a folder that was there before writable for us, and remove what an interrupted restore left in it."""
        found = os.fstat(folder)
        if found.st_dev not in self._file_systems:
            self._file_systems[found.st_dev] = os.dup(folder)
        if found.st_mode & 0o700 != 0o700 and found.st_uid == os.geteuid():
            os.fchmod(folder, stat.S_IMODE(found.st_mode) | 0o700)
        with os.scandir(folder) as entries:
            left_over = [e.name for e in entries if _LEFT_OVER.fullmatch(e.name) and not e.is_dir(follow_symlinks=False)]
        for name in left_over:
            os.unlink(name, dir_fd=folder)

    def place(self, folder: int, name: bytes) -> None:
        """Move the temporary path to its name; a folder of that name goes, with all that is in it.

        Refused before anything in it goes: InvalidSpec for one that is, or holds, a spared folder; SourceUnavailable for mount points.
        """
        try:
            os.rename(self.temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
        except IsADirectoryError:
            paths = making_way(folder, name, self._spared, acts=True)
            remove(folder, name)
            self.made_way += paths
            os.rename(self.temporary, name, src_dir_fd=folder, dst_dir_fd=folder)

    def discard(self, folder: int) -> None:
        """Remove the temporary path, if there is one."""
        with suppress(FileNotFoundError):
            os.unlink(self.temporary, dir_fd=folder)

    def named(self, path: bytes) -> int:
        """A new descriptor that only names the folder `path` below the root; b"" is the root. OSError, also where it is not there.

        What is in a folder that cannot be listed has names all the same.
        """
        current = os.dup(self.root)
        for name in path.split(b"/") if path else ():
            try:
                inner = os.open(name, _PATH_ONLY, dir_fd=current)
            finally:
                os.close(current)
            current = inner
        return current

    def find(self, path: bytes) -> int | None:
        """A new descriptor of the folder, which lists it; None if there is no such folder, or we may not enter it, or it lies in a spared one."""
        current = os.dup(self.root)
        try:
            for name in path.split(b"/") if path else ():
                inner = os.open(name, LISTED, dir_fd=current)
                os.close(current)
                current = inner
                if is_one_of(os.fstat(current), self._spared):
                    os.close(current)
                    return None
        except OSError as error:
            os.close(current)
            if error.errno not in (*_NOT_A_FOLDER, errno.ENOENT, errno.EACCES):
                raise
            return None
        return current

    def flush(self) -> None:
        """Return when everything is on disk. One call a file system: fsync of each of many small files takes far longer."""
        for descriptor in self._file_systems.values():
            if self._libc.syncfs(descriptor):
                number = ctypes.get_errno()
                raise OSError(number, os.strerror(number))

    def close(self) -> None:
        for descriptor in self._file_systems.values():
            os.close(descriptor)
        self._file_systems.clear()

    def _enter_existing(self, folder: int, name: bytes) -> tuple[int, bool]:
        inner = self.enter_existing(folder, name)
        if inner is not None:
            return inner, False
        os.unlink(name, dir_fd=folder)
        os.mkdir(name, UNFINISHED, dir_fd=folder)
        return os.open(name, LISTED, dir_fd=folder), True

    def _prepared(self, folder: int) -> int:
        try:
            self.prepare(folder)
        except BaseException:
            os.close(folder)
            raise
        return folder


def is_unfinished(found: os.stat_result) -> bool:
    """Whether a restore made this folder and was killed, or failed, in it: the next one owes it the backup's owner, mode and time.

    The mode tells, as it comes and goes with a single call each: no kill comes between a folder and its mark.
    """
    return stat.S_ISDIR(found.st_mode) and stat.S_IMODE(found.st_mode) & ~stat.S_ISGID == UNFINISHED


def taken(found: os.stat_result) -> int:
    """Bytes that a file's data takes, which may have holes; 0 for what is no file."""
    return min(found.st_size, found.st_blocks * 512) if stat.S_ISREG(found.st_mode) else 0


def is_left_over(name: bytes) -> bool:
    """Whether an interrupted restore left a path of this name: the next one removes it, if it is no folder."""
    return _LEFT_OVER.fullmatch(os.fsdecode(name)) is not None


def entered(folder: int, name: bytes) -> int:
    """A descriptor of the folder `name`, also where it is ours and its mode keeps even us out. OSError."""
    try:
        return os.open(name, LISTED, dir_fd=folder)
    except PermissionError:
        path = os.open(name, _PATH_ONLY, dir_fd=folder)
    try:
        # fchmod refuses such a descriptor; its name in /proc leads to that very folder, never through a link.
        os.chmod(f"/proc/self/fd/{path}", stat.S_IMODE(os.fstat(path).st_mode) | 0o700)
        return os.open(name, LISTED, dir_fd=folder)
    finally:
        os.close(path)


def target_error(error: OSError, path: bytes) -> IotBackupError:
    """What a failed call on the target means for the person who asked for the restore."""
    what, why = printable(path), error.strerror or str(error)
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return TargetFull(f"no room is left in the target at {what!r}: {why}. Give it more room and run the restore again.")
    if error.errno in (errno.EACCES, errno.EPERM):
        return AccessDenied(
            f"the target refuses user {os.geteuid()} at {what!r}: {why}. "
            "Run as the user its files belong to (worker.securityContext.runAsUser), or as root (worker.identity: Root)."
        )
    if error.errno == errno.EBUSY:
        return SourceUnavailable(
            f"something is mounted at {what!r}, in the way of what is to be written. Unmount it, leave the path out (exclude), or restore "
            "into another folder. Files restored so far are whole."
        )
    return SourceUnavailable(
        f"the target cannot be written at {what!r}: {why}. Files restored so far are whole; the restore can be run again."
    )
