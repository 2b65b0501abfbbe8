"""Level 4 of a verification: a backup restored into a scratch folder, and what is there then compared with its index."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from iot_backup.core.manifest import Manifest
from iot_backup.errors import AccessDenied, CorruptData, WrongKey
from iot_backup.repository.catalogue import Entry
from iot_backup.repository.opening import Repository
from iot_backup.worker.extract import Rules
from iot_backup.worker.flow import Flow, Stop
from iot_backup.worker.index import DEVICES, FILE, FOLDER, HARD_LINK, ROOT, SUPERSEDED, SYMLINK, Row
from iot_backup.worker.members import is_of_kind
from iot_backup.worker.room import check_room
from iot_backup.worker.selection import EVERYTHING
from iot_backup.worker.survey import surveyed
from iot_backup.worker.unpacking import Unpacked, unpack
from iot_backup.worker.verify_content import Checked, index_rows, sources
from iot_backup.worker.walk import LISTED
from iot_backup.worker.xattrs import is_kept

_NAMED = 8
"""Differences that are told; of others only that there are more."""
_BLOCK = 1 << 20


def check(repository: Repository, entries: Sequence[Entry], manifest: Manifest, scratch: Path, stop: Stop) -> Checked:
    """Restore below `scratch`, compare, and remove it again.

    What is wrong with the backup is told; TargetFull, AccessDenied and SourceUnavailable for the scratch folder, Cancelled and what
    the store raises are raised.
    """
    checked = Checked()
    folder = Path(tempfile.mkdtemp(prefix=f"verify-{manifest.id}-", dir=scratch))
    try:
        unpacked = _restored(repository, entries, manifest, folder, stop)
        comparison = _Comparison(os.fsencode(folder), unpacked, Flow(stop), checked)
        comparison.run(row for row in index_rows(repository, manifest) if row.state != SUPERSEDED)
    except (CorruptData, WrongKey) as error:
        checked.problems.append(error)
    finally:
        _remove(folder)
    return checked


def _remove(folder: Path) -> None:
    """The scratch folder with all in it, whatever modes were restored. AccessDenied."""
    try:
        _open_up(folder)
        shutil.rmtree(folder)
    except OSError as error:
        raise AccessDenied(
            f"{folder}, which the backup was restored into, cannot be removed by user {os.geteuid()}: {error.strerror}. Remove it, and "
            "verify as a user who may write all that is restored."
        ) from error


def _open_up(folder: Path) -> None:
    """Let this user list and empty each folder: only root may without the bits of its mode, and not in every container. No link is followed."""
    _let_in(folder)
    for place, folders, _ in os.walk(folder):  # each folder is let into before it is listed
        for name in folders:
            _let_in(Path(place, name))


def _let_in(folder: Path) -> None:
    """Nothing for a link, for what is not there, and for another user's folder: whoever looks into it finds out whether that matters."""
    with suppress(PermissionError, FileNotFoundError):
        found = folder.lstat()
        if stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_IRWXU != stat.S_IRWXU:
            folder.chmod(stat.S_IRWXU)


def _restored(repository: Repository, entries: Sequence[Entry], manifest: Manifest, folder: Path, stop: Stop) -> Unpacked:
    root = os.open(folder, LISTED)
    try:
        survey = surveyed(index_rows(repository, manifest), EVERYTHING)
        check_room(root, survey.size, survey.paths)
        found = sources(repository, entries, manifest)
        return unpack(index_rows(repository, manifest), found, root, Rules(devices=os.geteuid() == 0), stop)
    finally:
        os.close(root)


class _Comparison:
    """Each row against the path that was made of it. What this user was refused (owners, modes, attributes) is not compared."""

    def __init__(self, top: bytes, unpacked: Unpacked, flow: Flow, checked: Checked) -> None:
        self._top, self._flow, self._checked = top, flow, checked
        refused = unpacked.refused
        self._owners = not refused.owners_refused
        self._modes = not (refused.modes_refused or refused.owners_refused or refused.xattrs_refused)
        self._xattrs = not refused.xattrs_refused
        self._devices = not unpacked.written.devices_left_out

    def run(self, rows: Iterator[Row]) -> None:
        paths = 0
        for row in rows:
            self._flow.check()
            if row.kind in DEVICES and not self._devices:
                continue
            paths += 1
            try:
                differences = [*self._differences(row)]
            except PermissionError as error:
                self._tell(AccessDenied(f"after a restore user {os.geteuid()} cannot look at {row.path!r}: {error.strerror}"))
                continue
            if row.kind == FOLDER:
                _let_in(Path(os.fsdecode(self._place(row.path))))  # it was compared; what is in it comes next
            if differences:
                self._tell(CorruptData(f"after a restore {row.path!r} came back with another {', '.join(differences)}"))
            elif row.kind == FILE:
                self._checked.files += 1
                self._checked.bytes += row.size
        found = 1 + sum(len(folders) + len(files) for _, folders, files in os.walk(self._top))
        if found != paths:
            self._tell(CorruptData(f"after a restore the restored tree has {found} paths, and the index {paths}"))

    def _tell(self, problem: AccessDenied | CorruptData) -> None:
        self._checked.damaged += 1
        if self._checked.damaged <= _NAMED:
            self._checked.problems.append(problem)

    def _differences(self, row: Row) -> Iterator[str]:
        place = self._place(row.path)
        try:
            found = os.lstat(place)
        except FileNotFoundError:
            yield "fate: it is not there"
            return
        if not is_of_kind(found, row):
            yield "kind"
            return
        if row.kind == HARD_LINK:
            if not os.path.samestat(found, os.lstat(self._place(row.link))):
                yield "file behind it"
            return
        if row.kind == FILE and (found.st_size != row.size or _sha256(place, found) != row.sha256):
            yield "content"
        if row.kind == SYMLINK and os.readlink(place) != row.link:
            yield "target"
        if row.kind in DEVICES and (os.major(found.st_rdev), os.minor(found.st_rdev)) != row.device:
            yield "device number"
        yield from self._attributes(row, place, found)

    def _attributes(self, row: Row, place: bytes, found: os.stat_result) -> Iterator[str]:
        if self._owners and (found.st_uid, found.st_gid) != (row.uid, row.gid):
            yield "owner"
        if self._modes and row.kind != SYMLINK and stat.S_IMODE(found.st_mode) != row.mode:
            yield "mode"
        if self._modes and found.st_mtime_ns != row.mtime_ns:
            yield "time"
        if self._xattrs and _xattrs(place) != row.xattrs:
            yield "set of extended attributes"

    def _place(self, path: bytes) -> bytes:
        return self._top if path == ROOT else os.path.join(self._top, path)


def _sha256(place: bytes, found: os.stat_result) -> str:
    """PermissionError only for another user's file: our own is read in whatever mode it came back."""
    digest = hashlib.sha256()
    with _opened(place, stat.S_IMODE(found.st_mode)) as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _opened(place: bytes, mode: int) -> BinaryIO:
    try:
        return open(place, "rb")
    except PermissionError:
        os.chmod(place, mode | stat.S_IRUSR)
        try:
            return open(place, "rb")
        finally:
            os.chmod(place, mode)


def _xattrs(place: bytes) -> tuple[tuple[bytes, bytes], ...]:
    try:
        names = sorted(name for name in map(os.fsencode, os.listxattr(place, follow_symlinks=False)) if is_kept(name))
    except OSError:
        return ()
    return tuple((name, os.getxattr(place, name, follow_symlinks=False)) for name in names)
