"""Folders of a volume, opened component by component from a held descriptor: no path is ever resolved as a whole."""

from __future__ import annotations

import errno
import os
import re
import secrets
import stat
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

FOLDER_MODE = 0o2770
FILE_MODE = 0o660
PARTIAL_SUFFIX = ".partial"
_PARTIAL = re.compile(r"\.[0-9a-f]{16}\.partial")
_FORGOTTEN = 2 * 86400.0
"""Seconds: no upload pauses for so long."""
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: opening a fifo that somebody put in an object's place must not wait for its other end.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


@contextmanager
def opened(base: int, names: Sequence[str], *, create_for: int | None = None) -> Iterator[int]:
    """A descriptor of the folder `names` below `base`. With `create_for`, a group, missing ones are made and given to it.

    All are then durable, also those of an earlier run that was killed before it could see to that.

    Raises OSError; FileNotFoundError where a folder is missing, ENOTDIR or ELOOP where a link or a file stands in its place.
    """
    current = os.dup(base)
    try:
        for name in names:
            inner = _enter(current, name) if create_for is None else _enter_or_create(current, name, create_for)
            os.close(current)
            current = inner
        yield current
    finally:
        os.close(current)


def open_file(folder: int, name: str) -> int:
    """A read descriptor of a regular file. Raises OSError; FileNotFoundError, ELOOP for a link, EISDIR for anything else."""
    descriptor = os.open(name, _FILE, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise IsADirectoryError(errno.EISDIR, "not a regular file", name)
    return descriptor


@contextmanager
def partial(folder: int, group: int) -> Iterator[tuple[str, int]]:
    """A new file under a hidden name of its own, and its descriptor; both are gone afterwards, however it ends.

    But for a kill, or a power cut: what those left in this folder is taken away by the writes that come days later.
    """
    name = f".{secrets.token_hex(8)}{PARTIAL_SUFFIX}"
    descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE, dir_fd=folder)
    try:
        _own(descriptor, group, FILE_MODE)
        _sweep(folder, os.fstat(descriptor).st_mtime)
        yield name, descriptor
    finally:
        os.close(descriptor)
        with suppress(OSError):
            os.unlink(name, dir_fd=folder)


def flush(folder: int) -> None:
    """Make names durable, where the file system can: some (CIFS of older kernels) know no fsync of a folder. OSError."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise


def _sweep(folder: int, now: float) -> None:
    """Remove unfinished files that nobody has written to for days. `now`: on the file system's clock, as their times are."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if _PARTIAL.fullmatch(entry.name)]
    for name in names:
        with suppress(OSError):  # another run's, gone meanwhile, or not ours to remove
            if now - os.stat(name, dir_fd=folder, follow_symlinks=False).st_mtime > _FORGOTTEN:
                os.unlink(name, dir_fd=folder)


def walk(folder: int, above: str) -> Iterator[tuple[str, os.stat_result]]:
    """Every regular file below, as key and stat; hidden names are left out, links are not followed, what vanishes is passed over."""
    with os.scandir(folder) as entries:
        names = [entry.name for entry in entries if not entry.name.startswith(".")]
    for name in names:
        try:
            found = os.stat(name, dir_fd=folder, follow_symlinks=False)
            if stat.S_ISREG(found.st_mode):
                yield above + name, found
            elif stat.S_ISDIR(found.st_mode):
                with opened(folder, (name,)) as inner:
                    yield from walk(inner, f"{above}{name}/")
        except FileNotFoundError:
            continue


def owner(base: int, names: Sequence[str]) -> str:
    """Who owns the deepest part of the path that can be seen: what most likely stood in the way of a refused call."""
    with ExitStack() as held:
        current, path, found = base, ".", os.fstat(base)
        for name in names:
            try:
                found = os.stat(name, dir_fd=current, follow_symlinks=False)
                path = name if path == "." else f"{path}/{name}"
                current = _enter(current, name)
            except OSError:
                break
            held.callback(os.close, current)
    return f"{path} belongs to user {found.st_uid}, group {found.st_gid}, mode {stat.S_IMODE(found.st_mode):04o}"


def _enter(folder: int, name: str) -> int:
    return os.open(name, _FOLDER, dir_fd=folder)


def _enter_or_create(folder: int, name: str, group: int) -> int:
    try:
        inner = _enter(folder, name)
    except FileNotFoundError:
        inner = _create(folder, name, group)
    try:
        flush(folder)
    except BaseException:
        os.close(inner)
        raise
    return inner


def _create(folder: int, name: str, group: int) -> int:
    try:
        os.mkdir(name, FOLDER_MODE, dir_fd=folder)
    except FileExistsError:  # another run was quicker
        return _enter(folder, name)
    made = _enter(folder, name)
    try:
        _own(made, group, FOLDER_MODE)
    except BaseException:
        os.close(made)
        raise
    return made


def _own(descriptor: int, group: int, mode: int) -> None:
    """Give it to the group, past the umask. Where we may not, the probe's check of the group tells people, or that there are no links (vfat)."""
    if os.fstat(descriptor).st_gid != group:
        with suppress(PermissionError):
            os.fchown(descriptor, -1, group)
    with suppress(PermissionError):
        os.fchmod(descriptor, mode)
