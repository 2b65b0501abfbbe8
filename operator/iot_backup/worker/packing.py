"""The write pipeline: walk -> tar -> zstd frames -> sealed, hashed streams of archive and index, side by side.

    walker thread        finds, reads and hashes files; fills the frames of archive, index and state
    compression threads  (two)
    calling thread       seals and hashes the archive, inside the iterator that the store consumes
    index, state threads the same for the index and the state

Memory does not grow with the source, apart from hard links whose other names are still to come and the names of one folder. The first error anywhere, or a stop, ends all of it.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from iot_backup.crypto.container import Sealer
from iot_backup.errors import Internal
from iot_backup.worker import tar
from iot_backup.worker.changes import Changes
from iot_backup.worker.compression import FramePool
from iot_backup.worker.contents import Files
from iot_backup.worker.deltas import Tag
from iot_backup.worker.earlier import Earlier
from iot_backup.worker.flow import Flow, Stop
from iot_backup.worker.frames import Frames
from iot_backup.worker.members import Counts, Members
from iot_backup.worker.notes import DAMAGED, INCOMPLETE, UNREADABLE, Noted, Notes
from iot_backup.worker.progress import Done, Progress
from iot_backup.worker.rows import Rows
from iot_backup.worker.sealing import SealedObject, Stored
from iot_backup.worker.selection import EVERYTHING, Selection
from iot_backup.worker.spared import Folders
from iot_backup.worker.walk import Walk

Sink = Callable[[Iterator[bytes]], None]
"""Stores one object: iterates the chunks to their end, and returns when they are durable."""

_INDEX_FRAME = 1 << 20
"""Plain bytes: some 4000 rows."""
_INDEX_BUFFERS = 3
_INDEX_LEVEL = 1
"""Of rows, half of which are digits of hashes and times, 1 leaves a tenth less than 3, and takes less time."""
_UNCHECKED = 32
"""Paths that a walk along a base passes without asking whether the run goes on: of those that are as they were nothing is read."""
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
    state: Stored | None
    """None where no state was asked for."""
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
    spared: Folders = frozenset(),
    state: Destination | None = None,
    base: Earlier | None = None,
    tag: Tag | None = None,
    files: Files | None = None,
    progress: Progress | None = None,
) -> Packed:
    """Back up the folder behind the descriptor `source`, which stays the caller's.

    `archives`: ids of the chain's backups whose archives the index refers to, this one's last. `level`: of zstd, None = frames are left as
    they are. `selection`, `one_file_system`, `spared`: as for Walk. `state`: where the rows go that the next backup compares with. `base`: those
    of an earlier backup, whose `archives` come before this one's; without it everything is stored. `tag`: tells blocks of large files apart; without it these are stored whole. The archive's sink runs on the
    calling thread, the others' each on one of its own, all at once. Raises what a sink raised, Cancelled, StateUnreadable, and
    AccessDenied or SourceUnavailable for the source's root; nothing else of the source raises, it is in `notes`.
    """
    flow = Flow(stop)
    snapshot_time_ns = time.clock_gettime_ns(_COARSE_CLOCK)
    with FramePool(level) as pool, FramePool(_INDEX_LEVEL, threads=1) as lines_pool:
        archive_frames = Frames(flow, pool, seekable=level is not None)
        index_frames = Frames(flow, lines_pool, _INDEX_FRAME, _INDEX_BUFFERS)
        state_frames = Frames(flow, lines_pool, _INDEX_FRAME, _INDEX_BUFFERS) if state else None
        sealed_archive, sealed_index = SealedObject(archive_frames, archive.sealer), SealedObject(index_frames, index.sealer)
        sealed_state = SealedObject(state_frames, state.sealer) if state and state_frames else None
        rows = Rows(index_frames, state_frames)
        notes = Notes(rows.note)
        members = Members(archive_frames, rows, notes, files or Files(), len(archives) - 1, tag)
        # Of what a base has, or a selection leaves out, most is not read: asking for it would fill the page cache with it.
        listed = {} if base or selection else {"listed": members.prefetch.folder}
        walk = Walk(source, notes, selection, one_file_system=one_file_system, spared=spared, **listed)
        changes = Changes(base, members, archive_frames, snapshot_time_ns) if base else None

        def write() -> None:
            rows.begin(archives, snapshot_time_ns)
            try:
                _write(flow, walk, members, changes)
            finally:
                members.prefetch.close()
            archive_frames.write(tar.END)
            archive_frames.close()
            rows.end(archive_frames.written)

        if progress is not None:
            progress.follow(lambda: _done(members.counts, sealed_archive))
        walker = flow.run("walk", write)
        beside = [flow.run("index", lambda: _store(sealed_index, index.sink))]
        if state and sealed_state:
            beside.append(flow.run("state", partial(_store, sealed_state, state.sink)))
        try:
            _store(sealed_archive, archive.sink)
        except BaseException as error:  # noqa: BLE001 - join raises what came first: this, or its cause in another stage
            flow.fail(error)
        # Also after a failure: who cleans up must know that nothing lands any more. A store has time limits of its own.
        for thread in beside:
            thread.join()
        flow.join(walker)
    root = os.fstat(source)
    return Packed(
        archive=sealed_archive.stored(),
        index=sealed_index.stored(),
        state=sealed_state.stored() if sealed_state else None,
        counts=members.counts,
        notes=notes.noted,
        tar_size=archive_frames.written,
        root_uid=root.st_uid,
        root_gid=root.st_gid,
        snapshot_time_ns=snapshot_time_ns,
        running_postgresql=walk.running_postgresql,
    )


def _done(counts: Counts, archive: SealedObject) -> Done:
    return Done(counts.files + counts.hard_links, counts.source_bytes, archive.size)


def _write(flow: Flow, walk: Walk, members: Members, changes: Changes | None) -> None:
    """All that the walk finds, and with a base what is gone."""
    if changes is None:
        for found in walk:
            flow.check()
            members.add(found)
        return
    for count, found in enumerate(walk):
        if not count % _UNCHECKED:
            flow.check()
        changes.add(found)
    changes.finish()


def _store(sealed: SealedObject, sink: Sink) -> None:
    sink(sealed.chunks())
    if not sealed.complete.is_set():
        raise Internal("a store took an object without reading it to its end; nothing was published. This is a defect: please report it.")
