"""The short way of small files writes what the long way writes, and leaves to it whatever is not as usual."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from iot_backup.crypto.container import opener
from iot_backup.repository.reading import Pull
from iot_backup.worker.compression import Decompressed
from iot_backup.worker.contents import Files
from iot_backup.worker.small import SmallFiles
from tests.pipeline.roundtrip import IDENTITY, Backup, back_up, index_text, pieces


def filled(folder: Path) -> Path:
    """All that is near the edges of what is small and usual."""
    rng = random.Random(7)
    folder.mkdir()
    for size in (0, 1, 511, 512, 513, 1024, 4096, 65535, 65536, 65537, 300_000):
        (folder / f"size-{size:06d}").write_bytes(rng.randbytes(size))
    for number in range(300):  # frames end among them
        (folder / f"many-{number:03d}").write_bytes(rng.randbytes(rng.randrange(1, 60_000)))
    (folder / "two names").write_text("x")
    os.link(folder / "two names", folder / "zwei Namen")
    (folder / ("n" * 100)).write_text("a name that just fits")
    (folder / ("n" * 101)).write_text("one that does not")
    (folder / "not-\udcff-text").write_text("x")
    (folder / "Straße 传感器").write_text("x")
    (folder / ".kbackup").write_text("x")
    (folder / "with-attributes").write_text("x")
    os.setxattr(folder / "with-attributes", "user.kind", b"sensor")
    for name, time in (("old", -5), ("far", 8_589_934_592 * 10**9)):
        (folder / name).write_text("x")
        os.utime(folder / name, ns=(time, time))
    (folder / "setuid").write_text("x")
    (folder / "setuid").chmod(0o6755)
    with (folder / "sparse").open("wb") as file:
        file.truncate(1 << 16)
    return folder


def test_both_ways_write_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = filled(tmp_path / "source")
    short = back_up(source)
    taken = []
    add = SmallFiles.add
    monkeypatch.setattr(SmallFiles, "add", lambda self, found: add(self, found) and not taken.append(found.path))
    back_up(source)
    monkeypatch.setattr(SmallFiles, "add", lambda _self, _found: False)
    long = back_up(source)
    assert plain_tar(short) == plain_tar(long)
    assert index_text(short) == index_text(long)
    assert len(short.archive) == len(long.archive), "the same frames compress to the same size"
    assert len(taken) > 300, "most of them go the short way"


def plain_tar(backup: Backup) -> bytes:
    stored = opener(Pull(pieces(backup.archive)), backup.cipher, IDENTITY, backup.packed.archive.header_sha256)
    return Decompressed(stored).readall()


class _Changing(Files):
    """A file grows between two looks at it, at its first reading."""

    def __init__(self, path: Path) -> None:
        self.path, self.reads = path, 0

    def read(self, descriptor: int, target: memoryview) -> int:
        count = super().read(descriptor, target)
        if not self.reads:
            with self.path.open("ab") as file:
                file.write(b"more")
        self.reads += 1
        return count


def test_a_file_that_changes_meanwhile_is_read_again_as_any_other(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "log").write_bytes(b"line\n")
    files = _Changing(source / "log")
    backup = back_up(source, files=files)
    assert files.reads >= 2
    assert b"line\nmore" in plain_tar(backup)
    assert not backup.packed.partial
