"""What a command stands on: where this machine remembers, and what the environment says."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from iot_backup.errors import InvalidSpec
from iot_backup.standalone import environment
from iot_backup.standalone.sites import Site
from iot_backup.standalone.state import State


@dataclass(frozen=True)
class Machine:
    """This machine, for one command."""

    state: Path
    environ: Mapping[str, str]
    fingerprint: str | None = None
    """Of a repository that a person vouches for."""

    def state_of(self, site: Site) -> State:
        return State(self.state, site.label)


@contextmanager
def remembering(option: Path | None, environ: Mapping[str, str]) -> Iterator[tuple[Path, str | None]]:
    """The state folder, and a warning where nothing outlives the run: nobody named one, and the usual place cannot be written."""
    folder = environment.state_folder(option, environ)
    if option is not None or environ.get(environment.STATE_DIR) or _is_writable(folder):
        yield folder, None
        return
    with tempfile.TemporaryDirectory(prefix="iot-backup-state-") as passing:
        warning = (
            f"{folder} cannot be written, so nothing of this run is remembered: every backup is a full one, and missing ones are not noticed. "
            f"Name a folder that outlives the run by --state-dir or {environment.STATE_DIR}."
        )
        yield Path(passing), warning


def make_folder(folder: Path) -> None:
    """A local storage's folder, if it is not there. InvalidSpec."""
    try:
        folder.mkdir(mode=0o770, parents=True, exist_ok=True)
    except OSError as error:
        raise InvalidSpec(f"the storage's folder {folder} cannot be made: {error.strerror}. Make it, or name another one.") from error


def _is_writable(folder: Path) -> bool:
    there = next(above for above in (folder, *folder.parents) if above.exists())
    return there.is_dir() and os.access(there, os.W_OK | os.X_OK)
