from __future__ import annotations

import pytest

from iot_backup.crypto import passphrase


@pytest.fixture(autouse=True)
def _cheap_scrypt(monkeypatch: pytest.MonkeyPatch) -> None:
    """The protocol is on trial here, not scrypt: 1 MiB and no child process."""
    import hashlib

    def cheap(text: bytes, salt: bytes, log_n: int) -> bytes:
        return hashlib.sha256(text + b"\0" + salt + bytes([log_n])).digest()

    monkeypatch.setattr(passphrase, "_scrypt", cheap)
