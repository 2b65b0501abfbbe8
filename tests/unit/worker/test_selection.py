"""Which paths two lists of patterns select: git's own answers, where git has one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from iot_backup.errors import InvalidSpec
from iot_backup.worker.selection import EVERYTHING, Selection, described


@pytest.mark.parametrize(
    ("include", "exclude", "path", "selected"),
    [
        ((), (), b"a/b", True),
        ((), ("*.log",), b"a/b.log", False),
        ((), ("*.log",), b"a/b.log.gz", True),
        ((), ("*.log", "!keep.log"), b"a/keep.log", True),
        ((), ("!keep.log", "*.log"), b"a/keep.log", False),
        ((), ("/top",), b"top", False),
        ((), ("/top",), b"a/top", True),
        ((), ("a/b",), b"x/a/b", True),
        ((), ("cache/",), b"cache", True),
        ((), ("cache/",), b"cache/", False),
        ((), ("cache/",), b"x/cache/deep/file", False),
        ((), ("cache/", "!cache/keep"), b"cache/keep", False),
        ((), ("cache/*", "!cache/keep"), b"cache/keep", True),
        ((), ("**/tmp/**",), b"a/tmp/b", False),
        ((), ("a/**/z",), b"a/z", False),
        ((), ("a/**/z",), b"a/b/c/z", False),
        ((), ("[ab]?c",), b"axc", False),
        ((), ("[!ab]c",), b"ac", True),
        ((), ("\\#odd",), b"#odd", False),
        ((), ("# a comment", ""), b"# a comment", True),
        ((), ("name",), b"name\n", True),
        ((), ("b",), b"line\nbreak/b", False),
        ((), ("*.bin",), b"\xff\xfe.bin", False),
        ((), ("ü*",), "ümlaut".encode(), False),
        ((), ("ü*",), "ü".encode("latin-1") + b"x", True),
        (("config/",), (), b"config/", True),
        (("config/",), (), b"config/a/b", True),
        (("config/",), (), b"config", False),
        (("config/",), (), b"other", False),
        (("config/", "!*.bak"), (), b"config/a.bak", False),
        (("config/", "!config/old/"), (), b"config/old/x", False),
        (("*.json",), (), b"a/b.json", True),
        (("*.json",), (), b"a/", False),
        (("*.json",), ("secret.json",), b"a/secret.json", False),
        (("a/keep.json",), ("a/",), b"a/keep.json", False),
        (("config/", "!config/old/", "config/old/keep"), (), b"config/old/keep", True),
        (("config/", "!config/old/", "config/old/keep"), (), b"config/old/x", False),
        (("*/", "!*.bak"), (), b"a/b/c", True),
        (("*", "!*.bak"), (), b"a.bak", False),
        (("data[!0-9]*/",), (), b"datax/f", True),
        (("nothing",), (), b".", True),
        ((), ("*",), b".", True),
        ((), ("*",), b"a", False),
    ],
    ids=str,
)
def test_a_path_is_selected(include: tuple[str, ...], exclude: tuple[str, ...], path: bytes, selected: bool) -> None:
    assert Selection(include, exclude).selects(path.rstrip(b"/"), is_folder=path.endswith(b"/")) is selected


LISTS = [
    ("*.log", "!keep.log", "/build", "doc/**/*.txt", "!doc/a/b.txt", "tmp/", "!tmp/x", "x*/", "!xy/", "q/*", "!q/r", "[0-9]z", "\\!odd", "**/deep", "a b", "t\\ "),
    ("*", "!*/", "!*.csv"),
    ("**", "!**/", "!*.csv"),
    ("**/*", "!**/", "!*.csv"),
    ("data/**", "!data/keep/", "!data/keep/**"),
    ("data/**", "!*.csv"),
    ("*", "!data", "!data/*"),
    ("*/", "!data/"),
    ("data[!0-9]*",),
    ("log[!0-9]", "*.[^c]*", "x[!y]z"),
    ("cache/**/",),
    ("[[:digit:]]z", "[[:alpha:][:punct:]]"),
    ("[]a]", "[!]a]x", "a[b-]", "\\[a\\]", "[a\\-z]"),
    ("caf?", "caf??.txt", "[\u00e9]"),
    ("/**/deep", "deep/**", "n/**/x"),
    ("a b   ", "t\\   ", " lead", "#note", "\\#note", "trail\\\\ "),
    ("***", "!keep/**"),
    ("/*", "!/data", "/data/*", "!/data/keep"),
]  # fmt: skip
PATHS = (
    *("a.log", "d/keep.log", "d/a.log", "build/x", "d/build/x", "doc/a/b.txt", "doc/c.txt", "doc/e/f/g.txt", "tmp/x", "d/tmp/y", "d/tmp2"),
    *("xx/1", "xy/2", "xfile", "q/r", "q/s/t", "1z", "az", "!odd", "n/m/deep/x", "deep", "a b", "t ", "keep.log/inner", "log", "n/x"),
    *("top.csv", "data/a.csv", "data/keep/b.csv", "data/keep/c", "data/x", "data1/y", "datax/z", "cache/f", "cache/g/h", "d/cache/i"),
    *("log1", "logs", "xyz", "x.c", "x.d", "]", "a", "a]", "]x", "bx", "a-", "ab", "[a]", "-", "caf\u00e9", "caf\u00e9.txt", "\u00e9"),
    *(" lead", "#note", "trail\\", "keep/k", "data\nline/x", "d/line\nbreak", "\udcff"),
)  # fmt: skip


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("checkout")
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    for path in PATHS:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


@pytest.mark.parametrize("lines", LISTS, ids=" ".join)
def test_git_ignores_the_same(checkout: Path, lines: tuple[str, ...]) -> None:
    (checkout / ".git" / "info" / "exclude").write_text("\n".join(lines) + "\n")
    listed = subprocess.run(["git", "ls-files", "-oz", "--exclude-standard"], cwd=checkout, check=True, capture_output=True).stdout
    selection = Selection(exclude=lines)
    ours = {path for path in PATHS if selection.selects(os.fsencode(path), is_folder=False)}
    assert ours == {os.fsdecode(path) for path in listed.split(b"\0") if path}


@pytest.mark.parametrize(
    ("include", "folder", "may"),
    [
        (("/a/b/*.json",), b"a", True),
        (("/a/b/*.json",), b"a/b", True),
        (("/a/b/*.json",), b"a/b/c", True),
        (("/a/b/*.json",), b"a/c", False),
        (("/a/b/*.json",), b"z", False),
        (("a/*/c",), b"a/x/c/d", True),
        (("a/*/c",), b"b", False),
        (("**/c",), b"b", True),
        (("c",), b"x/y", True),
        (("c/",), b"x/y", True),
        (("/c/",), b"x", False),
        (("/c",), b"c", True),
        (("/c", "x/y"), b"x", True),
        (("!x/y", "/c"), b"x", False),
        (("# /x", "/c"), b"x", False),
        (("a\\ b/c",), b"a b", True),
        (("ü/c",), "ü".encode(), True),
        ((), b"x", True),
    ],
    ids=str,
)
def test_folders_that_can_hold_no_match_are_not_walked(include: tuple[str, ...], folder: bytes, may: bool) -> None:
    assert Selection(include).may_hold(folder) is may


@pytest.mark.parametrize("line", ["!", "/", "[z-a]", "[a", "a[", "[a-", "[[:none:]]", "a\\", "[a\\", "a\nb"])
@pytest.mark.parametrize("which", ["include", "exclude"])
def test_what_is_no_pattern_is_said(which: str, line: str) -> None:
    with pytest.raises(InvalidSpec, match=which) as raised:
        Selection(**{which: ("fine", line)})
    assert repr(line) in str(raised.value)


def test_no_patterns_select_everything() -> None:
    assert not EVERYTHING
    assert EVERYTHING.selects(b"any", is_folder=False)
    assert Selection(exclude=("a",))


def test_a_path_of_any_depth_is_selected_from() -> None:
    deep = b"/".join([b"a"] * 2000)
    assert not Selection(exclude=("/a/a/a",)).selects(deep, is_folder=False)
    assert Selection(exclude=("/a/b/a",)).selects(deep, is_folder=False)


def test_patterns_in_a_message() -> None:
    assert described(("a", "b/"), ("*.log",)) == "include 'a', 'b/' and exclude '*.log'"
