"""Where slow results live: outside the checkout, keyed by the content of what they are made from."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator


def root() -> Path:
    """Return the cache directory, created if need be."""
    given = os.environ.get("IOT_BACKUP_CACHE")
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    path = Path(given) if given else Path(base) / "iot-backup-operator"
    path.mkdir(parents=True, exist_ok=True)
    return path


def key(parts: Iterable[str | bytes]) -> str:
    """Return 12 hex digits for the parts; lengths are hashed too, so borders between parts count."""
    digest = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:12]


def files_key(base: Path, files: Iterable[Path], *more: str) -> str:
    """Return the key of files by name, below base, and content."""
    parts: list[str | bytes] = [*more]
    for file in sorted(files):
        parts += [file.relative_to(base).as_posix(), file.read_bytes()]
    return key(parts)


def directory(kind: str, name: str, build: Callable[[Path], None]) -> Path:
    """Return the directory `kind/name`, letting build fill it if it is not there yet.

    It is filled under another name and renamed, so a half-built one is never seen, and one build
    runs at a time: two Go links at once are slower than one after the other.
    """
    done = root() / kind / name
    if done.exists():
        return done
    done.parent.mkdir(exist_ok=True)
    with lock(kind):
        if not done.exists():
            scratch = Path(tempfile.mkdtemp(prefix=".building-", dir=done.parent))
            try:
                scratch.chmod(0o755)
                build(scratch)
                scratch.rename(done)
            except BaseException:
                shutil.rmtree(scratch, ignore_errors=True)
                raise
    return done


@contextmanager
def lock(name: str) -> Iterator[None]:
    """Hold a lock between processes; it ends with its holder, however that ends."""
    with (root() / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
