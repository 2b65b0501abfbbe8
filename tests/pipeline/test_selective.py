"""Single paths out of a backup: only they are written, and only what they need is read."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from iot_backup.errors import CorruptData, NothingMatches
from iot_backup.worker.chosen import chosen
from iot_backup.worker.extract import Rules
from iot_backup.worker.selection import Selection
from iot_backup.worker.survey import Survey, surveyed
from iot_backup.worker.unpacking import Unpacked, unpack
from tests.pipeline import roundtrip
from tests.pipeline.chains import fill, grown
from tests.pipeline.roundtrip import Backup, back_up, facts, index_of, odd_tree


def survey_of(backup: Backup, selection: Selection) -> Survey:
    return surveyed(chosen(index_of(backup), selection), selection)


def select(chain: Sequence[Backup], target: Path, selection: Selection, read: Callable[[int, int], None] = lambda _n, _s: None) -> Unpacked:
    """As a selective restore does: survey, open what is needed, write. `read(number, size)` is told of each range that is fetched."""
    wanted = chain[-1]
    survey = survey_of(wanted, selection)
    survey.something("that")

    def fetching(number: int) -> Callable[[int, int], bytes]:
        def fetch(start: int, length: int) -> bytes:
            read(number, length)
            return chain[number].archive[start : start + length]

        return fetch

    sources = [roundtrip.source(one, fetching(number)) for number, one in enumerate(chain)]
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return unpack(index_of(wanted), sources, root, Rules(selection=selection), threading.Event(), survey.plain.keys())
    finally:
        os.close(root)


@pytest.mark.parametrize(
    ("include", "exclude"),
    [
        (["/deep/"], []),
        (["/a", "/empty folder/same"], []),
        (["/empty folder/same"], []),
        (["size *"], ["size 51?"]),
        (["fifo", "dangling", "folder link"], []),
        ([], ["size *", "/deep/"]),
        (["/.kbackup"], []),
        (["x" * 3 + "*", "deep/**"], ["file"]),
    ],
)
def test_what_is_selected_comes_back_as_it_was_with_the_folders_above(
    source: Path, target: Path, include: list[str], exclude: list[str]
) -> None:
    odd_tree(source)
    selection = Selection(include, exclude)
    done = select([back_up(source)], target, selection)
    whole, found = facts(source), facts(target)
    asked = {path for path, fact in whole.items() if path != b"." and selection.selects(path, fact[0] == 0o040000)}
    above = {b"/".join(parts[:n]) for path in asked for parts in [path.split(b"/")] for n in range(1, len(parts))}
    assert found.keys() - {b"."} == asked | above
    for path in (asked | above) - {b"a", b"empty folder/same"}:  # names of one file: which of them come is in what facts tells
        assert found[path] == whole[path]
    for path in asked & {b"a", b"empty folder/same"}:
        assert found[path][:7] == whole[path][:7]
    assert done.written.files + done.written.hard_links == sum(whole[path][0] == 0o100000 for path in asked)


def test_the_targets_own_folders_above_keep_their_attributes(source: Path, target: Path) -> None:
    fill(source / "folder" / "inner" / "file", 100)
    (source / "folder").chmod(0o700)
    (target / "folder").mkdir(mode=0o711)
    (target / "folder" / "mine").write_bytes(b"mine")
    target.chmod(0o750)
    select([back_up(source)], target, Selection(["file"]))
    assert target.stat().st_mode & 0o777 == 0o750
    assert (target / "folder").stat().st_mode & 0o777 == 0o711
    assert (target / "folder" / "mine").read_bytes() == b"mine"
    assert (target / "folder" / "inner" / "file").read_bytes() == (source / "folder" / "inner" / "file").read_bytes()


def test_what_stands_in_the_place_of_a_folder_above_is_replaced_and_no_link_is_followed(source: Path, target: Path) -> None:
    fill(source / "folder" / "file", 100)
    (target.parent / "outside").mkdir()
    (target / "folder").symlink_to(target.parent / "outside")
    select([back_up(source)], target, Selection(["file"]))
    assert (target / "folder" / "file").is_file()
    assert not (target / "folder").is_symlink()
    assert list((target.parent / "outside").iterdir()) == []


def test_nothing_that_matches_is_an_error(source: Path) -> None:
    odd_tree(source)
    backup = back_up(source)
    for selection in (Selection(["no such thing"]), Selection(["/a"], ["a"])):
        with pytest.raises(NothingMatches, match=r"no path of the backup matches that; nothing was written"):
            survey_of(backup, selection).something("that")
    survey_of(backup, Selection(["/deep/"])).something("that")


def test_hard_links_whose_first_name_was_not_selected_bring_the_content_once(source: Path, target: Path) -> None:
    fill(source / "a" / "first", 5000)
    for folder in ("b", "c"):
        (source / folder).mkdir()
        for name in ("one", "two"):
            (source / folder / name).hardlink_to(source / "a" / "first")
    content = (source / "a" / "first").read_bytes()
    done = select([back_up(source)], target, Selection(["/b/", "/c/two"]))
    names = [target / "b" / "one", target / "b" / "two", target / "c" / "two"]
    assert [path.read_bytes() for path in names] == [content] * 3
    assert len({path.stat().st_ino for path in names}) == 1
    assert not (target / "a").exists()
    assert (done.written.files, done.written.hard_links) == (1, 2)


def test_hard_links_that_are_not_selected_leave_the_first_name_alone(source: Path, target: Path) -> None:
    fill(source / "first", 100)
    (source / "second").hardlink_to(source / "first")
    done = select([back_up(source)], target, Selection(["first"]))
    assert os.listdir(target) == ["first"]
    assert (done.written.files, done.written.hard_links) == (1, 0)


@pytest.mark.parametrize("cipher", ["Age", "None"])
def test_hardly_more_is_read_than_the_frames_that_are_needed(source: Path, target: Path, cipher: str) -> None:
    for number in range(60):
        fill(source / f"big{number:02}", 1 << 20)
    (source / "big30-").mkdir()
    (source / "big30-" / "wanted").write_bytes(b"this one")
    backup = back_up(source, cipher=cipher)
    read = [0]

    def count(_number: int, size: int) -> None:
        read[0] += size

    select([backup], target, Selection(["wanted"]), count)
    assert (target / "big30-" / "wanted").read_bytes() == b"this one"
    frame = (1 << 21) + (2 << 16)  # a whole one, with the chunks it begins and ends in
    assert read[0] <= frame + 0.02 * len(backup.archive)


def test_archives_that_are_not_needed_are_not_even_opened(source: Path, target: Path) -> None:
    chain = grown(source, [lambda root, n=n: fill(root / f"file{n}", 200_000) for n in range(5)])
    read: dict[int, int] = {}

    def count(number: int, size: int) -> None:
        read[number] = read.get(number, 0) + size

    select(chain, target, Selection(["file1", "file3"]), count)
    assert read.keys() == {1, 3}
    assert sorted(os.listdir(target)) == ["file1", "file3"]


def test_an_index_that_names_an_archive_behind_the_survey_is_told(source: Path, target: Path) -> None:
    """What the survey saw of an index is what is read of it again; anything else is no index of ours."""
    chain = grown(source, [lambda root, n=n: fill(root / f"file{n}", 1000) for n in range(2)])
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(CorruptData, match="does not name"):
            unpack(index_of(chain[1]), [roundtrip.source(one) for one in chain], root, Rules(), threading.Event(), [1])
    finally:
        os.close(root)


def test_a_survey_adds_up(source: Path) -> None:
    odd_tree(source)
    backup = back_up(source)
    survey = survey_of(backup, Selection())
    counts = backup.packed.counts
    assert (survey.paths, survey.files, survey.size) == (counts.entries, counts.files + counts.hard_links, counts.source_bytes)
    assert backup.packed.tar_size <= survey.plain[0] < backup.packed.tar_size + (4 << 20)
    few = survey_of(backup, Selection(["/size 513", "/deep/"]))
    assert (few.files, few.size) == (6, 513 + sum(path.stat().st_size for path in (source / "deep").rglob("*") if path.is_file()))
    assert facts(source)
