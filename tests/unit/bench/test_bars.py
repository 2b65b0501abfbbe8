"""What a run of the benchmark says of the bars."""

from __future__ import annotations

import pytest

from tests.bench import bars, peers
from tests.bench.bars import Verdict, judged
from tests.bench.measuring import Cost
from tests.bench.table import Line, better

PIPE, FAST_PIPE = peers.pipe(3).name, peers.pipe(1).name


def line(task: str, tool: str, wall: float = 1.0, *, cpu: float = 1.0, peak: int = 100, stored: float | None = None) -> Line:
    return Line(task, tool, Cost(wall, cpu, peak), stored)


def verdict(bar: str, *lines: Line, beyond: float | None = None) -> Verdict:
    [found] = [each for each in judged(lines, beyond) if each.bar == bar]
    return found


@pytest.mark.parametrize(
    ("bar", "task", "tool", "ours", "theirs", "figure", "met"),
    [
        (f"A: first backup / {PIPE}", "A: first backup", PIPE, 0.85, 1.0, "0.85", True),
        (f"A: first backup / {PIPE}", "A: first backup", PIPE, 0.86, 1.0, "0.86", False),
        (f"B: first backup / {PIPE}", "B: first backup", PIPE, 1.0, 1.0, "1.00", True),
        (f"C: first backup / {PIPE}", "C: first backup", PIPE, 0.8, 1.0, "0.80", False),
        (f"B: first backup / {FAST_PIPE}", "B: first backup", FAST_PIPE, 1.1, 1.0, "1.10", True),
        (f"C: first backup / {FAST_PIPE}", "C: first backup", FAST_PIPE, 1.0, 1.0, "1.00", False),
        ("A: first backup / the sum of its primitives on its cores", "A: first backup", bars.FLOOR, 3.0, 2.0, "1.50", True),
        ("restic / ours, A: first backup", "A: first backup", "restic", 1.0, 2.0, "2.00", True),
        ("restic / ours, B: first backup", "B: first backup", "restic", 1.0, 2.9, "2.90", False),
        ("rustic / ours, C: first backup", "C: first backup", "rustic", 1.0, 1.0, "1.00", False),
        ("rustic / ours, C: first backup", "C: first backup", "rustic", 1.0, 1.1, "1.10", True),
        ("B: nothing changed / restic", "B: nothing changed", "restic", 1.0, 4.0, "0.25", True),
        (f"B: restore into memory / {PIPE}", "B: restore into memory", PIPE, 1.3, 1.0, "1.30", False),
        ("restic / ours, A: restore into memory", "A: restore into memory", "restic", 1.0, 1.5, "1.50", True),
        ("rustic / ours, A: restore from S3 into memory", "A: restore from S3 into memory", "rustic", 1.0, 0.5, "0.50", False),
        ("B: first backup, page cache cold / GNU tar", "B: first backup, page cache cold", peers.TAR.name, 6.0, 10.0, "0.60", True),
    ],
)
def test_a_ratio_of_times_is_judged(bar: str, task: str, tool: str, ours: float, theirs: float, figure: str, met: bool) -> None:
    found = verdict(bar, line(task, peers.OURS, ours), line(task, tool, theirs))
    assert (found.figure, found.met) == (figure, met)


@pytest.mark.parametrize(
    ("bar", "task", "tool", "ours", "theirs", "met"),
    [
        (f"A: first backup, stored / {FAST_PIPE}", "A: first backup", FAST_PIPE, 102.0, 100.0, True),
        (f"A: first backup, stored / {FAST_PIPE}", "A: first backup", FAST_PIPE, 103.0, 100.0, False),
        (f"C: 1 % changed, stored / {bars.WHOLE}", "C: 1 % changed", bars.WHOLE, 20.0, 100.0, True),
        (f"C: 1 % changed, stored / {bars.WHOLE}", "C: 1 % changed", bars.WHOLE, 21.0, 100.0, False),
        ("C: 1 % changed, stored by restic / ours", "C: 1 % changed", "restic", 10.0, 9.0, False),
        ("C: 1 % changed, stored by borg / ours", "C: 1 % changed", "borg", 10.0, 11.0, True),
    ],
)
def test_a_ratio_of_what_is_stored_is_judged(bar: str, task: str, tool: str, ours: float, theirs: float, met: bool) -> None:
    assert verdict(bar, line(task, peers.OURS, stored=ours), line(task, tool, stored=theirs)).met is met


