"""What goes from a target: by descriptors, through no link, into nothing that is mounted there.

A mount is told by its id, not by its device: a bind mount has the device of the file system around it, and on an overlay a file may
have another one than the folder it is in. What is mounted on a file cannot be told without opening its path, so each path that is to
go costs an open and a read in /proc.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from iot_backup.errors import InvalidSpec, SourceUnavailable
from iot_backup.worker.notes import printable
from iot_backup.worker.spared import Folders, is_one_of
from iot_backup.worker.walk import LISTED, MAX_DEPTH

_PATH_ONLY = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_OURS = 0o700


def mount_of(descriptor: int) -> int:
    """The mount that a path was opened through; its device where the kernel (gVisor, say) tells of no mounts."""
    facts = os.open(f"/proc/self/fdinfo/{descriptor}", os.O_RDONLY | os.O_CLOEXEC)
    try:
        lines = os.read(facts, 4096).splitlines()
    finally:
        os.close(facts)
    return next((int(line.split()[1]) for line in lines if line.startswith(b"mnt_id:")), os.fstat(descriptor).st_dev)


def found_in(folder: int, name: bytes, mount: int) -> os.stat_result | None:
    """What has this name; None where something else than `mount` is mounted at it. OSError."""
    path = os.open(name, _PATH_ONLY, dir_fd=folder)
    try:
        return os.fstat(path) if mount_of(path) == mount else None
    finally:
        os.close(path)


@contextmanager
def entered_to_clear(folder: int, name: bytes, *, acts: bool) -> Iterator[int]:
    """A descriptor of the folder `name`. `acts`: what is in it can be removed, if the folder is ours; then it gets its own mode back. OSError."""
    path = os.open(name, _PATH_ONLY | os.O_DIRECTORY, dir_fd=folder)
    try:
        mode = _mode_to_give_back(path) if acts else None
        if mode is not None:
            # fchmod refuses such a descriptor; its name in /proc leads to that very folder, never through a link.
            os.chmod(f"/proc/self/fd/{path}", mode | _OURS)
        inner = os.open(b".", LISTED, dir_fd=path)
    finally:
        os.close(path)
    try:
        yield inner
    finally:
        if mode is not None:
            os.fchmod(inner, mode)
        os.close(inner)


@contextmanager
def writable(folder: int, *, acts: bool) -> Iterator[None]:
    """The same for a folder that is open already."""
    mode = _mode_to_give_back(folder) if acts else None
    if mode is not None:
        os.fchmod(folder, mode | _OURS)
    try:
        yield
    finally:
        if mode is not None:
            os.fchmod(folder, mode)


def making_way(folder: int, name: bytes, spared: Folders, *, acts: bool) -> int:
    """How many paths are in the folder `name`, which is to make way for something of the backup; nothing goes yet.

    InvalidSpec if it is, or holds, a folder that must stay; SourceUnavailable if something is mounted in it, or it is too deep. OSError. `acts`: also look
    into folders of ours that we first have to open up; else what is in them does not count.
    """
    return _looked_through(folder, name, mount_of(folder), spared, 0, acts=acts) - 1


def remove(folder: int, name: bytes) -> None:
    """Remove a folder with all that is in it, after `making_way`. OSError, EBUSY for what was mounted since."""
    with entered_to_clear(folder, name, acts=True) as inner:
        if mount_of(inner) != mount_of(folder):
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY))
        with os.scandir(inner) as entries:
            found = [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
        for below, is_folder in found:
            if is_folder:
                remove(inner, below)
            else:
                os.unlink(below, dir_fd=inner)
    os.rmdir(name, dir_fd=folder)


def _looked_through(folder: int, name: bytes, mount: int, spared: Folders, depth: int, *, acts: bool) -> int:
    """Paths of that name and below it."""
    if depth > MAX_DEPTH:
        raise SourceUnavailable(
            f"more than {MAX_DEPTH} folders lie inside each other at '{_place(folder, name)}', in the way of what is to be written: nothing "
            "there was removed. Remove them, leave the path out (exclude), or restore into another folder."
        )
    found = found_in(folder, name, mount)
    if found is None:
        raise SourceUnavailable(
            f"another file system is mounted at '{_place(folder, name)}', in the way of what is to be written: nothing there was removed. "
            "Unmount it, leave the path out (exclude), or restore into another folder."
        )
    if not stat.S_ISDIR(found.st_mode):
        return 1
    if is_one_of(found, spared):
        raise InvalidSpec(
            f"'{_place(folder, name)}' holds backups, or what this machine remembers of them, and would have to make way for a file or link "
            "of the backup: nothing there was removed. Leave the path out (exclude), or restore into another folder."
        )
    count = 1
    try:
        with entered_to_clear(folder, name, acts=acts) as inner:
            for below in os.listdir(inner):
                count += _looked_through(inner, os.fsencode(below), mount, spared, depth + 1, acts=acts)
    except PermissionError:
        if acts:
            raise
    return count


def _mode_to_give_back(folder: int) -> int | None:
    """The folder's mode, if it is ours and keeps us out, or from writing."""
    found = os.fstat(folder)
    kept_out = found.st_uid == os.geteuid() and found.st_mode & _OURS != _OURS
    return stat.S_IMODE(found.st_mode) if kept_out else None


def _place(folder: int, name: bytes) -> str:
    """For people."""
    try:
        above = os.readlink(b"/proc/self/fd/%d" % folder)
    except OSError:  # the kernel tells no path of more than 4096 bytes
        above = b"..."
    return printable(os.path.join(above, name))
