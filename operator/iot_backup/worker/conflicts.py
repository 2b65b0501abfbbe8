"""What becomes of a path that is in the target already. Pure decisions; docs/operations.md has them as a table."""

from __future__ import annotations

import os
import stat

from iot_backup.core.spec import OnConflict
from iot_backup.worker.index import FOLDER, Row


def keeps(rule: OnConflict, row: Row, found: os.stat_result) -> bool:
    """Whether what is in the place of this row stays, and the row, with all that would be below it, is passed over.

    A folder in the place of a folder is never asked for: it is entered, see `keeps_attributes`. KeepNewer keeps any folder that
    would have to make way for something else: its own time does not tell how new what is in it is.
    """
    if rule == "SkipExisting":
        return True
    return rule == "KeepNewer" and (stat.S_ISDIR(found.st_mode) or found.st_mtime_ns > row.mtime_ns)


def keeps_attributes(rule: OnConflict) -> bool:
    """Whether a folder in the place of a folder keeps its owner, mode and time. Its time alone would tell nothing about the others."""
    return rule == "SkipExisting"


def is_folder_for_folder(row: Row, found: os.stat_result) -> bool:
    return row.kind == FOLDER and stat.S_ISDIR(found.st_mode)
