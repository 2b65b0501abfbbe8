"""Seals the frames of one object and tells what lies in the store afterwards: its size and its SHA-256."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass

from iot_backup.crypto.container import Sealer
from iot_backup.worker.frames import Frames

_CHUNK = 1 << 20
"""Stored bytes of a chunk at least, apart from the last: small frames are handed on together, large ones in parts."""


@dataclass(frozen=True)
class Stored:
    """One object as its store got it."""

    size: int
    """Bytes."""
    sha256: str
    """Hex, of all of them."""
    header_sha256: str
    """Hex, of the container's header and nonce."""


class SealedObject:
    """An object's bytes as a stream of chunks, to be iterated once by whoever stores it."""

    def __init__(self, frames: Frames, sealer: Sealer) -> None:
        self._frames, self._sealer = frames, sealer
        self._digest = hashlib.sha256()
        self._size = 0
        self.complete = threading.Event()
        """Set when the last chunk was taken."""

    @property
    def size(self) -> int:
        """Bytes handed out so far."""
        return self._size

    def stored(self) -> Stored:
        """What was handed out; final once `complete` is set."""
        return Stored(self._size, self._digest.hexdigest(), self._sealer.header_sha256)

    def chunks(self) -> Iterator[bytes]:
        """The object's bytes. Each chunk is the consumer's own. Raises what ended the pipeline."""
        out = bytearray(self._sealer.header)
        pos = len(out)
        for frame in self._frames.stored():
            view = memoryview(frame)
            for at in range(0, len(view), _CHUNK):
                part = view[at : at + _CHUNK]
                missing = pos + self._sealer.room(len(part)) - len(out)
                if missing > 0:
                    out.extend(bytes(missing))
                pos = self._sealer.feed(part, out, pos)
                if pos >= _CHUNK:
                    yield self._counted(bytes(memoryview(out)[:pos]))
                    pos = 0
        yield self._counted(bytes(memoryview(out)[:pos]) + self._sealer.finish())
        self.complete.set()

    def _counted(self, chunk: bytes) -> bytes:
        self._digest.update(chunk)
        self._size += len(chunk)
        return chunk
