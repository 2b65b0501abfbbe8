"""What a restore has written so far."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Extracted:
    """What was written."""

    files: int = 0
    hard_links: int = 0
    folders: int = 0
    symlinks: int = 0
    fifos: int = 0
    devices: int = 0
    devices_left_out: int = 0
    """Not asked for, or this user may not make them."""
    links_apart: int = 0
    """Of the files, hard links that became files of their own: the target's file systems can hold no link there."""
    bytes: int = 0
    """Of files' contents, without holes."""
    changed: int = 0
    """Files that had changed while they were backed up."""
    damaged: int = 0
    """Files that could not be read to their end when they were backed up."""
    kept: int = 0
    """Paths that were there and stayed as they were, by onConflict."""
    spared: int = 0
    """Folders that nothing was written into: they hold backups, or what this machine remembers of them."""
    made_way: int = 0
    """Paths that went with the folders they were in, where something else of the backup took a folder's place."""
