"""Rows in their order, while threads load the frames that rows further on will need.

Along the rows positions in an archive only grow, so each archive is read forwards, and each frame once; a frame that was not
foreseen, or that nobody expected again, is loaded when it is asked for. Memory is bounded by the window of frames ahead and by
one frame for each archive, of which no more than _KEPT bytes are kept: what an index says decides the speed alone.
"""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

from iot_backup.errors import CorruptData
from iot_backup.worker import tar
from iot_backup.worker.archive import Archive
from iot_backup.worker.compression import FRAME_SIZE
from iot_backup.worker.flow import Channel, Flow
from iot_backup.worker.index import FILE, HOLE, SUPERSEDED, Row

_WINDOW = 16 << 20
"""Plain bytes loaded or asked for ahead of the row that is being written; asked for anew when half of it is used up. Less, or none,
while rows are passed over."""
_RANGE = 4 << 20
"""Stored bytes of one read at most: enough that a round trip of 20 ms does not count."""
_THREADS = 2
"""Each fetches, decrypts and decompresses: enough for two cores, and for a store's next range to be under way meanwhile."""
_ROWS = 2048
"""Rows read ahead at most: a megabyte or two."""
_KEPT = 64 << 20
"""Plain bytes of frames that stay for the next rows: the rows of a chain of 30 may need a frame of each archive in turn."""
_ZEROS = bytes(1 << 20)


@dataclass(frozen=True)
class _Load:
    """Consecutive frames of one archive, read at once."""

    archive: int
    first: int
    count: int
    row: int
    """Ordinal of the row that first needs the last of them: once it has gone by, what nobody took is not needed."""
    frames: Future[list[bytes]]


