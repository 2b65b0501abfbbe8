"""zstd, in both directions. The only importer of zstandard.

Each frame stands alone and carries its plain size, so that an archive can be read from any frame on, and compressed on
several threads. Stock `zstd -d` reads the frames as one stream.
"""

from __future__ import annotations

import io
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import IO, Protocol, Self, cast

import zstandard

from iot_backup.errors import CorruptData, Internal

FRAME_SIZE = 2 << 20
"""Plain bytes of a frame at most. Against one long stream it costs less than 1 % of the ratio; half of it would be too small
for that, twice as much costs 20 MB of memory."""
THREADS = 2
_TRIED_LEVELS = (1, 3)
"""Our defaults. Frames of other levels are read back before they count: libzstd once wrote wrong data at its highest level."""
_MAX_WINDOW = 8 << 20
"""What a reader allows a frame to ask for. Ours need FRAME_SIZE; a hostile one cannot make memory grow."""
_READ_SIZE = 512 << 10


class PlainSource(Protocol):
    """What decompression pulls from."""

    def read(self, size: int = -1, /) -> bytes: ...
    def readinto(self, buffer: bytearray | memoryview, /) -> int: ...


class FramePool:
    """Compresses frames on threads; results come as futures, which the caller keeps in order."""

    def __init__(self, level: int | None, threads: int = THREADS) -> None:
        """`level` 1-19, or None to leave frames as they are."""
        self._level = level
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="compress")
        self._local = threading.local()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._pool.shutdown(wait=kind is None, cancel_futures=True)

    def submit(self, plain: memoryview) -> Future[bytes]:
        """The frame's stored bytes. `plain` must stay as it is until then."""
        return self._pool.submit(self._compress, plain)

    def _compress(self, plain: memoryview) -> bytes:
        if self._level is None:
            return bytes(plain)
        if not hasattr(self._local, "compressor"):
            self._local.compressor = zstandard.ZstdCompressor(level=self._level, write_content_size=True)
        stored: bytes = self._local.compressor.compress(plain)
        if self._level not in _TRIED_LEVELS and zstandard.ZstdDecompressor().decompress(stored) != plain:
            raise Internal(f"zstd at level {self._level} wrote a frame that does not read back; choose level 1 or 3")
        return stored


class Decompressed(io.RawIOBase):
    """Plain bytes pulled through zstd: memory is bounded by window and buffers, whatever the ratio.

    CorruptData where the stored bytes are no zstd frames. A stream that is cut at its end reads as a short one: what it holds
    must say where it ends.
    """

    def __init__(self, source: PlainSource) -> None:
        self._reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).stream_reader(
            cast("IO[bytes]", source), read_size=_READ_SIZE, read_across_frames=True
        )

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override] # typeshed wants Buffer, which 3.11 has not
        try:
            return self._reader.readinto(buffer)
        except zstandard.ZstdError as error:
            raise CorruptData(f"the stored bytes cannot be decompressed ({error}): they were damaged or replaced") from error
