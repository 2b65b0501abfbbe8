"""Cuts a plain stream into frames: one side fills buffers, threads compress them, the other side takes the frames in order."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from concurrent.futures import Future

from iot_backup.errors import InvalidSpec
from iot_backup.worker import compression
from iot_backup.worker.compression import FRAME_SIZE, FramePool, seek_table
from iot_backup.worker.flow import Channel, Flow


class Frames:
    """The plain side has one user, the stored side another. Memory is bounded by the number of buffers.

    A writer that knows how much comes next may fill `view` from `pos` itself, if it calls `flush` when the buffer is full.
    """

    def __init__(self, flow: Flow, pool: FramePool, size: int = FRAME_SIZE, buffers: int = 4, *, seekable: bool = False) -> None:
        """`size`: plain bytes of a frame at most; `buffers` of that size are filled, compressed or waiting at any time.

        `seekable`: a table of all frames follows the last one, from which a reader finds any of them.
        """
        self._flow, self._pool = flow, pool
        self.size = size
        self._empty: Channel[bytearray] = Channel(flow)
        for _ in range(buffers - 1):
            self._empty.put(bytearray(size))
        self._stored: Channel[tuple[Future[bytes], bytearray, int] | None] = Channel(flow, buffers)
        self._buffer = bytearray(size)
        self.view = memoryview(self._buffer)
        self.pos = 0
        self._flushed = 0
        self._sizes = array("I") if seekable else None

    @property
    def written(self) -> int:
        """Plain bytes so far."""
        return self._flushed + self.pos

    def check(self) -> None:
        """Raises what ended the pipeline; for who works long without writing."""
        self._flow.check()

    def write(self, data: bytes | bytearray) -> None:
        """Append, over as many frames as it takes."""
        end = self.pos + len(data)
        if end <= self.size:
            self.view[self.pos : end] = data
            self.pos = end
            return
        done = 0
        while done < len(data):
            if self.pos == self.size:
                self.flush()
            count = min(len(data) - done, self.size - self.pos)
            self.view[self.pos : self.pos + count] = data[done : done + count]
            self.pos += count
            done += count

    def flush(self) -> None:
        """End the frame here and begin the next. Raises what ended the pipeline."""
        if not self.pos:
            return
        self._stored.put((self._pool.submit(self.view[: self.pos]), self._buffer, self.pos))
        self._flushed += self.pos
        self._buffer = self._empty.get()
        self.view, self.pos = memoryview(self._buffer), 0

    def close(self) -> None:
        """Nothing more comes."""
        self.flush()
        self._stored.put(None)

    @staticmethod
    def _check_table(sizes: array[int]) -> None:
        if 4 * len(sizes) > compression.MAX_TABLE - compression.FRAME_OF_TABLE:
            raise InvalidSpec(
                f"the archive would have more than {len(sizes) // 2 - 1} frames, which no restore of ours reads back: the source is too large "
                "for one archive. Back it up in parts, by path or include."
            )

    def stored(self) -> Iterator[bytes]:
        """The frames' stored bytes, in order."""
        while (item := self._stored.get()) is not None:
            future, buffer, plain_size = item
            frame = self._flow.wait(future)
            self._empty.put(buffer)
            if self._sizes is not None:
                self._sizes.extend((len(frame), plain_size))
                self._check_table(self._sizes)
            yield frame
        if self._sizes is not None:
            yield seek_table(self._sizes)
