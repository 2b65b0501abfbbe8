"""What the chosen rows of an index amount to, found by reading them once before anything is written."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from iot_backup.errors import NothingMatches
from iot_backup.worker.ahead import spans
from iot_backup.worker.compression import FRAME_SIZE
from iot_backup.worker.index import FILE, FOLDER, HARD_LINK, ROOT, SUPERSEDED, Row
from iot_backup.worker.selection import Selection


@dataclass
class Survey:
    """Grows by `add`, for each chosen row in order."""

    selection: Selection
    paths: int = 0
    """To be written, without folders that only hold them."""
    files: int = 0
    """Regular files and hard links."""
    size: int = 0
    """Bytes of files' contents, without holes: what they take in a file system."""
    plain: dict[int, int] = field(default_factory=dict)
    """For each archive that is needed, bytes of the tar stream to be read, in pieces of a frame's size."""
    _piece: dict[int, int] = field(default_factory=dict)

    def add(self, row: Row) -> None:
        if row.state == SUPERSEDED or (row.kind == FOLDER and not self.selection.selects(row.path, True)):
            return
        if row.path == ROOT and self.selection:
            return
        self.paths += 1
        self.files += row.kind in (FILE, HARD_LINK)
        self.size += row.data_size
        for archive, begin, end in spans(row):
            first, last = max(begin // FRAME_SIZE, self._piece.get(archive, -1) + 1), (end - 1) // FRAME_SIZE
            self.plain[archive] = self.plain.get(archive, 0) + max(0, last + 1 - first) * FRAME_SIZE
            self._piece[archive] = max(last, self._piece.get(archive, -1))

    def something(self, what: str) -> None:
        """NothingMatches if no path was chosen. `what` was asked for, for the message."""
        if not self.paths:
            raise NothingMatches(
                f"no path of the backup matches {what}; nothing was written. A leading / means the folder that was backed up."
            )


def surveyed(rows: Iterable[Row], selection: Selection) -> Survey:
    """Read them all. CorruptData."""
    survey = Survey(selection)
    for row in rows:
        survey.add(row)
    return survey
