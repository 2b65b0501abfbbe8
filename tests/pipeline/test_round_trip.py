"""What goes in comes back: by us, and by stock tools."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
import zstandard
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from iot_backup.errors import InvalidSpec
from iot_backup.worker import compression
from iot_backup.worker.compression import FOOTER_SIZE, frame_sizes, table_size
from iot_backup.worker.index import FILE
from tests.pipeline.roundtrip import IDENTITY, back_up, bring_back, facts, odd_tree, rows, stock_restore


@pytest.mark.parametrize(("cipher", "level"), [("Age", 1), ("Age", None), ("None", 3), ("None", None), ("Age", 7)])
def test_everything_comes_back(tmp_path: Path, cipher: str, level: int | None) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    odd_tree(source)
    target.mkdir()
    backup = back_up(source, cipher=cipher, level=level)
    done = bring_back(backup, target)
    assert facts(target) == facts(source)
    counts = backup.packed.counts
    assert (done.written.files, done.written.hard_links, done.written.symlinks, done.written.fifos, done.written.folders) == (
        counts.files,
        counts.hard_links,
        counts.symlinks,
        counts.fifos,
        counts.folders,
    )
    assert done.written.bytes == counts.source_bytes
    assert not backup.packed.partial


def test_stock_tools_bring_it_back(tmp_path: Path) -> None:
    source, target, scratch = tmp_path / "source", tmp_path / "target", tmp_path / "scratch"
    odd_tree(source)
    target.mkdir()
    scratch.mkdir()
    backup = back_up(source)
    stock_restore(backup, target, scratch)
    # Reserved names of ours get a tilde that only our own restore takes away again.
    os.rename(target / ".kbackup~~", target / "kept")
    os.rename(target / ".kbackup~", target / ".kbackup")
    os.rename(target / "kept", target / ".kbackup~")
    os.utime(target, ns=(0, 1_111_111_111_111_111_111))
    assert facts(target, whole_seconds=True) == facts(source, whole_seconds=True)


def test_a_second_restore_over_the_first_changes_nothing(tmp_path: Path) -> None:
    source, target = tmp_path / "source", tmp_path / "target"
    odd_tree(source)
    target.mkdir()
    backup = back_up(source)
    bring_back(backup, target)
    bring_back(backup, target)
    assert facts(target) == facts(source)


def test_digests_and_sizes_are_those_of_the_stored_bytes(tmp_path: Path) -> None:
    odd_tree(tmp_path / "source")
    backup = back_up(tmp_path / "source")
    for data, stored in ((backup.archive, backup.packed.archive), (backup.index, backup.packed.index)):
        assert stored.size == len(data)
        assert stored.sha256 == hashlib.sha256(data).hexdigest()
        header_end = data.index(b"\n--- ") + 1
        header_end = data.index(b"\n", header_end) + 1 + 16
        assert stored.header_sha256 == hashlib.sha256(data[:header_end]).hexdigest()


def test_rows_are_in_walk_order_with_content_hashes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    odd_tree(source)
    backup = back_up(source)
    paths = [row.path for row in rows(backup)]
    assert paths[0] == b"."
    assert paths[1:] == sorted(paths[1:], key=lambda path: path.split(b"/"))
    for row in rows(backup):
        if row.kind == FILE:
            content = (source / os.fsdecode(row.path)).read_bytes()
            assert (row.size, row.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_the_seek_table_names_every_frame_of_the_archive(tmp_path: Path) -> None:
    odd_tree(tmp_path / "source")
    backup = back_up(tmp_path / "source", cipher="None")
    table = backup.archive[-table_size(backup.archive[-FOOTER_SIZE:]) :]
    sizes = frame_sizes(table)
    assert sum(sizes[::2]) + len(table) == len(backup.archive)
    assert sum(sizes[1::2]) == backup.packed.tar_size
    assert len(sizes) > 2
    at = sum(sizes[:2:2])
    second = zstandard.ZstdDecompressor().decompress(backup.archive[at : at + sizes[2]])
    assert len(second) == sizes[3]


def test_an_empty_source_gives_its_root_alone(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir(mode=0o751)
    (tmp_path / "target").mkdir()
    backup = back_up(tmp_path / "source")
    assert backup.packed.counts.entries == 1
    bring_back(backup, tmp_path / "target")
    assert facts(tmp_path / "target") == facts(tmp_path / "source")


def test_the_key_is_needed_for_the_names(tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a-telling-name").write_bytes(b"a telling content" * 100)
    backup = back_up(tmp_path / "source")
    for data in (backup.archive, backup.index):
        assert b"telling" not in data
    assert IDENTITY.recipient.startswith("age1")


_names = st.binary(min_size=1, max_size=12).filter(lambda n: n not in {b".", b".."} and b"/" not in n and b"\0" not in n)
_trees = st.recursive(
    st.one_of(st.binary(max_size=3000), _names.map(lambda n: ("link", n))),
    lambda inner: st.dictionaries(_names, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(tree=st.dictionaries(_names, _trees, max_size=5), mode=st.integers(0, 0o7777), number=st.integers(0, 2**62))
def test_any_tree_comes_back(tmp_path_factory: pytest.TempPathFactory, tree: dict[bytes, object], mode: int, number: int) -> None:
    base = tmp_path_factory.mktemp("any")
    source, target = base / "source", base / "target"
    source.mkdir()
    target.mkdir()
    _grow(os.fsencode(source), tree)
    os.chmod(source, mode | 0o700)
    os.utime(source, ns=(0, number))
    bring_back(back_up(source), target)
    assert facts(target) == facts(source)


def _grow(folder: bytes, tree: dict[bytes, object]) -> None:
    for name, what in tree.items():
        path = os.path.join(folder, name)
        if isinstance(what, bytes):
            with open(path, "wb") as file:
                file.write(what)
        elif isinstance(what, tuple):
            os.symlink(what[1], path)
        else:
            assert isinstance(what, dict)
            os.mkdir(path)
            _grow(path, what)


def test_an_archive_that_no_restore_could_open_is_not_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A reader holds the whole table of frames, and bounds it: the writer must stop there, too, before it is committed."""
    odd_tree(tmp_path / "source")
    archive = back_up(tmp_path / "source", cipher="None").archive
    enough = table_size(archive[-FOOTER_SIZE:])
    monkeypatch.setattr(compression, "MAX_TABLE", enough)
    assert back_up(tmp_path / "source", cipher="None").archive == archive
    monkeypatch.setattr(compression, "MAX_TABLE", enough - 1)
    with pytest.raises(InvalidSpec, match="Back it up in parts"):
        back_up(tmp_path / "source", cipher="None")
