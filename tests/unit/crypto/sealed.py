"""Files of either cipher, as the pipeline seals them."""

from __future__ import annotations

from dataclasses import dataclass

from iot_backup.crypto.container import sealer
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.stream import SEALED

IDENTITY = Identity.generated()


@dataclass(frozen=True)
class File:
    """A container's bytes, and where its chunks begin."""

    data: bytes
    header: bytes
    header_sha256: str

    def with_chunks(self, *numbers: int) -> bytes:
        """The same header before these of its chunks."""
        return self.header + b"".join(self.chunk(number) for number in numbers)

    def chunk(self, number: int) -> bytes:
        begin = len(self.header) + number * SEALED
        return self.data[begin : begin + SEALED]


def sealed(content: bytes, cipher: str = "Age", identity: Identity = IDENTITY) -> File:
    made = sealer(None if cipher == "None" else identity.recipient, cipher)
    out = bytearray(made.room(len(content)))
    end = made.feed(content, out, 0)
    return File(made.header + bytes(out[:end]) + made.finish(), made.header, made.header_sha256)
