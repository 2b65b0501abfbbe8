"""`backup-manager` with what only a benchmark asks for: another zstd level (BENCH_LEVEL), and what a restore read (BENCH_READS, a file)."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from iot_backup.cli import main


def _at_level(level: int) -> None:
    """The config file has no key for it: the operator's orders do."""
    from iot_backup.worker import backup

    packed = backup.pack

    def pack(*arguments: Any, **named: Any) -> Any:
        return packed(*arguments, **{**named, "level": level})

    backup.pack = pack


class _Reads:
    """Counts the stored bytes of archives that are asked for, and those of the frames that hold what is restored."""

    def __init__(self) -> None:
        self.read = 0
        self._spans: list[tuple[int, int, int]] = []
        self._archive: Any = None

    def watch(self) -> None:
        from iot_backup.storage.volume import VolumeStore
        from iot_backup.worker import ahead
        from iot_backup.worker.archive import Archive

        read_range, stream, spans, load = VolumeStore.read_range, VolumeStore.stream, ahead.spans, Archive.load

        def counted_range(store: Any, key: str, start: int, length: int) -> bytes:
            data = read_range(store, key, start, length)
            self._count(key, len(data))
            return data

        def counted_stream(store: Any, key: str) -> Any:
            for chunk in stream(store, key):
                self._count(key, len(chunk))
                yield chunk

        def kept_spans(row: Any) -> Any:
            for span in spans(row):
                self._spans.append(span)
                yield span

        def kept_load(archive: Any, first: int, count: int) -> Any:
            self._archive = archive
            return load(archive, first, count)

        VolumeStore.read_range, VolumeStore.stream, ahead.spans, Archive.load = counted_range, counted_stream, kept_spans, kept_load  # type: ignore[method-assign]

    def _count(self, key: str, size: int) -> None:
        if ".tar" in key:
            self.read += size

    def write(self, file: Path) -> None:
        archive, needed = self._archive, set()
        for _, begin, end in self._spans:
            if begin < end:
                needed.update(range(archive.frame_at(begin), archive.frame_at(end - 1) + 1))
        file.write_text(json.dumps({"read": self.read, "needed": sum(archive.stored_size(frame) for frame in needed)}))


if __name__ == "__main__":
    if level := os.environ.get("BENCH_LEVEL"):
        _at_level(int(level))
    if not (counted := os.environ.get("BENCH_READS")):
        main(prog_name="backup-manager")
    reads = _Reads()
    reads.watch()
    try:
        main(prog_name="backup-manager")
    finally:
        reads.write(Path(counted))
