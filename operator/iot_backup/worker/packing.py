"""The write pipeline: walk -> tar -> zstd frames -> sealed, hashed streams of archive and index, side by side.

    walker thread        finds, reads and hashes files; fills the frames of archive and index
    compression threads  (two)
    calling thread       seals and hashes the archive, inside the iterator that the store consumes
    index thread         the same for the index

Memory does not grow with the source, apart from hard links whose other names are still to come and the names of one folder. The first error anywhere, or a stop, ends all of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from iot_backup.crypto.container import Sealer
from iot_backup.errors import Internal
from iot_backup.worker import tar
from iot_backup.worker.compression import FramePool
from iot_backup.worker.contents import Files
from iot_backup.worker.flow import Flow, Stop
from iot_backup.worker.frames import Frames
from iot_backup.worker.index import first_line, last_line, note_line
from iot_backup.worker.members import Counts, Members
from iot_backup.worker.notes import DAMAGED, INCOMPLETE, UNREADABLE, Noted, Notes
from iot_backup.worker.progress import Done, Progress
from iot_backup.worker.sealing import SealedObject, Stored
from iot_backup.worker.selection import EVERYTHING, Selection
from iot_backup.worker.walk import Walk

Sink = Callable[[Iterator[bytes]], None]
"""Stores one object: iterates the chunks to their end, and returns when they are durable."""

_INDEX_FRAME = 1 << 20
"""Plain bytes: some 4000 rows."""
_INDEX_BUFFERS = 3
_INDEX_LEVEL = 3
_COARSE_CLOCK = 5
"""Linux's CLOCK_REALTIME_COARSE, which stamps inodes: the precise clock can be a tick ahead of it."""


@dataclass(frozen=True)
class Destination:
    """Where one object goes."""

    sealer: Sealer
    """A fresh one, from `crypto.container.sealer`."""
    sink: Sink


@dataclass(frozen=True)
class Packed:
    """A whole backup, as the manifest needs it."""

    archive: Stored
    index: Stored
    counts: Counts
    notes: dict[str, Noted]
    """By kind (`notes.NOTES`)."""
    tar_size: int
    """Bytes of the plain tar stream."""
    root_uid: int
    root_gid: int
    snapshot_time_ns: int
    """When the walk began, on the clock that stamps the files (on a network file system: on this machine's)."""
    running_postgresql: bool

    @property
    def partial(self) -> bool:
        """Something that could not be read is missing from the archive."""
        return any(self.notes[kind].count for kind in (UNREADABLE, DAMAGED, INCOMPLETE))


def pack(
    source: int,
    archive: Destination,
    index: Destination,
    *,
    archives: Sequence[str],
    level: int | None,
    stop: Stop,
    selection: Selection = EVERYTHING,
    one_file_system: bool = False,
    files: Files | None = None,
    progress: Progress | None = None,
) -> Packed:
    """Back up the folder behind the descriptor `source`, which stays the caller's.

    `archives`: ids of the chain's backups whose archives the index refers to, this one's last. `level`: of zstd, None = frames are left as
    they are. `selection`, `one_file_system`: as for Walk. The archive's sink runs on the calling thread, the index's on one of its own, both
    at once. Raises what a sink raised, Cancelled, and AccessDenied or SourceUnavailable for the source's root; nothing
    else of the source raises, it is in `notes`.
    """
    flow = Flow(stop)
    snapshot_time_ns = time.clock_gettime_ns(_COARSE_CLOCK)
    with FramePool(level) as pool, FramePool(_INDEX_LEVEL, threads=1) as index_pool:
        archive_frames = Frames(flow, pool, seekable=level is not None)
        index_frames = Frames(flow, index_pool, _INDEX_FRAME, _INDEX_BUFFERS)
        sealed_archive, sealed_index = SealedObject(archive_frames, archive.sealer), SealedObject(index_frames, index.sealer)
        notes = Notes(lambda note, path, reason: index_frames.write(note_line(note, path, reason)))
        walk = Walk(source, notes, selection, one_file_system=one_file_system)
        writer = _Writer(flow, walk, notes, archive_frames, index_frames, files or Files())
        if progress is not None:
            progress.follow(lambda: _done(writer.members.counts, sealed_archive))
        walker = flow.run("walk", lambda: writer.run(archives))
        indexer = flow.run("index", lambda: _store(sealed_index, index.sink))
        try:
            _store(sealed_archive, archive.sink)
        except BaseException as error:  # noqa: BLE001 - join raises what came first: this, or its cause in another stage
            flow.fail(error)
        # Also after a failure: who cleans up must know that nothing lands any more. A store has time limits of its own.
        indexer.join()
        flow.join(walker)
    root = os.fstat(source)
    return Packed(
        archive=sealed_archive.stored(),
        index=sealed_index.stored(),
        counts=writer.members.counts,
        notes=notes.noted,
        tar_size=archive_frames.written,
        root_uid=root.st_uid,
        root_gid=root.st_gid,
        snapshot_time_ns=snapshot_time_ns,
        running_postgresql=walk.running_postgresql,
    )


def _done(counts: Counts, archive: SealedObject) -> Done:
    return Done(counts.files + counts.hard_links, counts.source_bytes, archive.size)


class _Writer:
    """The plain side: the whole tar stream and the whole index."""

    def __init__(self, flow: Flow, walk: Walk, notes: Notes, archive: Frames, index: Frames, files: Files) -> None:
        self._flow, self._walk, self._notes, self._archive, self._index = flow, walk, notes, archive, index
        self.members = Members(archive, index, notes, files)

    def run(self, archives: Sequence[str]) -> None:
        self.members.number = len(archives) - 1
        self._index.write(first_line(archives))
        for found in self._walk:
            self._flow.check()
            self.members.add(found)
        self._archive.write(tar.END)
        self._archive.close()
        notes = sum(noted.count for noted in self._notes.noted.values())
        self._index.write(last_line(members=self.members.written, notes=notes, tar_size=self._archive.written))
        self._index.close()


def _store(sealed: SealedObject, sink: Sink) -> None:
    sink(sealed.chunks())
    if not sealed.complete.is_set():
        raise Internal("a store took an object without reading it to its end; nothing was published. This is a defect: please report it.")
