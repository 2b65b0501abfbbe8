"""The folder a backup reads or a restore writes, opened without following a link."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from iot_backup.core.wording import is_path, place
from iot_backup.errors import AccessDenied, SourceUnavailable
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
