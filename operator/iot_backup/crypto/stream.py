"""STREAM of age: 64 KiB chunks under the container's cipher, a counter in each nonce, a flag in the last one's."""

from __future__ import annotations

import struct

from cryptography.exceptions import InvalidTag

from iot_backup.crypto.age_header import derived
from iot_backup.crypto.cipher import Aead, Cipher
from iot_backup.errors import CorruptData

CHUNK = 65536
"""Plaintext bytes of every chunk but the last."""
TAG = 16
SEALED = CHUNK + TAG
NONCE = 16
"""Bytes between header and first chunk: the salt of the payload's key."""
_nonce = struct.Struct(">3xQ?").pack
"""Eleven bytes of counter, of which eight are ever used, and the flag."""


def payload_key(file_key: bytes, nonce: bytes, cipher: Cipher) -> Aead:
    return cipher.key(derived(file_key, nonce, b"payload"))


class ChunkSealer:
    """Cuts a stream into sealed chunks. It holds at most one chunk back, since only the end tells which is the last."""

    def __init__(self, key: Aead) -> None:
        self._key = key
        self._counter = 0
        self._held = bytearray()
        self._finished = False

    @staticmethod
    def room(size: int) -> int:
        """The most bytes that `feed` writes for `size` bytes of data."""
        return (size // CHUNK + 1) * SEALED

    def feed(self, data: bytes | bytearray | memoryview, out: bytearray | memoryview, pos: int) -> int:
        """Seal whole chunks of `data` into `out` from `pos`; the position behind them. `out` must have `room(len(data))` from there."""
        if self._finished:
            raise ValueError("feed after finish")
        view, target = memoryview(data), memoryview(out)
        size, at = len(view), 0
        if self._held:
            at = min(CHUNK - len(self._held), size)
            self._held += view[:at]
            if at == size:
                return pos
            pos = self._seal(self._held, target, pos)
            self._held = bytearray()
        while size - at > CHUNK:
            pos = self._seal(view[at : at + CHUNK], target, pos)
            at += CHUNK
        self._held += view[at:]
        return pos

    def finish(self) -> bytes:
        """The last chunk. It must be written behind everything else, once."""
        if self._finished:
            raise ValueError("finish was called twice")
        self._finished = True
        return self._key.encrypt(_nonce(self._counter, True), bytes(self._held), None)

    def _seal(self, chunk: bytearray | memoryview, target: memoryview, pos: int) -> int:
        self._key.encrypt_into(_nonce(self._counter, False), chunk, None, target[pos : pos + SEALED])
        self._counter += 1
        return pos + SEALED


class ChunkOpener:
    """Opens chunks in order."""

    def __init__(self, key: Aead) -> None:
        self._key = key
        self._counter = 0

    def open(self, chunk: memoryview, target: memoryview, *, last: bool) -> int:
        """Plaintext into `target`; its size. CorruptData tells a cut, an appended and a changed stream apart."""
        size = open_chunk(self._key, self._counter, chunk, target, last=last)
        self._counter += 1
        return size


def open_chunk(key: Aead, counter: int, chunk: memoryview, target: memoryview, *, last: bool) -> int:
    """Plaintext of the chunk of that number into `target`; its size. CorruptData."""
    size = len(chunk) - TAG
    if size < 0:
        raise CorruptData("the encrypted stream was cut off within a chunk")
    try:
        key.decrypt_into(_nonce(counter, last), chunk, None, target[:size])
    except InvalidTag as error:
        raise CorruptData(_why(key, counter, bytes(chunk), last=last)) from error
    if last and size == 0 and counter:
        raise CorruptData("the encrypted stream ends with an empty chunk, which no writer makes")
    return size


def _why(key: Aead, counter: int, chunk: bytes, *, last: bool) -> str:
    where = f"chunk {counter} (from byte {counter * CHUNK} of the content)"
    try:
        key.decrypt(_nonce(counter, not last), chunk, None)
    except InvalidTag:
        return f"the encrypted stream is damaged in {where}"
    return f"the encrypted stream is cut off after {where}" if last else f"something was appended to the encrypted stream after {where}"
