"""Chains of backups in memory, and two readers of them that share nothing with a restore: one goes by the newest index, the other is tar."""

from __future__ import annotations

import os
import stat
import subprocess
import tarfile
import threading
import time
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path

import pytest

from iot_backup.crypto.blocks import BlockTags
from iot_backup.crypto.container import PassThroughReader, sealer
from iot_backup.crypto.signing import WriterKey
from iot_backup.repository.reading import Pull
from iot_backup.worker import packing
from iot_backup.worker.compression import Decompressed
from iot_backup.worker.contents import Files
from iot_backup.worker.earlier import Earlier
from iot_backup.worker.index import DEVICES, FILE, FOLDER, HARD_LINK, HOLE, SUPERSEDED, SYMLINK, Row
from iot_backup.worker.index_reader import IndexReader
from iot_backup.worker.packing import Destination, Packed, pack
from iot_backup.worker.selection import EVERYTHING, Selection
from iot_backup.worker.tar import header
from tests.pipeline.roundtrip import collecting, facts, pieces

_KINDS = {"f": stat.S_IFREG, "d": stat.S_IFDIR, "l": stat.S_IFLNK, "p": stat.S_IFIFO, "c": stat.S_IFCHR, "b": stat.S_IFBLK}


class Counting(Files):
    """Knows which files were opened."""

    def __init__(self) -> None:
        self.opened: list[bytes] = []

    def open(self, name: bytes, folder: int) -> int:
        self.opened.append(name)
        return super().open(name, folder)


@dataclass
class Link:
    """One backup of a chain, in memory and not encrypted."""

    id: str
    tar: bytes
    index: bytes
    state: bytes
    packed: Packed
    opened: list[bytes]

    @property
    def rows(self) -> list[Row]:
        return list(IndexReader(plain(self.index)))

    @property
    def row(self) -> dict[bytes, Row]:
        return {row.path: row for row in self.rows if row.state != SUPERSEDED}

    @property
    def archives(self) -> tuple[str, ...]:
        return IndexReader(plain(self.index)).archives

    @property
    def state_text(self) -> bytes:
        return plain(self.state).readall()

    @property
    def names(self) -> list[str]:
        """Of the members, in order."""
        with tarfile.open(fileobj=BytesIO(self.tar), errors="surrogateescape") as archive:
            return archive.getnames()

    def content(self, name: str) -> bytes:
        with tarfile.open(fileobj=BytesIO(self.tar), errors="surrogateescape") as archive:
            found = archive.extractfile(name)
            assert found
            return found.read()

    @property
    def deleted(self) -> list[bytes]:
        lists = [self.content(name) for name in self.names if name.startswith(".kbackup/deleted/")]
        assert all(text.endswith(b"\0") for text in lists)
        return [name for text in lists for name in text.split(b"\0")[:-1]]

    @property
    def stored(self) -> list[str]:
        """Names of what is in the archive for itself, in order."""
        return [name for name in self.names if not name.startswith(".kbackup/")]


