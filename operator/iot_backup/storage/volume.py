"""A mounted claim as the store: plain files that appear under their name only when they are complete and on disk."""

from __future__ import annotations

import os
import weakref
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from iot_backup.core.wording import is_path, place
from iot_backup.errors import AlreadyExists, CorruptData, StorageUnavailable
from iot_backup.storage import folders, keys
from iot_backup.storage.page_cache import WriteBehind
from iot_backup.storage.store import READ_LIMIT, Chunk, ObjectInfo
from iot_backup.storage.volume_errors import DENIED, NO_LINKS, Place, explain, no_links

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

STREAM_CHUNK = 4 << 20
"""Bytes read at once; the page cache reads ahead by itself."""


class VolumeStore:
    """Objects are files below `mount`/`root`, of one group: folders 2770, files 0660.

    A write goes to a hidden file of its own, is flushed, and then linked to its name: an existing name is never touched, and a
    crash leaves at most a hidden `.partial` that no listing shows. Raises StorageUnavailable if nothing is mounted there.
    """

    def __init__(self, mount: Path, root: str, *, claim: str, group: int) -> None:
        self.claim = claim
        self.group = group
        self._root = keys.parts(root.strip("/")) if root.strip("/") else ()
        try:
            self._base = os.open(mount, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            what = f"the folder {mount} cannot be used" if is_path(claim) else f"claim {claim} is not mounted at {mount}"
            raise StorageUnavailable(f"{what}: {os.strerror(error.errno or 0)}") from error
        weakref.finalize(self, os.close, self._base)

    def create(self, key: str, body: bytes) -> None:
        self.create_stream(key, (body,))

    def create_stream(self, key: str, chunks: Iterable[Chunk], *, size_hint: int = 0) -> None:  # noqa: ARG002 - files grow by themselves
        *above, name = self._names(key)
        with ExitStack() as held:
            with self._explained(key, writing=True):
                folder = held.enter_context(folders.opened(self._base, above, create_for=self.group))
                unfinished, descriptor = held.enter_context(folders.partial(folder, self.group))
            behind, written = WriteBehind(descriptor), 0
            for chunk in chunks:
                # The source's own errors, also its OSErrors, pass by untouched.
                with self._explained(key, writing=True):
                    written += _write(descriptor, chunk)
                    behind.wrote(written)
            with self._explained(key, writing=True):
                os.fsync(descriptor)
                behind.end(written)
                self._publish(folder, unfinished, name, key)

    def read(self, key: str, *, limit: int = READ_LIMIT) -> bytes:
        with self._object(key) as descriptor:
            size = os.fstat(descriptor).st_size
            if size > limit:
                raise CorruptData(f"{key} on {place(self.claim)} has {size} bytes, but an object of its kind has at most {limit}")
            return _read(descriptor, 0, size)

    def read_range(self, key: str, start: int, length: int) -> bytes:
        with self._object(key) as descriptor:
            return _read(descriptor, start, length)

    def stream(self, key: str) -> Iterator[bytes]:
        with self._object(key) as descriptor:
            os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_SEQUENTIAL)
            while chunk := os.read(descriptor, STREAM_CHUNK):
                yield chunk

    def head(self, key: str) -> ObjectInfo:
        found = self.stat(key)
        return ObjectInfo(key, found.st_size, _time(found))

    def stat(self, key: str) -> os.stat_result:
        """What the file system says of an object: owner and mode too. NotFound."""
        with self._object(key) as descriptor:
            return os.fstat(descriptor)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        names, above = keys.folder(prefix)
        with ExitStack() as held, self._explained(prefix, writing=False):
            try:
                folder = held.enter_context(folders.opened(self._base, (*self._root, *names)))
            except FileNotFoundError:
                return
            for key, found in folders.walk(folder, above):
                if key.startswith(prefix):
                    yield ObjectInfo(key, found.st_size, _time(found))

    def delete(self, key: str) -> None:
        *above, name = self._names(key)
        with self._explained(key, writing=True), suppress(FileNotFoundError), folders.opened(self._base, above) as folder:
            os.unlink(name, dir_fd=folder)
            folders.flush(folder)

    def abandon(self, key: str) -> None:
        self._names(key)  # an unfinished file has a name of its own, and goes with a later write into its folder: folders.partial

    def now(self) -> datetime:
        with (
            self._explained("", writing=True),
            folders.opened(self._base, self._root, create_for=self.group) as folder,
            folders.partial(folder, self.group) as (_, descriptor),
        ):
            return _time(os.fstat(descriptor))

    def _publish(self, folder: int, unfinished: str, name: str, key: str) -> None:
        """Give a flushed file its name, durably; the name is ours only if nobody had it."""
        try:
            os.link(unfinished, name, src_dir_fd=folder, dst_dir_fd=folder, follow_symlinks=False)
        except FileExistsError:
            # A repeated NFS request finds the link its first attempt made.
            if not _same_file(folder, unfinished, name):
                folders.flush(folder)  # it may be our own, of an attempt that was killed before it could see to that
                raise AlreadyExists(f"{key} on {place(self.claim)} is there already") from None
        except OSError as error:
            if error.errno in NO_LINKS:
                raise no_links(self._place(key, writing=True), error) from error
            raise
        os.unlink(unfinished, dir_fd=folder)
        try:
            folders.flush(folder)
        except OSError:
            # Whoever looks would take for stored what the next power cut may take away.
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)
            raise

    @contextmanager
    def _object(self, key: str) -> Iterator[int]:
        """A read descriptor of an object; the block's OSErrors are explained too."""
        *above, name = self._names(key)
        with self._explained(key, writing=False):
            with folders.opened(self._base, above) as folder:
                descriptor = folders.open_file(folder, name)
            try:
                yield descriptor
            finally:
                os.close(descriptor)

    @contextmanager
    def _explained(self, key: str, *, writing: bool) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            names = (*self._root, *filter(None, key.split("/")))
            owner = folders.owner(self._base, names) if error.errno in DENIED else ""
            raise explain(error, self._place(key, writing=writing), owner) from error

    def _names(self, key: str) -> tuple[str, ...]:
        return (*self._root, *keys.parts(key))

    def _place(self, key: str, *, writing: bool) -> Place:
        return Place(self.claim, "/".join((*self._root, key)), self.group, writing)


def _write(descriptor: int, chunk: Chunk) -> int:
    """How many bytes it was."""
    view = memoryview(chunk).cast("B")
    size = len(view)
    while view:
        view = view[os.write(descriptor, view) :]
    return size


def _read(descriptor: int, start: int, length: int) -> bytes:
    pieces = []
    while length > 0 and (piece := os.pread(descriptor, length, start)):
        pieces.append(piece)
        start, length = start + len(piece), length - len(piece)
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _same_file(folder: int, one: str, other: str) -> bool:
    first, second = (os.stat(name, dir_fd=folder, follow_symlinks=False) for name in (one, other))
    return (first.st_dev, first.st_ino) == (second.st_dev, second.st_ino)


def _time(found: os.stat_result) -> datetime:
    return datetime.fromtimestamp(found.st_mtime, UTC)
