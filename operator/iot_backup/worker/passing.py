"""Reads a large file and leaves none of its pages behind."""

from __future__ import annotations

from iot_backup.storage.page_cache import LARGE, ReadBehind
from iot_backup.worker.contents import Files
from iot_backup.worker.xattrs import Place


class Passing(Files):
    """The calls of `files`, for one open file; `end` when it was read."""

    def __init__(self, files: Files, descriptor: int, size: int) -> None:
        self._files = files
        self._cache = ReadBehind(descriptor, size)
        self._at = 0

    def open(self, name: bytes, folder: int) -> int:
        return self._files.open(name, folder)

    def read(self, descriptor: int, target: memoryview) -> int:
        self._cache.reads(self._at)
        count = self._files.read(descriptor, target)
        self._at += count
        return count

    def seek(self, descriptor: int, offset: int, whence: int) -> int:
        self._at = self._files.seek(descriptor, offset, whence)
        return self._at

    def list_xattrs(self, place: Place) -> list[str]:
        return self._files.list_xattrs(place)

    def xattr(self, place: Place, name: bytes) -> bytes:
        return self._files.xattr(place, name)

    def end(self) -> None:
        self._cache.end()


def passing(files: Files, descriptor: int, size: int) -> Files:
    """How a file of so many bytes is to be read."""
    return Passing(files, descriptor, size) if size > LARGE else files


def passed(files: Files) -> None:
    """It was read."""
    if isinstance(files, Passing):
        files.end()
