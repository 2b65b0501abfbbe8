"""Writes the index and the state of one backup side by side: they hold the same lines, but for what the next backup must not go by."""

from __future__ import annotations

from collections.abc import Sequence

from iot_backup.worker.frames import Frames
from iot_backup.worker.index import Row, first_line, last_line, member_line, note_line, unsure_line

_TOGETHER = 64 << 10
"""Bytes of lines that are handed on at once."""


class Rows:
    """Lines in the order of the walk. One user."""

    def __init__(self, index: Frames, state: Frames | None) -> None:
        self._index, self._state = index, state
        self._for_index, self._for_state = bytearray(), bytearray()
        self.written = 0
        """Rows of the index, first readings of changed files included."""
        self._in_state = 0
        self._notes = 0

    def begin(self, archives: Sequence[str], snapshot_time_ns: int) -> None:
        """The first line of both. `snapshot_time_ns`: when the walk began, on the clock that stamps the files."""
        self._for_index += first_line(archives)
        self._for_state += first_line(archives, snapshot_time_ns)

    def add(self, row: Row, blocks: bytes = b"", *, sure: bool = True) -> None:
        """A row, and a large file's line of block tags. One that is not `sure` is taken again by the next backup, whatever it finds."""
        line = member_line(row)
        if sure:
            self.copy(line, blocks)
        else:
            self.add_to_index(line)
            self._for_state += unsure_line(row.path, row.kind)
            self._in_state += 1

    def add_to_index(self, line: bytes) -> None:
        """A row that the next backup has no use for: another one of the same path follows."""
        self._for_index += line
        self.written += 1
        if len(self._for_index) >= _TOGETHER:
            self._hand_on()

    def copy(self, line: bytes, blocks: bytes) -> None:
        """A whole row as an earlier backup wrote it."""
        self._for_index += line
        self._for_state += line
        if blocks:
            self._for_state += blocks
        self.written += 1
        self._in_state += 1
        if len(self._for_index) >= _TOGETHER:
            self._hand_on()

    def note(self, note: str, path: bytes, reason: str) -> None:
        """What a person should know of a path; for the index alone."""
        self._for_index += note_line(note, path, reason)
        self._notes += 1
        if len(self._for_index) >= _TOGETHER:
            self._hand_on()

    def end(self, tar_size: int) -> None:
        """The last line of both; nothing may follow. `tar_size`: bytes of this backup's own tar stream."""
        self._for_index += last_line(members=self.written, notes=self._notes, tar_size=tar_size)
        self._for_state += last_line(members=self._in_state, notes=0, tar_size=tar_size)
        self._hand_on()
        for frames in (self._index, self._state):
            if frames is not None:
                frames.close()

    def _hand_on(self) -> None:
        self._index.write(self._for_index)
        if self._state is not None:
            self._state.write(self._for_state)
        self._for_index, self._for_state = bytearray(), bytearray()
