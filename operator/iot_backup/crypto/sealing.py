"""Small secrets in memory: key files, sealed to people's recipients or with a passphrase."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO

from iot_backup.crypto import x25519
from iot_backup.crypto.age import PlainReader, Unwrapper, sealed_with
from iot_backup.crypto.age_header import FILE_KEY
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.stream import ChunkSealer


def sealed_to(recipients: Sequence[str], content: bytes) -> bytes:
    """An age file that each of the recipients (age1...) opens alone. InvalidSpec if one is not usable."""
    file_key = os.urandom(FILE_KEY)
    return _filled(*sealed_with([x25519.wrapped(recipient, file_key) for recipient in recipients], file_key), content)


def sealed_by(passphrase: Passphrase, content: bytes) -> bytes:
    """An age file that the passphrase opens. Takes about a second."""
    file_key = os.urandom(FILE_KEY)
    return _filled(*sealed_with([passphrase.wrapped(file_key)], file_key), content)


def opened(sealed: bytes, key: Unwrapper) -> bytes:
    """The content of a small age file. WrongKey, CorruptData."""
    return PlainReader(BytesIO(sealed).read, key).read()


def _filled(header: bytes, chunks: ChunkSealer, content: bytes) -> bytes:
    out = bytearray(chunks.room(len(content)))
    end = chunks.feed(content, out, 0)
    return header + bytes(out[:end]) + chunks.finish()