class Ahead:
    """The rows, to be iterated once; `content` of the row at hand, or an earlier one."""

    def __init__(self, flow: Flow, archives: Sequence[Archive | None], rows: Iterable[Row]) -> None:
        """`archives` by their numbers in the index; None for one that no row needs."""
        self._flow, self._archives = flow, archives
        self._needs = self._look(iter(rows))
        self._rows: deque[Row] = deque()
        self._taken = self._seen = 0
        self._ended = False
        self._loads: deque[_Load] = deque()
        self._coming: dict[tuple[int, int], _Load] = {}
        self._ahead, self._window = 0, _WINDOW
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._kept_size = 0
        self._current: list[tuple[int, int, memoryview] | None] = [None] * len(archives)
        self._tasks: Channel[_Load | None] = Channel(flow)
        self._threads = [flow.run("load", self._work) for _ in range(_THREADS)]

    def __iter__(self) -> Iterator[Row]:
        while self._rows or not self._ended:
            if len(self._rows) <= _ROWS // 2:
                self._fill(for_row=True)
            if self._rows:
                self._taken += 1
                yield self._rows.popleft()

    def close(self) -> None:
        """Let the threads end; whoever failed has told the flow before."""
        for _ in self._threads:
            self._tasks.put(None)

    @property
    def threads(self) -> list[threading.Thread]:
        return self._threads

    def content(self, row: Row) -> Iterator[tuple[memoryview, bool]]:
        """A file's bytes in order, each piece with whether it is stored: a hole's zeros are not. CorruptData.

        Where the headers before the content must be those that the row makes, they are compared.
        """
        if row.parts:
            for part in row.parts:
                if part.archive == HOLE:
                    yield from self._zeros(part.length)
                else:
                    for piece in self.pieces(*part):
                        yield piece, True
            return
        head = row.head
        if not head:
            expected = tar.header(row)
            head = len(expected)
            self._expect(row, expected)
        for piece in self.pieces(row.archive, row.offset + head, row.size):
            yield piece, True

    def pieces(self, number: int, position: int, length: int) -> Iterator[memoryview]:
        """`length` bytes from a position of an archive's tar stream."""
        while length:
            current = self._current[number]
            if current is None or not current[0] <= position < current[1]:
                current = self._frame(number, position)
            piece = current[2][position - current[0] : position - current[0] + length]
            yield piece
            position += len(piece)
            length -= len(piece)

    def _expect(self, row: Row, wanted: bytes) -> None:
        pieces = [*self.pieces(row.archive, row.offset, len(wanted))]
        if (pieces[0] if len(pieces) == 1 else b"".join(pieces)) != wanted:
            raise CorruptData(f"archive and index do not agree at {row.path!r}: one of them was damaged or replaced")

    def _zeros(self, length: int) -> Iterator[tuple[memoryview, bool]]:
        while length:
            self._flow.check()
            piece = memoryview(_ZEROS)[:length]
            yield piece, False
            length -= len(piece)

    def _frame(self, number: int, position: int) -> tuple[int, int, memoryview]:
        """The frame that holds the position, as what is current of its archive: begin, end, bytes."""
        archive = self._opened(number)
        frame = archive.frame_at(position)
        key = (number, frame)
        if (data := self._kept.get(key)) is not None:
            self._kept.move_to_end(key)
        else:
            data = self._loaded(key)
            self._forget(number, frame)
            self._kept[key] = data
            self._kept_size += len(data)
        current = (archive.begin(frame), archive.begin(frame + 1), memoryview(data))
        self._current[number] = current
        return current

    def _loaded(self, key: tuple[int, int]) -> bytes:
        self._flow.check()
        load = self._coming.pop(key, None)
        if load is None:
            load = self._submit(*key, 1)
        else:
            self._ahead -= self._size(*key)
        data = self._taken_from(load, key)
        self._window = min(_WINDOW, 2 * max(self._window, FRAME_SIZE))
        if self._ahead <= self._window // 2:
            self._fill()
        return data

    def _taken_from(self, load: _Load, key: tuple[int, int]) -> bytes:
        """The frame out of what was loaded. One that only came with a damaged one is loaded alone."""
        try:
            frames = self._flow.wait(load.frames)
        except CorruptData:
            if load.count == 1:
                raise
            load = self._submit(*key, 1)
            frames = self._flow.wait(load.frames)
        place = key[1] - load.first
        data, frames[place] = frames[place], b""
        return data

    def _forget(self, number: int, frame: int) -> None:
        """Make room for a frame: those before it in its archive are not needed any more, and no more are kept than we may."""
        for key in [key for key in self._kept if key[0] == number and key[1] < frame]:
            self._drop_kept(key)
        while self._kept_size > _KEPT - FRAME_SIZE:
            self._drop_kept(next(iter(self._kept)))

    def _drop_kept(self, key: tuple[int, int]) -> None:
        self._kept_size -= len(self._kept.pop(key))
        current = self._current[key[0]]
        if current is not None and current[0] == self._opened(key[0]).begin(key[1]):
            self._current[key[0]] = None

    def _fill(self, *, for_row: bool = False) -> None:
        """Read rows and ask for their frames, as far as the window goes; beyond it only `for_row`, to have a row at all."""
        while self._loads and self._loads[0].row < self._taken:
            self._drop(self._loads.popleft())
        run: tuple[int, int, int] | None = None
        while not self._ended and ((self._ahead < self._window and len(self._rows) < _ROWS) or (for_row and not self._rows)):
            need = next(self._needs, None)
            if need is None:
                self._ended = True
                break
            number, frame = need
            if number < 0 or self._ahead >= self._window:
                continue
            if run is not None and not self._extends(run, number, frame):
                self._submit_ahead(*run)
                run = None
            run = (number, frame, 1) if run is None else (number, run[1], run[2] + 1)
            self._ahead += self._size(number, frame)
        if run is not None:
            self._submit_ahead(*run)

    def _extends(self, run: tuple[int, int, int], number: int, frame: int) -> bool:
        if run[0] != number or run[1] + run[2] != frame:
            return False
        archive = self._opened(number)
        return sum(archive.stored_size(n) for n in range(run[1], frame + 1)) <= _RANGE

    def _submit_ahead(self, number: int, first: int, count: int) -> None:
        load = self._submit(number, first, count)
        self._loads.append(load)
        for frame in range(first, first + count):
            self._coming[number, frame] = load

    def _submit(self, number: int, first: int, count: int) -> _Load:
        load = _Load(number, first, count, self._seen, Future())
        self._tasks.put(load)
        return load

    def _drop(self, load: _Load) -> None:
        """Forget frames that nobody took, since their rows stay as they are in the target, and foresee less: that may go on so."""
        dropped = False
        for frame in range(load.first, load.first + load.count):
            if self._coming.get((load.archive, frame)) is load:
                del self._coming[load.archive, frame]
                self._ahead -= self._size(load.archive, frame)
                dropped = True
        if dropped:
            self._window = self._window // 2 if self._window > FRAME_SIZE else 0

    def _size(self, number: int, frame: int) -> int:
        archive = self._opened(number)
        return archive.begin(frame + 1) - archive.begin(frame)

    def _look(self, rows: Iterator[Row]) -> Iterator[tuple[int, int]]:
        """Put each row in line; yields the frames it needs that no row before did, and (-1, 0) for a row that needs none."""
        until = [0] * len(self._archives)
        for row in rows:
            self._rows.append(row)
            self._seen += 1
            yield -1, 0
            for number, begin, end in spans(row):
                if end <= until[number]:
                    continue
                archive = self._opened(number)
                position = max(begin, until[number])
                while position < min(end, archive.size):
                    frame = archive.frame_at(position)
                    yield number, frame
                    position = until[number] = archive.begin(frame + 1)

    def _opened(self, number: int) -> Archive:
        archive = self._archives[number]
        if archive is None:
            raise CorruptData("the index refers to an archive that it does not name: it was changed")
        return archive

    def _work(self) -> None:
        while (load := self._tasks.get()) is not None:
            try:
                load.frames.set_result(self._opened(load.archive).load(load.first, load.count))
            except BaseException as error:  # noqa: BLE001 - raised again where the frame is waited for
                load.frames.set_exception(error)


def spans(row: Row) -> list[tuple[int, int, int]]:
    """Where a row's headers and content are: archive, begin, end. Long headers reach further; what is missing is loaded when asked for."""
    if row.kind != FILE or row.state == SUPERSEDED:
        return []
    if row.parts:
        return [(number, position, position + length) for number, position, length in row.parts if number != HOLE]
    if row.head:
        return [(row.archive, row.offset + row.head, row.offset + row.head + row.size)] if row.size else []
    return [(row.archive, row.offset, row.offset + tar.BLOCK + row.size)]
