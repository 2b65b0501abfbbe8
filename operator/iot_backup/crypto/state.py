"""The container of a state: what one writer leaves for his own next backup. Nobody else can read it, nor put one of his own in its place.

A line that names the format, 32 bytes of salt, then age's STREAM under a key of the writer's. That key is bound to the repository and
to the backup by its label: the state of one backup never opens as another's.
"""

from __future__ import annotations

import hashlib
import hmac

from iot_backup.crypto.age import Read, StreamReader, at_least
from iot_backup.crypto.age_header import derived
from iot_backup.crypto.cipher import AGE, Aead
from iot_backup.crypto.signing import WriterKey
from iot_backup.crypto.stream import ChunkSealer
from iot_backup.errors import CorruptData, Internal

INTRO = b"iot-backup-operator/state/v1\n"
SALT = 32
"""Bytes."""
_LABEL = "iot-backup-operator/v1/state"


class StateSealer:
    """A `container.Sealer` of one state."""

    def __init__(self, writer: WriterKey, repository_id: str, backup_id: str, salt: bytes) -> None:
        """`salt`: SALT fresh random bytes."""
        if len(salt) != SALT:
            raise Internal(f"a state's salt has {SALT} bytes, not {len(salt)}")
        self.header = INTRO + salt
        self.header_sha256 = hashlib.sha256(self.header).hexdigest()
        self._chunks = ChunkSealer(_key(writer, repository_id, backup_id, salt))

    def room(self, size: int) -> int:
        return self._chunks.room(size)

    def feed(self, data: bytes | bytearray | memoryview, out: bytearray | memoryview, pos: int) -> int:
        return self._chunks.feed(data, out, pos)

    def finish(self) -> bytes:
        return self._chunks.finish()


class StateReader(StreamReader):
    """The content of a state, a `container.Opener`."""

    header_sha256: str
    """SHA-256 of the line and the salt, hex."""

    def __init__(self, read: Read, writer: WriterKey, repository_id: str, backup_id: str, header_sha256: str) -> None:
        """CorruptData if it does not begin with the bytes that its manifest signs. That the key is another one shows at the first read."""
        begin = at_least(read, b"", len(INTRO) + SALT)
        header, beyond = begin[: len(INTRO) + SALT], begin[len(INTRO) + SALT :]
        self.header_sha256 = hashlib.sha256(header).hexdigest()
        if not header.startswith(INTRO) or not hmac.compare_digest(header_sha256, self.header_sha256):
            raise CorruptData("the state does not begin with the bytes that its manifest signs: it was damaged or replaced")
        super().__init__(read, _key(writer, repository_id, backup_id, header[len(INTRO) :]), beyond)


def _key(writer: WriterKey, repository_id: str, backup_id: str, salt: bytes) -> Aead:
    return AGE.key(derived(writer.secret, salt, f"{_LABEL}/{repository_id}/{backup_id}".encode()))