def test_the_size_stands_beside_the_time_of_the_first_backup() -> None:
    task = "A: first backup"
    assert verdict(f"{task} / {PIPE}", line(task, peers.OURS, stored=101.0), line(task, PIPE, stored=100.0)).figure == "1.00 (stored: 1.01)"


def test_memory_is_that_of_our_largest_task_and_of_no_other_tool() -> None:
    lines = [
        line("A: first backup", peers.OURS, peak=90),
        line("D: restore", peers.OURS, peak=161),
        line("A: first backup", "rustic", peak=1300),
    ]
    found = verdict("peak memory of a backup or restore", *lines)
    assert (found.figure, found.met) == ("161 MB (D: restore, ours)", False)
    assert verdict("peak memory of a backup or restore", lines[0], lines[2]).met is True


@pytest.mark.parametrize(("wall", "met"), [(10.0, True), (10.1, False)])
def test_a_million_files_have_ten_seconds(wall: float, met: bool) -> None:
    assert verdict("D: nothing changed", line("D: nothing changed", peers.OURS, wall)).met is met


@pytest.mark.parametrize(("cpu", "figure", "met"), [(5.0, "1.00", True), (5.5, "1.25", False)])
def test_the_cpu_of_an_upload_counts_beyond_that_of_a_folder_and_by_what_is_stored(cpu: float, figure: str, met: bool) -> None:
    task = "A: first backup into S3"
    found = verdict(
        "A: into S3: CPU seconds more than into a folder, for each GB stored",
        line(task, peers.OURS, cpu=cpu, stored=2000.0),
        line(task, bars.LOCAL, cpu=3.0, stored=2000.0),
    )
    assert (found.figure, found.met) == (figure, met)


@pytest.mark.parametrize(("beyond", "figure", "met"), [(0.02, "2.00%", True), (0.021, "2.10%", False), (None, "", None)])
def test_what_one_file_reads_beyond_its_frames_is_a_share_of_the_archive(beyond: float | None, figure: str, met: bool | None) -> None:
    found = verdict("A: one file: bytes read beyond its frames / archive", beyond=beyond)
    assert (found.figure, found.met) == (figure, met)


def test_what_was_not_measured_is_neither_met_nor_missed() -> None:
    verdicts = judged([])
    assert {each.met for each in verdicts} == {None}
    assert bars.text(verdicts).count("not measured") == len(verdicts)


def test_no_bar_stands_twice() -> None:
    names = [each.bar for each in judged([])]
    assert len(names) == len(set(names))


def test_a_missed_bar_is_seen_in_the_table() -> None:
    text = bars.text([Verdict("one", "<= 1", "2", met=False), Verdict("other", "<= 1", "1", met=True)])
    assert text.splitlines()[2:] == ["| one | <= 1 | 2 | **missed** |", "| other | <= 1 | 1 | met |"]


def test_of_a_tools_runs_the_fastest_counts_with_the_least_cpu_and_the_largest_memory() -> None:
    best: dict[str, Line] = {}
    for each in (line("t", "ours", 2.0, cpu=3.0, peak=90, stored=5.0), line("t", "ours", 1.0, cpu=4.0, peak=80, stored=6.0)):
        better(best, each)
    assert best["ours"] == line("t", "ours", 1.0, cpu=3.0, peak=90, stored=6.0)
