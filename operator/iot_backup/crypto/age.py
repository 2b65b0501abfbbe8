"""age v1 files, written and read as streams in constant memory; `age -d` opens what is written here with its cipher.

`Encryptor` pushes, for the pipeline's hot path; `PlainReader` pulls. Both let the interpreter's lock go while they work.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from iot_backup.crypto import age_header, x25519
from iot_backup.crypto.age_header import FILE_KEY, MAX_HEADER, Stanza
from iot_backup.crypto.cipher import AGE, Aead, Cipher
from iot_backup.crypto.stream import CHUNK, NONCE, SEALED, ChunkOpener, ChunkSealer, payload_key
from iot_backup.errors import CorruptData, InvalidSpec

_BATCH = 16
"""Chunks opened at once: 1 MiB of plaintext in memory."""

Read = Callable[[int], bytes]
"""Pulls at most that many bytes, fewer at will, none only at the end."""


class Unwrapper(Protocol):
    """A key that may open a file."""

    def unwrap(self, stanzas: Sequence[Stanza]) -> bytes:
        """The file key. WrongKey if no stanza is for this key; CorruptData if one is malformed."""


class Encryptor:
    """Seals one stream to recipients. Write `header`, then what `feed` puts out, then `finish()`."""

    header: bytes
    """age header and payload nonce: everything before the first chunk."""
    header_sha256: str
    """Its SHA-256, hex: the manifest signs it."""

    def __init__(self, recipients: Sequence[str], cipher: Cipher = AGE) -> None:
        """InvalidSpec if there is no recipient, one is not usable, or there are too many."""
        file_key = os.urandom(FILE_KEY)
        header, self._chunks = sealed_with([x25519.wrapped(r, file_key) for r in recipients], file_key, cipher)
        self.header = header
        self.header_sha256 = hashlib.sha256(header).hexdigest()

    def room(self, size: int) -> int:
        """The most bytes that `feed` puts out for `size` bytes of data."""
        return self._chunks.room(size)

    def feed(self, data: bytes | bytearray | memoryview, out: bytearray | memoryview, pos: int) -> int:
        """Seal `data` into `out` from `pos`, where `room(len(data))` bytes must be; the position behind what was put out."""
        return self._chunks.feed(data, out, pos)

    def finish(self) -> bytes:
        """The last chunk, at most 64 KiB + 16."""
        return self._chunks.finish()


def sealed_with(stanzas: Sequence[Stanza], file_key: bytes, cipher: Cipher = AGE) -> tuple[bytes, ChunkSealer]:
    """The bytes before the first chunk, and what seals the chunks. A file key is used once."""
    if not stanzas:
        raise InvalidSpec("there is no recipient to encrypt to")
    nonce = os.urandom(NONCE)
    header = age_header.written(stanzas, file_key, cipher)
    if len(header) > MAX_HEADER:
        raise InvalidSpec(f"{len(stanzas)} recipients are too many: the header would have more than {MAX_HEADER} bytes")
    return header + nonce, ChunkSealer(payload_key(file_key, nonce, cipher))


@dataclass(frozen=True)
class Opened:
    """A file's beginning, read and checked."""

    header: bytes
    """Header and nonce: everything before the first chunk."""
    beyond: bytes
    """What was pulled behind it."""
    key: Aead
    """Opens the chunks."""


def opened_header(read: Read, key: Unwrapper, cipher: Cipher, header_sha256: str | None) -> Opened:
    """Pull the header, compare it with the signed hash if given, and open the file key.

    WrongKey if the key does not open this file; CorruptData if the header is damaged, of another cipher, or not the signed one.
    """
    header, rest = age_header.fetched(read, cipher)
    rest = at_least(read, rest, NONCE)
    begin, nonce = header + rest[:NONCE], rest[:NONCE]
    if header_sha256 is not None and not hmac.compare_digest(header_sha256, hashlib.sha256(begin).hexdigest()):
        raise CorruptData("the archive does not begin with the bytes that its manifest signs: it was damaged or replaced")
    parsed = age_header.parsed(header, cipher)
    file_key = key.unwrap(parsed.stanzas)
    parsed.check(file_key)
    return Opened(begin, rest[NONCE:], payload_key(file_key, nonce, cipher))


class StreamReader:
    """The content of a STREAM. Every byte it returns was authenticated; that nothing was cut off is known only when it returned b""."""

    def __init__(self, read: Read, key: Aead, beyond: bytes) -> None:
        """`beyond`: what was pulled already of the chunks, which `key` opens."""
        self._read = read
        self._sealed = bytearray(beyond)
        self._chunks = ChunkOpener(key)
        self._plain = memoryview(bytearray(_BATCH * CHUNK))
        self._from = self._to = 0
        self._ended = False
        self._failure: CorruptData | None = None

    def readinto(self, buffer: bytearray | memoryview) -> int:
        """Fill the buffer as far as content is at hand; 0 only at the authenticated end. CorruptData."""
        target = memoryview(buffer).cast("B")
        if not len(target) or not self._available():
            return 0
        size = min(len(target), self._to - self._from)
        target[:size] = self._plain[self._from : self._from + size]
        self._from += size
        return size

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes, b"" only at the authenticated end; all that is left if negative. CorruptData."""
        if size < 0:
            return b"".join(iter(lambda: self.read(CHUNK), b""))
        if not size or not self._available():
            return b""
        begin, self._from = self._from, min(self._to, self._from + size)
        return bytes(self._plain[begin : self._from])

    def _available(self) -> bool:
        if self._from == self._to and not self._ended and self._failure is None:
            try:
                self._refill()
            except CorruptData as error:
                self._failure = error  # the good chunks before it still count
        if self._from == self._to and self._failure is not None:
            raise self._failure
        return self._from < self._to

    def _refill(self) -> None:
        wanted = _BATCH * SEALED + 1
        at_end = False
        while len(self._sealed) < wanted and not at_end:
            piece = self._read(wanted - len(self._sealed))
            at_end = not piece
            self._sealed += piece
        self._from = self._to = 0
        sealed = memoryview(self._sealed)
        size = len(sealed) if at_end else _BATCH * SEALED
        # One byte beyond the batch proves that none of its chunks is the last.
        for at in range(0, size or 1, SEALED):
            last = at_end and at + SEALED >= size
            self._to += self._chunks.open(sealed[at : min(at + SEALED, size)], self._plain[self._to :], last=last)
        self._ended = at_end
        self._sealed = bytearray(sealed[size:])


class PlainReader(StreamReader):
    """The content of an age file."""

    header_sha256: str
    """SHA-256 of header and nonce, hex."""

    def __init__(self, read: Read, key: Unwrapper, cipher: Cipher = AGE, *, header_sha256: str | None = None) -> None:
        """Reads and checks the header. With `header_sha256`, CorruptData if the file begins with other bytes than the signed ones.

        WrongKey if the key does not open this file; CorruptData if the header is damaged, or the file is of another cipher.
        """
        opened = opened_header(read, key, cipher, header_sha256)
        self.header_sha256 = hashlib.sha256(opened.header).hexdigest()
        super().__init__(read, opened.key, opened.beyond)


def at_least(read: Read, data: bytes, size: int) -> bytes:
    """`data` and as much behind it that there are `size` bytes or more. CorruptData if there are fewer."""
    while len(data) < size:
        piece = read(4096)
        if not piece:
            raise CorruptData("the file ends within its header: it was cut off")
        data += piece
    return data
