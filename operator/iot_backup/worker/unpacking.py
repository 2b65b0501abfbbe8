"""The read pipeline: opened archive and index -> decompressed -> members -> target.

The archive is opened and decompressed on a thread of its own; the calling thread reads the index, takes each row's member from
the archive and writes it. Headers are not parsed: each must be, byte for byte, the one that its row of the signed index makes.
Memory is bounded by the queue between the two, whatever the archive holds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from iot_backup.errors import CorruptData
from iot_backup.worker import tar
from iot_backup.worker.attributes import Attributes
from iot_backup.worker.compression import Decompressed, PlainSource
from iot_backup.worker.extract import Extracted, Extractor
from iot_backup.worker.flow import Channel, Flow, Stop
from iot_backup.worker.index import HOLE, Part
from iot_backup.worker.index_reader import IndexReader
from iot_backup.worker.room import check_room

_PIECE = 1 << 20
_PIECES_AHEAD = 4


@dataclass(frozen=True)
class Unpacked:
    """A restored tree, on disk."""

    written: Extracted
    refused: Attributes
    """Owners, modes and extended attributes that this user could not set."""
    notes: dict[str, int]
    """How many of each kind the backup had (`notes.NOTES`)."""


class ArchiveReader:
    """The tar stream, in pieces as they come."""

    def __init__(self, pieces: Channel[memoryview]) -> None:
        self._incoming = pieces
        self._current = memoryview(b"")
        self.taken = 0
        """Bytes so far."""

    def pieces(self, size: int) -> Iterator[memoryview]:
        """Exactly the next `size` bytes. CorruptData if there are fewer."""
        while size:
            if not self._current:
                self._current = self._incoming.get()
                if not self._current:
                    raise CorruptData("the archive ends before its index does: it was cut off")
            piece, self._current = self._current[:size], self._current[size:]
            size -= len(piece)
            self.taken += len(piece)
            yield piece

    def expect(self, wanted: bytes, what: bytes) -> None:
        """Take bytes that must be these."""
        size, current = len(wanted), self._current
        if len(current) >= size:  # nearly always, and three times as fast
            found, self._current = bytes(current[:size]), current[size:]
            self.taken += size
        else:
            found = b"".join(self.pieces(size))
        if found != wanted:
            raise CorruptData(f"archive and index do not agree at {what!r}: one of them was damaged or replaced")

    def expect_end(self) -> None:
        if self._current or self._incoming.get():
            raise CorruptData("the archive goes on behind its end: it was changed")


class WithHoles:
    """A sparse file's content, whose holes are nowhere stored."""

    def __init__(self, data: ArchiveReader, parts: tuple[Part, ...]) -> None:
        self._data, self._parts = data, parts

    def pieces(self, _size: int) -> Iterator[memoryview]:
        """All of it."""
        zeros = memoryview(bytes(_PIECE))
        for part in self._parts:
            if part.archive != HOLE:
                yield from self._data.pieces(part.length)
                continue
            left = part.length
            while left:
                yield zeros[:left]
                left -= min(left, _PIECE)


def unpack(
    archive: PlainSource,
    index: PlainSource,
    target: int,
    *,
    compressed: bool,
    content: int,
    entries: int,
    stop: Stop,
    devices: bool = False,
) -> Unpacked:
    """Restore everything into the folder behind the descriptor `target`, which stays the caller's.

    `archive` and `index` give the containers' contents (`crypto.container.opener`); their signatures and digests were verified before,
    and `repository.reading` makes sure that they still hold. `compressed`: the archive's frames are zstd's. `content`, `entries`: bytes
    and paths by the signed manifest. `devices`: make device nodes, too. What is in the target and not in the backup stays. Raises CorruptData, TargetFull, AccessDenied,
    SourceUnavailable, Cancelled; files in place by then are whole, and the restore can be run again.
    """
    check_room(target, content, entries)
    flow = Flow(stop)
    pieces: Channel[memoryview] = Channel(flow, _PIECES_AHEAD)
    thread = flow.run("unpack", lambda: _pull(archive, pieces, compressed=compressed))
    extractor = Extractor(target, devices=devices)
    rows = IndexReader(Decompressed(index))
    try:
        _extract(rows, ArchiveReader(pieces), extractor, flow)
    except BaseException as error:  # noqa: BLE001 - join raises what came first: this, or its cause in the other stage
        flow.fail(error)
    finally:
        extractor.close()
    flow.join(thread)
    return Unpacked(extractor.done, extractor.attributes, rows.notes)


def _pull(archive: PlainSource, pieces: Channel[memoryview], *, compressed: bool) -> None:
    source = Decompressed(archive) if compressed else archive
    while True:
        piece = bytearray(_PIECE)
        count = source.readinto(piece)
        pieces.put(memoryview(piece)[:count])
        if not count:
            return


def _extract(rows: IndexReader, archive: ArchiveReader, extractor: Extractor, flow: Flow) -> None:
    for row in rows:
        flow.check()
        if row.offset != archive.taken or row.archive != len(rows.archives) - 1:
            raise CorruptData(f"archive and index do not agree where {row.path!r} begins: one of them was damaged or replaced")
        archive.expect(tar.header(row), row.path)
        extractor.add(row, WithHoles(archive, row.parts) if row.parts else archive)
        if padding := tar.padding(tar.stored_size(row)):
            archive.expect(bytes(padding), row.path)
    archive.expect(tar.END, b"the end")
    archive.expect_end()
    if archive.taken != rows.tar_size:
        raise CorruptData("archive and index do not agree on the archive's size: one of them was damaged or replaced")
    extractor.finish()
