"""What a first backup would cost if it were nothing but its primitives.

    python -m tests.bench.primitives FOLDER OUT

Over all bytes of FOLDER's files, in buffers of 4 MiB, on one thread: read, SHA-256 of the content, zstd -1, ChaCha20-Poly1305 in chunks of 64 KiB,
SHA-256 of the ciphertext, and writing it to the file OUT with an fsync at the end. There is no walk in it and no cost of a file: a floor for large
files. Prints CPU seconds by primitive, as JSON; `WAITED` is what the fsync waited, on the wall.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

from tests.bench.bars import WAITED

BUFFER = 4 << 20
CHUNK = 64 << 10
TAG = 16


class Clock:
    """CPU seconds, added up by name."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    @contextmanager
    def of(self, name: str) -> Iterator[None]:
        begun = time.process_time()
        try:
            yield
        finally:
            self.spent[name] = self.spent.get(name, 0.0) + time.process_time() - begun


def measured(folder: Path, out: Path) -> dict[str, float]:
    """CPU seconds by primitive for all files below `folder`."""
    clock, buffer = Clock(), bytearray(BUFFER)
    compressor, cipher = zstandard.ZstdCompressor(level=1), _Cipher()
    content, stored = hashlib.sha256(), hashlib.sha256()
    target = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
            with path.open("rb", buffering=0) as file:
                while True:
                    with clock.of("read"):
                        size = file.readinto(buffer)
                    if not size:
                        break
                    data = memoryview(buffer)[:size]
                    with clock.of("content SHA-256"):
                        content.update(data)
                    with clock.of("zstd -1"):
                        frame = compressor.compress(data)
                    with clock.of("ChaCha20-Poly1305"):
                        sealed = cipher.seal(frame)
                    with clock.of("ciphertext SHA-256"):
                        stored.update(sealed)
                    with clock.of("write"):
                        _write(target, sealed)
        begun = time.perf_counter()
        with clock.of("fsync"):
            os.fsync(target)
        return {**clock.spent, WAITED: time.perf_counter() - begun}
    finally:
        os.close(target)


class _Cipher:
    """Chunks sealed one after the other into one buffer, which the next call uses again."""

    def __init__(self) -> None:
        self._aead, self._count, self._out = ChaCha20Poly1305(os.urandom(32)), 0, bytearray()

    def seal(self, data: bytes) -> memoryview:
        """The chunks with their tags; good until the next call."""
        view, at = memoryview(data), 0
        needed = len(data) + TAG * (-(-len(data) // CHUNK))
        if len(self._out) < needed:
            self._out = bytearray(needed)
        out = memoryview(self._out)
        for begin in range(0, len(data), CHUNK):
            chunk = view[begin : begin + CHUNK]
            self._count += 1
            self._aead.encrypt_into(self._count.to_bytes(12, "big"), chunk, None, out[at : at + len(chunk) + TAG])
            at += len(chunk) + TAG
        return out[:at]


def _write(target: int, data: memoryview) -> None:
    while data:
        data = data[os.write(target, data) :]


def main() -> None:
    print(json.dumps(measured(Path(sys.argv[1]), Path(sys.argv[2]))))


if __name__ == "__main__":
    main()
