"""The folder a backup reads or a restore writes, opened without following a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from iot_backup.core import layout, spec
from iot_backup.core.wording import is_path, place
from iot_backup.errors import AccessDenied, SourceUnavailable
from iot_backup.worker.removing import Folders
from iot_backup.worker.walk import LISTED


@contextmanager
def opened(mount: Path, path: str, claim: str) -> Iterator[int]:
    """A descriptor of the folder `path` inside a mounted claim. SourceUnavailable, AccessDenied."""
    descriptor = _entered(None, os.fspath(mount), claim, ".")
    try:
        seen: list[str] = []
        for name in [part for part in path.split("/") if part not in ("", ".")]:
            seen.append(name)
            inner = _entered(descriptor, name, claim, "/".join(seen))
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)


def holding(repository: spec.Repository, others: Sequence[Path] = ()) -> Folders:
    """The folders of a volume store, none for a bucket, and the others with what they hold of the same shape; as far as they are there."""
    own = [Path(repository.store.mount, repository.store.path.strip("/"))] if isinstance(repository.store, spec.VolumeTarget) else []
    found = set()
    for base in (*own, *others):
        for folder in (base, *(base / layout.root("any", scope).partition("/")[0] for scope in ("ns", "site"))):
            with suppress(OSError):  # who may not even look at it cannot take anything from it
                stat_of = folder.stat()
                found.add((stat_of.st_dev, stat_of.st_ino))
    return frozenset(found)


def _entered(above: int | None, name: str, claim: str, shown: str) -> int:
    try:
        return os.open(name, LISTED, dir_fd=above)
    except FileNotFoundError as error:
        missing = f"{place(claim)} is not there" if shown == "." else f"{place(claim)} has no folder {shown!r}"
        raise SourceUnavailable(f"{missing}: correct the path, or create it") from error
    except PermissionError as error:
        found = os.stat(name, dir_fd=above, follow_symlinks=False)
        raise refused(claim, shown, found) from error
    except OSError as error:
        what = place(claim) if shown == "." else f"{shown!r} of {place(claim)}"
        raise SourceUnavailable(f"{what} is no folder, or a link, which is not followed: {error.strerror}") from error


def refused(claim: str, shown: str, found: os.stat_result) -> AccessDenied:
    """What to say, and to do, where this user may not enter."""
    whom = found.st_uid or "the owner of the files"
    advice = (
        f"Run as user {whom}, or as root." if is_path(claim) else f"Set worker.securityContext.runAsUser: {whom}, or worker.identity: Root."
    )
    return AccessDenied(
        f"user {os.geteuid()} may not read {shown!r} of {place(claim)}: it belongs to {found.st_uid}:{found.st_gid}, mode "
        f"{stat.S_IMODE(found.st_mode):04o}. {advice}"
    )
