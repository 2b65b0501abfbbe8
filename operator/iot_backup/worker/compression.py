"""zstd, in both directions. The only importer of zstandard.

Each frame stands alone and carries its plain size, so that an archive can be read from any frame on, and compressed on
several threads. Stock `zstd -d` reads the frames as one stream.
"""

from __future__ import annotations

import io
import struct
import sys
import threading
from array import array
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


_SKIPPABLE = struct.Struct("<II")
"""Magic number and size of a frame that stock zstd passes over."""
_FOOTER = struct.Struct("<IBI")
"""Number of frames, descriptor (0: no checksums), magic number: the end of a seekable archive."""
FOOTER_SIZE = _FOOTER.size
FRAME_OF_TABLE = _SKIPPABLE.size + _FOOTER.size
"""Bytes of a seek table besides its entries."""
MAX_TABLE = 64 << 20
"""Bytes of a seek table at most: 8 million frames, an archive of 8 to 16 TB. A reader holds all of it in memory."""
_SKIPPABLE_MAGIC = 0x184D2A5E
_SEEKABLE_MAGIC = 0x8F92EAB1


class PlainSource(Protocol):
    """What decompression pulls from."""

    def read(self, size: int = -1, /) -> bytes: ...
    def readinto(self, buffer: bytearray | memoryview, /) -> int: ...


def seek_table(sizes: array[int]) -> bytes:
    """The seek table of zstd's seekable format, in a skippable frame. `sizes`: stored and plain bytes of each frame, in turn (u32)."""
    entries = _little_endian(sizes).tobytes()
    footer = _FOOTER.pack(len(sizes) // 2, 0, _SEEKABLE_MAGIC)
    return _SKIPPABLE.pack(_SKIPPABLE_MAGIC, len(entries) + len(footer)) + entries + footer


def table_size(footer: bytes) -> int:
    """Bytes of the whole seek table, by its last FOOTER_SIZE bytes. CorruptData if they are no such footer."""
    frames, descriptor, magic = _FOOTER.unpack(footer)
    if magic != _SEEKABLE_MAGIC or descriptor:
        raise CorruptData("the archive does not end with a table of its frames: it was damaged or replaced")
    return int(_SKIPPABLE.size + 8 * frames + _FOOTER.size)


def frame_sizes(table: bytes) -> array[int]:
    """Stored and plain bytes of each frame, in turn, from a whole seek table. CorruptData."""
    magic, size = _SKIPPABLE.unpack_from(table)
    if magic != _SKIPPABLE_MAGIC or size != len(table) - _SKIPPABLE.size or table_size(table[-FOOTER_SIZE:]) != len(table):
        raise CorruptData("the table of the archive's frames is malformed: it was damaged or replaced")
    sizes = array("I")
    sizes.frombytes(table[_SKIPPABLE.size : -FOOTER_SIZE])
    return _little_endian(sizes)


def _little_endian(sizes: array[int]) -> array[int]:
    if sys.byteorder == "big":
        sizes = sizes[:]
        sizes.byteswap()
    return sizes


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


def plain_frame(stored: bytes | memoryview, size: int) -> bytes:
    """The plain bytes of one whole frame, which are `size`. CorruptData, before anything unfolds, if the frame says otherwise."""
    try:
        parameters = zstandard.get_frame_parameters(stored)
        if parameters.content_size != size or parameters.window_size > _MAX_WINDOW:
            raise CorruptData(
                "a frame of the archive does not unfold to what the table of frames says: one of them was damaged or replaced"
            )
        plain = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW).decompress(stored, allow_extra_data=False)
    except zstandard.ZstdError as error:
        raise CorruptData(f"the stored bytes cannot be decompressed ({error}): they were damaged or replaced") from error
    if len(plain) != size:
        raise CorruptData("a frame of the archive has not the size that the table of frames says: one of them was damaged or replaced")
    return plain


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
