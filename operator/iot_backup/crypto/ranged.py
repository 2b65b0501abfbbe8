"""Pieces out of the middle of one stored object: only the chunks they lie in are fetched, and each is authenticated by itself."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from threading import Lock

from iot_backup.crypto import cipher as ciphers
from iot_backup.crypto import container
from iot_backup.crypto.age import Unwrapper, opened_header
from iot_backup.crypto.cipher import Aead
from iot_backup.crypto.stream import CHUNK, SEALED, TAG, open_chunk
from iot_backup.errors import CorruptData, StorageUnavailable

_SHARED = 4
"""Last chunks of reads that are kept for the reads behind them: as many as are under way beside each other, and a few more."""

Fetch = Callable[[int, int], bytes]
"""`length` bytes from `start` of the stored object."""


class RangedReader:
    """The content of an archive or index, in any order. Reads may come from several threads at once, if `fetch` allows it.

    The manifest signs the object's size and header: with these two given, every byte that `read` returns is the one that was
    written at its place of this very file. That bytes which are not read are whole, only their SHA-256 or reading them tells.
    """

    size: int
    """Bytes of plain content."""

    def __init__(self, fetch: Fetch, size: int, cipher: str, key: Unwrapper | None, header_sha256: str) -> None:
        """Reads and checks the header. `size` (of the stored object), `cipher` and `header_sha256` are the signed ones.

        KeyMissing, WrongKey; CorruptData if the object begins otherwise, or cannot have that size. What `fetch` raises.
        """
        self._fetch = fetch
        self._stored = size
        self._lock = Lock()
        self._shared: OrderedDict[int, Future[bytes | None]] = OrderedDict()
        self._key: Aead | None = None
        self._begin = self._count = 0
        self.size = size
        if cipher == "None":
            container.check_plain(header_sha256)
            return
        opened = opened_header(self._pull(), container.present(key), ciphers.named(cipher), header_sha256)
        self._key, self._begin = opened.key, len(opened.header)
        self._count, self.size = _measured(size - self._begin)

    def read(self, start: int, length: int) -> bytes:
        """`length` bytes of content from `start`, fewer only where it ends. One fetch, of the chunks that these bytes are in.

        The chunk that the read before it ended in is taken from there, once, also while that read is still under way.

        CorruptData: the object is shorter than signed, or a chunk is not the one written there. StorageUnavailable.
        """
        if start < 0 or length < 0:
            raise ValueError("a range begins within the content and has no negative length")
        end = min(start + length, self.size)
        if start >= end:
            return b""
        if self._key is None:
            return self._fetched(start, end - start)
        return self._opened(self._key, start, end)

    def _opened(self, key: Aead, start: int, end: int) -> bytes:
        first, last = start // CHUNK, (end - 1) // CHUNK
        with self._lock:
            before = self._shared.pop(first, None)
        begin = first if before is None else first + 1
        if begin > last:
            plain = self._taken(key, before, first)
        else:
            plain = self._run(key, begin, last)
            if before is not None:
                plain = self._taken(key, before, first) + plain
        return bytes(memoryview(plain)[start - first * CHUNK : end - first * CHUNK])

    def _taken(self, key: Aead, before: Future[bytes | None] | None, number: int) -> bytearray:
        """The chunk that another read opens; fetched after all if that read failed, whose error is its own."""
        data = before.result() if before is not None else None
        return self._chunks(key, number, number) if data is None else bytearray(data)

    def _run(self, key: Aead, first: int, last: int) -> bytearray:
        """Consecutive chunks, the last of them also for the read that goes on there. Nobody is waited for before it is there or missing."""
        shared: Future[bytes | None] = Future()
        with self._lock:
            self._shared[last] = shared
            while len(self._shared) > _SHARED:
                self._shared.popitem(last=False)
        try:
            plain = self._chunks(key, first, last)
        except BaseException:
            with self._lock:
                if self._shared.get(last) is shared:
                    del self._shared[last]
            shared.set_result(None)
            raise
        shared.set_result(bytes(memoryview(plain)[(last - first) * CHUNK :]))
        return plain

    def _chunks(self, key: Aead, first: int, last: int) -> bytearray:
        at = self._begin + first * SEALED
        sealed = memoryview(self._fetched(at, min((last + 1 - first) * SEALED, self._stored - at)))
        content = bytearray(min((last + 1) * CHUNK, self.size) - first * CHUNK)
        plain = memoryview(content)
        for number in range(first, last + 1):
            place = number - first
            chunk = sealed[place * SEALED : (place + 1) * SEALED]
            open_chunk(key, number, chunk, plain[place * CHUNK :], last=number == self._count - 1)
        return content

    def _fetched(self, start: int, length: int) -> bytes:
        """Exactly these bytes of the object."""
        data = self._fetch(start, length)
        if len(data) < length:
            raise CorruptData(
                f"the archive ends after {start + len(data)} of the {self._stored} bytes that its manifest signs: it was cut off"
            )
        if len(data) > length:
            raise StorageUnavailable(f"the store gave {len(data)} bytes where {length} were asked for: it does not keep to ranges")
        return data

    def _pull(self) -> Callable[[int], bytes]:
        """The object from its beginning, for the header."""
        position = 0

        def read(size: int) -> bytes:
            nonlocal position
            piece = self._fetched(position, wanted) if (wanted := min(size, self._stored - position)) > 0 else b""
            position += len(piece)
            return piece

        return read


def _measured(payload: int) -> tuple[int, int]:
    """Number of chunks and bytes of content of a payload of that many bytes. CorruptData where no writer makes one."""
    count = -(-payload // SEALED)
    last = payload - (count - 1) * SEALED
    if count < 1 or last < TAG or (last == TAG and count > 1):
        raise CorruptData(f"no encrypted stream has {payload} bytes: the archive was cut off, or something was appended")
    return count, payload - count * TAG
