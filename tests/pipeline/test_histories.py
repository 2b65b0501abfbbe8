"""Random trees through random histories: whatever happened between backups, each of them gives back the tree it saw.

The model is the tree itself: what `facts` said of it when each backup was taken. Names come from a small pool, so that paths are
replaced by other kinds, moved onto each other and come back; files above the (lowered) bound for deltas grow, shrink and change in the middle.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import HealthCheck, Phase, event, given, settings
from hypothesis import strategies as st

from iot_backup.storage.secret_values import MountedSecrets
from iot_backup.worker import deltas
from iot_backup.worker.backup import backup
from iot_backup.worker.cancelling import Cancel
from iot_backup.worker.restore import restore
from tests.pipeline.roundtrip import facts
from tests.pipeline.sites import Folder, Site

NAMES = ("a", "b", "c.d", "é", "-n", ".kbackup", "deleted")
EXAMPLES = int(os.environ.get("IOT_BACKUP_HISTORIES", "150"))
SMALLEST_DELTA = 40_000
"""Instead of 8 MiB: histories with large files would take too long."""
TYPES = ("Full", "Incremental", "Incremental", "Incremental", "Differential")

paths = st.lists(st.sampled_from(NAMES), min_size=1, max_size=3).map("/".join)
content = st.one_of(
    st.binary(max_size=20),
    st.integers(0, 2**32).map(lambda seed: _bytes(seed, 3000)),
    st.integers(0, 2**32).map(lambda seed: _bytes(seed, 150_000)),
)
moments = st.integers(0, 2_000_000_000_000_000_000)


def _bytes(seed: int, size: int) -> bytes:
    import random

    return random.Random(seed).randbytes(size)


def _gone(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _room(path: Path) -> bool:
    """The folders above the path, made; False where one of them is no folder."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError:  # a file, or a link that leads nowhere or in a circle
        return False
    return not any(p.is_symlink() for p in path.parents)


def write(root: Path, path: str, data: bytes) -> None:
    if _room(root / path):
        _gone(root / path)
        (root / path).write_bytes(data)


def edit_unseen(root: Path, path: str, data: bytes) -> None:
    """Other bytes, same size and same mtime: only ctime tells."""
    target = root / path
    if target.is_file() and not target.is_symlink() and (size := target.stat().st_size):
        before = target.stat()
        with target.open("r+b") as file:
            file.write((data or b"x")[:size])
        os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))


def change_inside(root: Path, path: str, data: bytes, at: int) -> None:
    target = root / path
    if target.is_file() and not target.is_symlink():
        with target.open("r+b") as file:
            file.seek(at)
            file.write(data[:5000])


def resize(root: Path, path: str, size: int) -> None:
    """Longer, with a hole at its end, or shorter."""
    if (root / path).is_file() and not (root / path).is_symlink():
        os.truncate(root / path, size)


def remove(root: Path, path: str) -> None:
    with suppress(OSError):  # a file or a loop of links above it
        _gone(root / path)


def folder(root: Path, path: str) -> None:
    if _room(root / path) and not (root / path).is_dir():
        _gone(root / path)
        (root / path).mkdir()


def link(root: Path, path: str, target: str) -> None:
    if _room(root / path):
        _gone(root / path)
        (root / path).symlink_to(target)


def hard_link(root: Path, path: str, other: str) -> None:
    source, new = root / other, root / path
    if source.is_file() and not source.is_symlink() and _room(new) and source != new and not new.exists() and not new.is_symlink():
        os.link(source, new)


def move(root: Path, path: str, other: str) -> None:
    source, new = root / other, root / path
    if not (source.exists() or source.is_symlink()) or path == other or path.startswith(f"{other}/") or other.startswith(f"{path}/"):
        return
    if _room(new):
        _gone(new)
        with suppress(FileNotFoundError, NotADirectoryError):
            source.rename(new)


def attributes(root: Path, path: str, mode: int, owner: int, moment: int) -> None:
    target = root / path
    if (target.exists() or target.is_symlink()) and _room(target):
        os.chown(target, owner, owner + 1, follow_symlinks=False)
        if not target.is_symlink():
            target.chmod(mode)
        os.utime(target, ns=(moment, moment), follow_symlinks=False)


def extended(root: Path, path: str, value: bytes) -> None:
    target = root / path
    if (target.is_file() or target.is_dir()) and not target.is_symlink():
        with suppress(OSError):  # a file system without them
            os.setxattr(target, "user.note", value)


def touched_everywhere(root: Path) -> None:
    """As a copied volume: every inode's ctime is new, nothing else."""
    for above, _, files in os.walk(root):
        for name in [above, *(os.path.join(above, f) for f in files)]:
            if not os.path.islink(name):
                os.chmod(name, stat.S_IMODE(os.lstat(name).st_mode))


Action = Callable[[Path], None]
actions: st.SearchStrategy[Action] = st.one_of(
    st.builds(lambda p, d: lambda root: write(root, p, d), paths, content),
    st.builds(lambda p, d: lambda root: write(root, p, d), paths, content),
    st.builds(lambda p, d: lambda root: edit_unseen(root, p, d), paths, content),
    st.builds(lambda p, d, a: lambda root: change_inside(root, p, d, a), paths, content, st.integers(0, 140_000)),
    st.builds(lambda p, s: lambda root: resize(root, p, s), paths, st.integers(0, 200_000)),
    st.builds(lambda p: lambda root: remove(root, p), paths),
    st.builds(lambda p: lambda root: folder(root, p), paths),
    st.builds(lambda p, t: lambda root: link(root, p, t), paths, st.sampled_from(["nowhere", "../a", "a/b", "/etc/passwd"])),
    st.builds(lambda p, o: lambda root: hard_link(root, p, o), paths, paths),
    st.builds(lambda p, o: lambda root: move(root, p, o), paths, paths),
    st.builds(
        lambda p, m, o, t: lambda root: attributes(root, p, m, o, t), paths, st.integers(0, 0o7777), st.integers(0, 3_000_000_000), moments
    ),
    st.builds(lambda p, v: lambda root: extended(root, p, v), paths, st.binary(max_size=300)),
    st.just(touched_everywhere),
)
rounds = st.lists(st.tuples(st.lists(actions, max_size=8), st.sampled_from(TYPES)), min_size=2, max_size=7)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    phases=(Phase.explicit, Phase.reuse, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    database=None,
)
@given(history=rounds, overlaid=st.booleans())
def test_every_backup_gives_back_the_tree_it_saw(seed: Site, history: list[tuple[list[Action], str]], overlaid: bool) -> None:
    with TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(deltas, "SMALLEST", SMALLEST_DELTA)
        base = Path(folder)
        (base / "nas").mkdir()
        site, source = seed.elsewhere(Folder(base / "nas"), base), base / "source"
        source.mkdir()
        seen: list[tuple[str, dict[bytes, tuple[object, ...]]]] = []
        for steps, type_ in history:
            for step in steps:
                step(source)
            before = facts(source)
            result, _ = backup(site.backup_order(type=type_, allow_empty=True), MountedSecrets(site.secrets_dir), source, Cancel())
            assert facts(source) == before
            event(f"{type_} became {result.type}")
            seen.append((result.archive, before))
        target = base / "target"
        for archive, expected in seen:
            if not overlaid:
                target = site.folder("target")
            target.mkdir(exist_ok=True)
            order = site.restore_order(archive, on_conflict="Mirror" if overlaid else "Overwrite")
            restore(order, MountedSecrets(site.secrets_dir), target, Cancel())
            assert facts(target) == expected
