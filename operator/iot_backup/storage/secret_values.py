"""The secrets of a run: mounted as files in a pod, held in memory elsewhere. An order only names them (`core.spec.SecretSource`)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from iot_backup.core.spec import SecretSource
from iot_backup.errors import AccessDenied, InvalidSpec, SecretMissing

READ_LIMIT = 1 << 20
"""Bytes of a Secret's value; Kubernetes allows no more."""


class Secrets(Protocol):
    """Gives the values that an order names."""

    def value(self, source: SecretSource) -> bytes:
        """As it is, never empty. SecretMissing, AccessDenied, and InvalidSpec for a name that cannot be meant."""

    def holder(self, source: SecretSource) -> str:
        """What to look at when the value is wrong, for a sentence: "Secret backup-secrets"."""

    def entry(self, source: SecretSource) -> str:
        """The one value in it, for a sentence: "key ca.crt of Secret our-ca"."""


@dataclass(frozen=True)
class MountedSecrets:
    """Kubernetes Secrets below one folder; those that are not there are missing files."""

    folder: Path

    def value(self, source: SecretSource) -> bytes:
        where = self.holder(source)
        if Path(source.file).is_absolute() or ".." in Path(source.file).parts:
            raise InvalidSpec(f"the file {source.file!r} for {where} is not below the folder of Secrets")
        try:
            with (self.folder / source.file).open("rb") as file:
                value = file.read(READ_LIMIT)
        except FileNotFoundError as error:
            raise SecretMissing(
                f"{where} lacks key {source.key}, or does not exist in this namespace. Add it, or correct the name where the spec gives it."
            ) from error
        except PermissionError as error:
            raise AccessDenied(
                f"{where} is mounted but cannot be read by this run's user. Remove defaultMode or securityContext overrides."
            ) from error
        if not value.strip():
            raise SecretMissing(f"{self.entry(source)} is empty. Put the value there.")
        return value

    def holder(self, source: SecretSource) -> str:
        return f"Secret {source.secret}"

    def entry(self, source: SecretSource) -> str:
        return f"key {source.key} of Secret {source.secret}"


@dataclass(frozen=True)
class HeldSecrets:
    """Values in memory, from the environment or made in this process: nothing of them is written anywhere."""

    values: Mapping[str, bytes] = field(repr=False)
    """By `SecretSource.key`."""

    def value(self, source: SecretSource) -> bytes:
        value = self.values.get(source.key, b"")
        if not value.strip():
            raise SecretMissing(f"{self.entry(source)} is not set, or empty. Set it for this command.")
        return value

    def holder(self, source: SecretSource) -> str:
        return self.entry(source)

    def entry(self, source: SecretSource) -> str:
        return f"{source.secret} {source.key}"


def text(secrets: Secrets, source: SecretSource) -> str:
    """A value as text, without the white space around it that editors leave. SecretMissing, AccessDenied."""
    try:
        return secrets.value(source).decode().strip()
    except UnicodeDecodeError:
        raise SecretMissing(f"{secrets.entry(source)} is not text. Put the plain value there, not an encoded file.") from None
