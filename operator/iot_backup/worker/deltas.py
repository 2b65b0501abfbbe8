"""Changed blocks of large files: which they are, how they lie in the archive, and what the content is then made of.

A large file that changed a little is stored as a member of ours with the changed blocks alone. Its row names, in order, the runs of
bytes that make up the new content, in whichever archives of the chain they are: a restore never applies one delta to another.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from iot_backup.worker.index import HOLE, Part
from iot_backup.worker.sparse import Extent

SMALLEST = 8 << 20
"""Bytes of a file from which its blocks are hashed: 64 KiB of a smaller one are much of it."""
BLOCK = 64 << 10
DATABASE_BLOCK = 32 << 10
"""Four pages of PostgreSQL, which writes pages here and there: with 64 KiB blocks twice as much is stored."""
MOST_BLOCKS = 1 << 17
"""Of one file: 2 MiB of digests. Blocks of files beyond 8 GiB are larger instead."""
MOST_PARTS = 50_000
"""Of one file: its row has a megabyte then. Beyond it the file is stored whole."""
DIGEST = 16
"""Bytes of a block's tag."""
_ALIGNED = 512
_PAGE = 8192
_RELATION = re.compile(rb"(?:\A|/)(?:base/\d+|global|PG_\d+_\d+/\d+)/\d+(?:_[a-z]+)?(?:\.\d+)?\Z")
"""Below a PostgreSQL's data folder, or in a tablespace: PG_VERSION may lie above the folder that is backed up."""

Tag = Callable[[bytes | bytearray | memoryview], bytes]
"""DIGEST bytes that are another for other bytes: `crypto.blocks`."""
Run = tuple[int, int]
"""Number of a block, and of how many from there on."""


class Blocks(NamedTuple):
    """What is known of a file's blocks."""

    size: int
    """Bytes of each; the last may be shorter."""
    digests: bytes
    """DIGEST bytes for each."""


def block_size(path: bytes, size: int) -> int:
    """Bytes of a block of this file; 0 for one that is too small for them."""
    if size < SMALLEST:
        return 0
    block = DATABASE_BLOCK if size % _PAGE == 0 and _RELATION.search(path) else BLOCK
    while block * MOST_BLOCKS < size:
        block *= 2
    return block


class BlockHashes:
    """Takes the tags of a content's blocks while it passes."""

    def __init__(self, size: int, tag: Tag) -> None:
        """`size`: bytes of a block."""
        self.size = size
        self._tag = tag
        self._digests = bytearray()
        self._begun = bytearray()
        """The part of a block that passed already."""
        self._of_zeros = b""

    def fresh(self) -> BlockHashes:
        """For another content, with blocks of the same size."""
        return BlockHashes(self.size, self._tag)

    def update(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        if self._begun:
            missing = self.size - len(self._begun)
            self._begun += view[:missing]
            view = view[missing:]
            if len(self._begun) < self.size:
                return
            self._close()
        whole = len(view) - len(view) % self.size
        for at in range(0, whole, self.size):
            self._digests += self._tag(view[at : at + self.size])
        self._begun += view[whole:]

    def zeros(self, count: int) -> None:
        """The same as so many zero bytes; whole blocks of them cost nothing."""
        if self._begun:
            filling = min(count, self.size - len(self._begun))
            self.update(bytes(filling))
            count -= filling
        whole, rest = divmod(count, self.size)
        if whole:
            self._of_zeros = self._of_zeros or self._tag(bytes(self.size))
            self._digests += self._of_zeros * whole
        self.update(bytes(rest))

    def blocks(self) -> Blocks:
        """What passed; the content ends here."""
        if self._begun:
            self._close()
        return Blocks(self.size, bytes(self._digests))

    def _close(self) -> None:
        self._digests += self._tag(self._begun)
        self._begun = bytearray()


class Delta(NamedTuple):
    """How a file is stored that changed a little."""

    head: bytes
    """Before the blocks."""
    runs: tuple[Extent, ...]
    """The changed blocks, in the file."""
    digests: bytes
    """Of the changed blocks, one behind the other."""

    @property
    def stored(self) -> int:
        """Bytes of the member's content."""
        return len(self.head) + sum(run.length for run in self.runs)


def between(old: Blocks, new: Blocks, size: int) -> Delta | None:
    """What to store of a file that has `size` bytes now; None if it is better stored whole. Both with blocks of the same size."""
    changed = [n for n, digest in enumerate(_each(new.digests)) if digest != old.digests[n * DIGEST : (n + 1) * DIGEST]]
    runs = _joined(changed)
    extents = tuple(Extent(first * new.size, min((first + count) * new.size, size) - first * new.size) for first, count in runs)
    if 2 * sum(extent.length for extent in extents) > size or len(runs) > MOST_PARTS:
        return None
    digests = b"".join(new.digests[first * DIGEST : (first + count) * DIGEST] for first, count in runs)
    return Delta(head(size, new.size, runs), extents, digests)


def head(size: int, block: int, runs: Sequence[Run]) -> bytes:
    """The line that begins a delta, filled up to whole blocks of tar."""
    line = json.dumps({"size": size, "block": block, "blocks": runs}, separators=(",", ":")).encode()
    return line + b" " * (-(len(line) + 1) % _ALIGNED) + b"\n"


def parts(old: Sequence[Part], delta: Delta, size: int, archive: int, position: int) -> tuple[Part, ...]:
    """The new content: what changed, from `position` in the tar stream of `archive` on, and between that what `old` says."""
    made: list[Part] = []
    content = _Content(old)
    for run in delta.runs:
        made += content.until(run.start)
        made.append(Part(archive, position, run.length))
        position += run.length
        content.until(run.end)
    made += content.until(size)
    return tuple(_merged(made))


class _Content:
    """Passes once over a content's parts, cutting them where it is told to."""

    def __init__(self, content: Sequence[Part]) -> None:
        self._left = iter(content)
        self._current = Part(HOLE, 0, 0)
        self._at = 0

    def until(self, end: int) -> list[Part]:
        """The bytes up to `end`, as far as there are any."""
        found = []
        while self._at < end:
            if not self._current.length:
                following = next(self._left, None)
                if following is None:
                    break
                self._current = following
            archive, position, length = self._current
            taken = min(length, end - self._at)
            found.append(Part(archive, position, taken))
            self._current = Part(archive, position if archive == HOLE else position + taken, length - taken)
            self._at += taken
        return found


def _merged(made: Sequence[Part]) -> Iterator[Part]:
    """Neighbours that are one run in their archive, or one hole, become one part."""
    last: Part | None = None
    for part in made:
        if last and part.archive == last.archive and (part.archive == HOLE or part.position == last.position + last.length):
            last = last._replace(length=last.length + part.length)
            continue
        if last:
            yield last
        last = part
    if last:
        yield last


def _joined(numbers: Sequence[int]) -> list[Run]:
    """Neighbouring numbers as runs."""
    runs: list[Run] = []
    for number in numbers:
        if runs and sum(runs[-1]) == number:
            runs[-1] = runs[-1][0], runs[-1][1] + 1
        else:
            runs.append((number, 1))
    return runs


def _each(digests: bytes) -> Iterator[bytes]:
    return (digests[at : at + DIGEST] for at in range(0, len(digests), DIGEST))
