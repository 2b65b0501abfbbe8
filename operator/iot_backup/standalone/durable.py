"""Small files of the state folder: the old one or the new one, whenever the machine stops, and never a part of one where a disk is full."""

from __future__ import annotations

import os
from pathlib import Path

from iot_backup.storage import folders


def replace(file: Path, content: bytes) -> None:
    """OSError: the file says what it said before, but for a disk that cannot make its name durable."""
    prepared(file, content).rename(file)
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        folders.flush(folder)
    finally:
        os.close(folder)


def prepared(file: Path, content: bytes) -> Path:
    """A file beside it, `.<name>.new`, which has only to be renamed. It is on disk, and for its owner alone. OSError: there is none."""
    new = file.with_name(f".{file.name}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(descriptor)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    return new