@dataclass
class Chain:
    """Backups of one folder. Each is taken `apart` seconds behind the last one on the clock that the pipeline sees: what was there then counts as old."""

    source: Path
    patch: pytest.MonkeyPatch
    apart: float = 100.0
    links: dict[str, Link] = field(default_factory=dict)
    ahead: float = 0.0

    def back_up(
        self, base: Link | None = None, *, level: int | None = None, files: Files | None = None, selection: Selection = EVERYTHING
    ) -> Link:
        """The next backup: a Full without a base."""
        self.ahead += self.apart
        real = time.clock_gettime_ns
        self.patch.setattr(packing.time, "clock_gettime_ns", lambda clock: real(clock) + int(self.ahead * 1e9))
        try:
            return self._packed(base, level, files or Counting(), selection)
        finally:
            self.patch.setattr(packing.time, "clock_gettime_ns", real)

    def _packed(self, base: Link | None, level: int | None, files: Files, selection: Selection) -> Link:
        id_ = f"{len(self.links):016x}"
        archive, index, state = bytearray(), bytearray(), bytearray()
        earlier = Earlier(plain(base.state)) if base else None
        root = os.open(self.source, os.O_RDONLY | os.O_DIRECTORY)
        try:
            packed = pack(
                root,
                Destination(sealer(None, "None"), collecting(archive)),
                Destination(sealer(None, "None"), collecting(index)),
                archives=[*(earlier.archives if earlier else ()), id_],
                level=level,
                stop=threading.Event(),
                selection=selection,
                state=Destination(sealer(None, "None"), collecting(state)),
                base=earlier,
                tag=BlockTags(WriterKey(b"\x17" * 32)),
                files=files,
            )
        finally:
            os.close(root)
        content = bytes(archive) if level is None else plain(bytes(archive)).readall()
        link = self.links[id_] = Link(id_, content, bytes(index), bytes(state), packed, getattr(files, "opened", []))
        return link

    def assembled(self, link: Link) -> dict[bytes, tuple[object, ...]]:
        """The tree by a backup's index, in the form of `facts`; every content is compared with its hash."""
        streams = [self.links[id_].tar for id_ in link.archives]
        found: dict[bytes, tuple[object, ...]] = {}
        groups: dict[bytes, list[bytes]] = {}
        rows = link.row
        for row in rows.values():
            if row.kind == HARD_LINK:
                first = rows[row.link]
                assert first.kind == FILE
                assert first.links > 1
                groups.setdefault(row.link, [row.link]).append(row.path)
            found[row.path] = _facts(first if row.kind == HARD_LINK else row, streams)
        for same in groups.values():
            for path in same:
                found[path] += (tuple(sorted(same)),)
        return found

    def check(self, link: Link) -> None:
        """What a backup says is the source as it is now, and the rules of the index hold."""
        assert self.assembled(link) == facts(self.source)
        check_order(link)

    def extracted(self, link: Link, target: Path) -> None:
        """With stock tools, as the format's page says: each member from the Full on."""
        target.mkdir()
        for id_ in link.archives:
            stock_step(self.links[id_], target)


def without_folder_times(found: dict[bytes, tuple[object, ...]]) -> dict[bytes, tuple[object, ...]]:
    """For what tar gave back step by step: it moves a folder's time with whatever it puts there."""
    return {path: fact[:4] + fact[5:] if fact[0] == stat.S_IFDIR else fact for path, fact in found.items()}


def stock_step(link: Link, target: Path) -> None:
    archive = target.parent / f"{link.id}.tar"
    archive.write_bytes(link.tar)
    if link.deleted:
        listed = f"tar xOf {archive} --wildcards '.kbackup/deleted/*' | xargs -0 rm -rf --"
        subprocess.run(["bash", "-eo", "pipefail", "-c", listed], cwd=target, check=True)
    command = ["tar", "xpf", str(archive), "--same-owner", "--xattrs", "--xattrs-include=*", "--acls"]
    command += ["--anchored", "--exclude=.kbackup/*"]  # in this order
    done = subprocess.run(command, cwd=target, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def plain(stored: bytes) -> Decompressed:
    return Decompressed(PassThroughReader(Pull(pieces(stored))))


def check_order(link: Link) -> None:
    """Along the rows, positions in each archive only grow."""
    reached: dict[int, int] = {}
    for row in link.rows:
        content = [part[:2] for part in row.parts if part.archive != HOLE] if row.parts else [(row.archive, row.offset)]
        for archive, position in content if row.kind == FILE else []:
            assert reached.get(archive, -1) < position, row
            reached[archive] = position


def _facts(row: Row, streams: list[bytes]) -> tuple[object, ...]:
    content: object = None
    if row.kind == FILE:
        content = _content(row, streams)
    elif row.kind == SYMLINK:
        content = row.link
    elif row.kind in DEVICES:
        content = os.makedev(*row.device)
    assert row.kind != FOLDER or not row.size
    xattrs = {os.fsdecode(name): value for name, value in row.xattrs}
    return _KINDS[row.kind], row.mode, row.uid, row.gid, row.mtime_ns, content, dict(sorted(xattrs.items()))


def _content(row: Row, streams: list[bytes]) -> str:
    import hashlib

    digest = hashlib.sha256()
    if row.parts:
        for archive, position, length in row.parts:
            digest.update(bytes(length) if archive == HOLE else streams[archive][position : position + length])
    else:
        head = row.head or len(header(row))
        if not row.head:
            assert streams[row.archive][row.offset : row.offset + head] == header(row), row
        digest.update(streams[row.archive][row.offset + head : row.offset + head + row.size])
    assert digest.hexdigest() == row.sha256, row
    return row.sha256
