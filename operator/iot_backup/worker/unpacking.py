"""The read pipeline: index -> rows -> members, with their content out of the archives of the chain -> target.

One index describes the whole tree, and each of its rows says in which archive its content lies. Threads fetch, decrypt and
decompress the frames that rows further on need (ahead.py); the calling thread reads the index and writes. Headers are not parsed:
a file's must be, byte for byte, the ones that its row of the signed index makes. Memory is bounded, whatever the archives hold.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from iot_backup.errors import CorruptData
from iot_backup.worker.ahead import Ahead
from iot_backup.worker.archive import Archive, Ranged
from iot_backup.worker.attributes import Attributes
from iot_backup.worker.chosen import chosen
from iot_backup.worker.extract import Extractor, Rules
from iot_backup.worker.extracted import Extracted
from iot_backup.worker.flow import Channel, Flow, Stop
from iot_backup.worker.index_reader import IndexReader
from iot_backup.worker.progress import Done, Progress

_OPENERS = 4
"""Archives opened at once: each takes two or three round trips."""


@dataclass(frozen=True)
class Source:
    """Where an archive of the chain comes from."""

    opened: Callable[[], Ranged]
    """Reads and checks the container's header. KeyMissing, WrongKey, CorruptData, and what the store raises."""
    compressed: bool = True


@dataclass(frozen=True)
class Unpacked:
    """A restored tree, on disk."""

    written: Extracted
    refused: Attributes
    """Owners and modes that this user could not set."""
    removed: int = 0
    """Paths that Mirror took away."""
    notes: dict[str, int] = field(default_factory=dict)
    """How many of each kind the backup had (`notes.NOTES`)."""


def unpack(
    rows: IndexReader,
    archives: Sequence[Source],
    target: int,
    rules: Rules,
    stop: Stop,
    needed: Collection[int] | None = None,
    progress: Progress | None = None,
) -> Unpacked:
    """Restore what the rules select into the folder behind the descriptor `target`, which stays the caller's.

    `archives`: by their numbers in `rows.archives`; only those in `needed` (None = all) are opened, before anything is written. That
    they, and the index, are the signed ones is the caller's to check: sizes and headers of the archives, all of the index. What is in
    the target and not in the backup stays, but with Mirror. Raises CorruptData, TargetFull, AccessDenied, SourceUnavailable, Cancelled,
    and what the store raises; files in place by then are whole, and the restore can be run again.
    """
    flow = Flow(stop)
    opened = _opened(flow, archives, range(len(archives)) if needed is None else needed)
    ahead = Ahead(flow, opened, chosen(rows, rules.selection))
    extractor = Extractor(target, rules)
    if progress is not None:
        progress.follow(lambda: Done(extractor.done.files + extractor.done.hard_links, extractor.done.bytes))
    try:
        for row in ahead:
            flow.check()
            extractor.add(row, ahead.content)
        _check_size(opened[-1], rows)
        extractor.finish()
        ahead.close()
    except BaseException as error:  # noqa: BLE001 - join raises what came first: this, or its cause in another stage
        flow.fail(error)
    finally:
        extractor.close()
    flow.join(*ahead.threads)
    return Unpacked(extractor.done, extractor.attributes, rules.mirror.removed if rules.mirror else 0, rows.notes)


def _check_size(own: Archive | None, rows: IndexReader) -> None:
    if own is not None and own.size != rows.tar_size:
        raise CorruptData("archive and index do not agree on the archive's size: one of them was damaged or replaced")


def _opened(flow: Flow, archives: Sequence[Source], needed: Collection[int]) -> list[Archive | None]:
    """The needed archives, several opened at once. Raises what the first failure was."""
    found: list[Archive | None] = [None] * len(archives)
    numbers: Channel[int | None] = Channel(flow)
    threads = min(_OPENERS, len(needed))
    for number in [*needed, *[None] * threads]:
        numbers.put(number)

    def work() -> None:
        while (number := numbers.get()) is not None:
            found[number] = Archive(archives[number].opened(), compressed=archives[number].compressed)

    flow.join(*[flow.run("open", work) for _ in range(threads)])
    return found
