"""Backs up and restores the volumes of IoT platforms: signed, encrypted archives that stock tools can open.

For programs in Python: `from iot_backup import BackupManager, BackupJob, BackupType, RestoreManager` (docs/python.md). They are loaded when they are
first named: whoever imports only this, loads nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from iot_backup.library import BackupJob as BackupJob
    from iot_backup.library import BackupManager as BackupManager
    from iot_backup.library import BackupRecord as BackupRecord
    from iot_backup.library import BackupStatus as BackupStatus
    from iot_backup.library import BackupType as BackupType
    from iot_backup.library import ConflictMode as ConflictMode
    from iot_backup.library import RestoreManager as RestoreManager
    from iot_backup.library import RestorePlan as RestorePlan
    from iot_backup.library import RestoreRecord as RestoreRecord
    from iot_backup.library import RestoreType as RestoreType

__version__ = "0.1.0"

_LIBRARY = (
    "BackupJob",
    "BackupManager",
    "BackupRecord",
    "BackupStatus",
    "BackupType",
    "ConflictMode",
    "RestoreManager",
    "RestorePlan",
    "RestoreRecord",
    "RestoreType",
)


def __getattr__(name: str) -> Any:
    if name not in _LIBRARY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from iot_backup import library

    return getattr(library, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_LIBRARY])
