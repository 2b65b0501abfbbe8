"""What a Configuration backup takes where nobody said it: the folders and files that a site's configuration usually is."""

from __future__ import annotations

import os

from iot_backup import vocabulary
from iot_backup.core.report import Warn
from iot_backup.core.spec import BackupOrder

DEFAULT = ("/config/", "/secrets/", "/k8s/", "/.env", "/docker-compose.yml")
"""Patterns, each of one path below the source's root."""


def completed(order: BackupOrder, root: int) -> tuple[BackupOrder, tuple[Warn, ...]]:
    """The order with the patterns that it left open, and a warning that lists which of them match nothing. `root`: the source's descriptor."""
    if order.type != "Configuration" or order.include:
        return order, ()
    missing = [pattern.strip("/") for pattern in DEFAULT if not _is_there(root, pattern.strip("/"))]
    completed_order = order.model_copy(update={"include": DEFAULT})
    if not missing:
        return completed_order, ()
    message = f"{', '.join(missing)}: not in the source, so not in the backup. Set include if your configuration lies elsewhere."
    return completed_order, (Warn(reason=vocabulary.CONFIGURATION_MISSING, message=message, count=len(missing)),)


def _is_there(root: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=root, follow_symlinks=False)
    except FileNotFoundError:
        return False
    except OSError:
        return True  # the walk will say what is wrong with it
    return True
