"""What a selection takes of a tree, and what of it comes back."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from iot_backup.worker.notes import SKIPPED, UNREADABLE
from iot_backup.worker.selection import Selection
from iot_backup.worker.sizing import expected_size
from tests.mounting import disk
from tests.pipeline.roundtrip import back_up, bring_back, facts, index_text, rows
from tests.pipeline.sites import Site, open_to_all


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for path in ("config/app.json", "config/old/app.json", "config/cache/blob", "data/deep/er/reading.json", "data/raw/1.bin", "notes.txt"):
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(path.encode())
    (root / "data" / "empty").mkdir()
    os.chmod(root / "data", 0o2710)
    os.utime(root / "data", ns=(0, 1_234_567_890_123_456_789))
    return root


def taken(source: Path, include: tuple[str, ...] = (), exclude: tuple[str, ...] = (), *, one_file_system: bool = False) -> list[str]:
    backup = back_up(source, selection=Selection(include, exclude), one_file_system=one_file_system)
    return [os.fsdecode(row.path) for row in rows(backup)]


@pytest.mark.parametrize(
    ("include", "exclude", "paths"),
    [
        (
            ("*.json",),
            (),
            [
                ".",
                "config",
                "config/app.json",
                "config/old",
                "config/old/app.json",
                "data",
                "data/deep",
                "data/deep/er",
                "data/deep/er/reading.json",
            ],
        ),
        (("*.json",), ("old/",), [".", "config", "config/app.json", "data", "data/deep", "data/deep/er", "data/deep/er/reading.json"]),
        (("/data/raw",), (), [".", "data", "data/raw", "data/raw/1.bin"]),
        (("empty/",), (), [".", "data", "data/empty"]),
        (("config/", "!cache/"), (), [".", "config", "config/app.json", "config/old", "config/old/app.json"]),
        ((), ("/data", "config/*", "!config/app.json"), [".", "config", "config/app.json", "notes.txt"]),
        ((), ("*",), ["."]),
        (("nothing",), (), ["."]),
    ],
    ids=str,
)
def test_what_is_selected_is_taken_with_the_folders_above(
    source: Path, include: tuple[str, ...], exclude: tuple[str, ...], paths: list[str]
) -> None:
    assert taken(source, include, exclude) == paths


def test_an_index_is_selected_from_as_a_tree_is_walked(source: Path) -> None:
    whole = rows(back_up(source))
    for include, exclude in [(("*.json",), ("old/",)), ((), ("/data", "config/*", "!config/app.json")), (("config/", "!cache/"), ())]:
        selection = Selection(include, exclude)
        asked = [os.fsdecode(row.path) for row in whole if selection.selects(row.path, row.kind == "d")]
        walked = taken(source, include, exclude)
        assert set(asked) <= set(walked)
        assert [path for path in walked if path not in asked] == [
            path for path in walked if any(a.startswith(path + "/") for a in asked) and path not in asked
        ]


def test_folders_above_come_back_with_their_attributes(source: Path, tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    bring_back(back_up(source, selection=Selection(("/data/raw/1.bin",))), tmp_path / "target")
    wanted = facts(source)
    assert facts(tmp_path / "target") == {path: wanted[path] for path in (b".", b"data", b"data/raw", b"data/raw/1.bin")}


def test_names_that_are_no_text_are_selected_by(source: Path) -> None:
    with open(os.fsencode(source) + b"/\xff\n.bin", "wb") as file:
        file.write(b"x")
    assert os.fsencode("\n".join(taken(source, ("*.bin",)))) == b".\ndata\ndata/raw\ndata/raw/1.bin\n\xff\n.bin"
    assert not any(path.endswith(".bin") for path in taken(source, exclude=("*.bin",)))


@pytest.mark.skipif(os.geteuid() != 0, reason="changes user")
def test_what_is_left_out_need_not_be_readable(source: Path) -> None:
    open_to_all(source)
    os.chmod(source / "data", 0o755)
    for name in ("config/old", "config/cache"):
        os.chmod(source / name, 0)
    os.seteuid(12345)
    try:
        out = back_up(source, selection=Selection(exclude=("old/", "/config/cache")))
        elsewhere = back_up(source, selection=Selection(("/data/deep/**",)))
        perhaps = back_up(source, selection=Selection(("*.json",)))
    finally:
        os.seteuid(0)
    assert not out.packed.partial
    assert not elsewhere.packed.partial
    assert perhaps.packed.notes[UNREADABLE].count == 2  # they may hold a match
    assert b'"path":"config/old","kind"' not in index_text(perhaps)


def test_a_second_name_is_a_file_where_the_first_is_left_out(source: Path) -> None:
    os.link(source / "notes.txt", source / "zweitens.txt")
    backup = back_up(source, selection=Selection(exclude=("notes.txt",)))
    assert [row.kind for row in rows(backup) if row.path == b"zweitens.txt"] == ["f"]


@pytest.fixture
def mounted(source: Path) -> Iterator[Path]:
    """A file system with one file, mounted at data/raw."""
    with disk(source / "data" / "raw", "1m") as raw:
        (raw / "elsewhere").write_bytes(b"x" * 1000)
        yield source


def test_another_file_system_is_an_empty_folder_if_asked(mounted: Path) -> None:
    assert "data/raw/elsewhere" in taken(mounted)
    assert "data/raw" in taken(mounted, one_file_system=True)
    assert "data/raw/elsewhere" not in taken(mounted, one_file_system=True)
    backup = back_up(mounted, one_file_system=True)
    assert backup.packed.notes[SKIPPED].examples == ["data/raw: another file system is mounted here: only its folder is stored"]
    assert not backup.packed.partial


def test_the_size_is_that_of_what_is_taken(source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("iot_backup.worker.sizing.UNCOUNTED", 0)
    root = os.open(source, os.O_RDONLY | os.O_DIRECTORY)
    try:
        whole = expected_size(root, compressed=False, check=lambda: None)
        some = expected_size(root, Selection(("*.json",)), compressed=False, check=lambda: None)
    finally:
        os.close(root)
    assert 0 < some < whole


def test_the_order_s_patterns_are_kept_in_the_manifest(volume_site: Site, source: Path) -> None:
    done = volume_site.backup(source, include=["*.json"], exclude=["old/"], one_file_system=True)
    assert done.backup.files == 2
    (name,) = volume_site.manifests()
    written = json.loads(volume_site.place.read(name))["source"]
    assert (written["include"], written["exclude"], written["oneFileSystem"]) == (["*.json"], ["old/"], True)
