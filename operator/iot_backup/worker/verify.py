"""Whether the backups of a repository can be restored, asked at four levels. Never writes to the store (storage/read_only.py).

1  the store's metadata: signatures, parents, sizes, a key file          needs no key
2  every stored byte against its SHA-256                                 needs no key
3  decrypted and decompressed: every file, or some, against its SHA-256  needs the identity
4  restored into a scratch folder, and that compared with the index      needs the identity, and room
"""

from __future__ import annotations

import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path

from iot_backup.core.layout import Member
from iot_backup.core.spec import Floor
from iot_backup.errors import IotBackupError
from iot_backup.repository.inspection import Gap
from iot_backup.repository.opening import Repository


class Level(IntEnum):
    """How deep to look. Each has what is below it."""

    METADATA = 1
    STORED = 2
    CONTENT = 3
    RESTORED = 4


@dataclass(frozen=True)
class Wish:
    """What to verify, and how."""

    level: Level
    ids: Collection[str] = ()
    """Backups, with all that they build on; none: all of the repository."""
    chain: str | None = None
    """Only this one."""
    percent: float = 100.0
    """Level 3: of the files, chosen by `rng`. Below 100 the archives are not read whole, so level 2 is left out."""
    rng: random.Random = field(default_factory=random.SystemRandom)
    scratch: Path | None = None
    """Level 4: an empty folder; each backup gets one below it, which is gone afterwards."""
    floors: Mapping[str, Floor] = field(default_factory=dict)
    """By chain the newest backup that somebody remembers."""
    check: Callable[[], None] = lambda: None
    """Called now and then; may raise to stop."""


@dataclass(frozen=True)
class Problem:
    """What is wrong, as an error says it."""

    reason: str
    """Name of the class in errors.py."""
    message: str

    @classmethod
    def of(cls, error: IotBackupError) -> Problem:
        return cls(error.reason, error.message)


@dataclass(frozen=True)
class Verified:
    """What was found of one backup."""

    member: Member
    type: str | None
    """None where the manifest does not count."""
    level: Level
    problems: tuple[Problem, ...]
    files: int = 0
    """Read and hashed (level 3 and 4)."""
    bytes: int = 0
    """Of their contents."""

    @property
    def ok(self) -> bool:
        return not self.problems


@dataclass(frozen=True)
class Verification:
    """What was found of a repository."""

    backups: tuple[Verified, ...]
    """Oldest name first."""
    problems: tuple[Problem, ...]
    """Of the whole: no key file, a chain that ends before its floor."""
    missing: Mapping[str, tuple[Gap, ...]]
    """By chain the numbers (`seq`) that no backup has: somebody took them away. A record of retention explains them."""

    @property
    def ok(self) -> bool:
        return not self.problems and not self.missing and all(backup.ok for backup in self.backups)


def verify(repository: Repository, wish: Wish) -> Verification:
    """Look at the wished backups. Problems of backups are told, not raised.

    Raises StorageUnavailable and AccessDenied for the store, SourceUnavailable where a wished backup is not there, KeyMissing for
    level 3 and 4 without the identity, InvalidSpec for level 4 without `scratch`, and what `check` raises. `repository`: opened for a restore, or to look.
    """
    raise NotImplementedError
