"""What comes from the environment: credentials and keys, held in memory and never written anywhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from iot_backup.core.spec import SecretSource
from iot_backup.errors import KeyMissing, SecretMissing
from iot_backup.storage.secret_values import HeldSecrets

_VARIABLE = "environment variable"
_FILE = "file"
ACCESS_KEY = SecretSource(secret=_VARIABLE, key="AWS_ACCESS_KEY_ID")
SECRET_KEY = SecretSource(secret=_VARIABLE, key="AWS_SECRET_ACCESS_KEY")
CA = SecretSource(secret=_VARIABLE, key="AWS_CA_BUNDLE")
"""The variable names a file; its content is the value."""
AZURE_ACCOUNT = "AZURE_STORAGE_ACCOUNT"
AZURE_ENDPOINT = "AZURE_STORAGE_ENDPOINT"
AZURE_KEY = SecretSource(secret=_VARIABLE, key="AZURE_STORAGE_KEY")
AZURE_CA = SecretSource(secret=_VARIABLE, key="REQUESTS_CA_BUNDLE")
"""As Azure's own command line has it: the variable names a file; its content is the value."""
PASSPHRASE = SecretSource(secret=_VARIABLE, key="BACKUP_ENCRYPTION_KEY")
NEW_PASSPHRASE = SecretSource(secret=_VARIABLE, key="BACKUP_ENCRYPTION_KEY_NEW")
WRITER = SecretSource(secret=_FILE, key="writer.key")
IDENTITY = SecretSource(secret=_FILE, key="--identity")
STATE_DIR = "STATE_DIR"


def secrets(environ: Mapping[str, str], *, writer: bytes = b"", identity: Path | None = None) -> HeldSecrets:
    """Everything an order may name. SecretMissing for a file that cannot be read."""
    values = {source.key: os.fsencode(environ.get(source.key, "")) for source in (ACCESS_KEY, SECRET_KEY, AZURE_KEY, PASSPHRASE)}
    values[WRITER.key] = writer
    for source in (CA, AZURE_CA):
        if bundle := environ.get(source.key):
            values[source.key] = _read(Path(bundle), f"{source.key} names the file")
    if identity is not None:
        values[IDENTITY.key] = _read(identity, "--identity names the file")
    return HeldSecrets(values)


def check_passphrase(environ: Mapping[str, str], job: str) -> None:
    """KeyMissing where an encrypted backup could not be made. Asked before anything is touched."""
    if not environ.get(PASSPHRASE.key, "").strip():
        raise KeyMissing(
            f"job {job} encrypts, and {PASSPHRASE.key} is not set: put a passphrase there, from a password generator, and keep a copy elsewhere, "
            "since without it nothing can be restored. Only `encryption: false` in the job leaves its backups readable to everybody."
        )


def state_folder(option: Path | None, environ: Mapping[str, str]) -> Path:
    """Where this machine remembers: as asked, else where such things belong."""
    if option is not None or environ.get(STATE_DIR):
        return option or Path(environ[STATE_DIR])
    if os.geteuid() == 0:
        return Path("/var/lib/iot-backup")
    home = environ.get("XDG_STATE_HOME") or os.path.join(environ.get("HOME") or "/", ".local/state")
    return Path(home) / "iot-backup"


def _read(file: Path, what: str) -> bytes:
    try:
        return file.read_bytes()
    except OSError as error:
        raise SecretMissing(f"{what} {file}, which cannot be read: {error.strerror}") from error
