"""A plan says what the restore then does, and writes nothing; a chain that is not whole is told before a byte is written."""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from iot_backup.core import report
from iot_backup.core.report import PlanResult, RestoreResult
from iot_backup.errors import ChainBroken, CorruptData, NothingMatches, TargetFull
from iot_backup.storage.secret_values import MountedSecrets
from iot_backup.worker.cancelling import Cancel
from iot_backup.worker.chosen import chosen
from iot_backup.worker.comparing import Compared, Comparison
from iot_backup.worker.extract import Rules
from iot_backup.worker.mirror import Mirror
from iot_backup.worker.restore import restore
from tests.mounting import disk
from tests.pipeline.chains import fill, grown, stored
from tests.pipeline.conftest import folder_place
from tests.pipeline.roundtrip import Backup, back_up, bring_back, facts, index_of, odd_tree
from tests.pipeline.sites import Site


@dataclass
class Seed:
    """A plain repository that holds a chain of three, what the chain is of, and the chain itself."""

    site: Site
    source: Path
    chain: list[Backup]


@pytest.fixture(scope="module")
def seed(tmp_path_factory: pytest.TempPathFactory) -> Seed:
    base = tmp_path_factory.mktemp("plain")
    site = Site(folder_place(base), base, passphrase=None, algorithm="None")
    site.pin(site.probe())
    (base / "source").mkdir()
    chain = grown(base / "source", [first, second, third], cipher="None")
    stored(site, chain)
    return Seed(site, base / "source", chain)


@pytest.fixture
def plain(seed: Seed, tmp_path: Path) -> Site:
    return seed.site.elsewhere(folder_place(tmp_path), tmp_path)


@pytest.fixture
def source(seed: Seed) -> Path:
    return seed.source


@pytest.fixture
def chain(seed: Seed) -> list[Backup]:
    return seed.chain


@pytest.fixture
def target(tmp_path: Path) -> Path:
    (tmp_path / "target").mkdir()
    return tmp_path / "target"


def first(root: Path) -> None:
    odd_tree(root)
    fill(root / "data" / "a", 300_000)
    fill(root / "data" / "b", 300_000)


def second(root: Path) -> None:
    fill(root / "data" / "b", 200_000)


def third(root: Path) -> None:
    (root / "data" / "c").write_bytes(b"c")


LARGEST = 9_000_001
"""Bytes of the largest file of `odd_tree`."""


def run(site: Site, number: int, target: Path, **changes: Any) -> PlanResult | RestoreResult:
    order = site.restore_order(f"{number:016x}", identity=None, **changes)
    return restore(order, MountedSecrets(site.secrets_dir), target, Cancel())[0]


def plan(site: Site, number: int, target: Path, **changes: Any) -> PlanResult:
    before = facts(target)
    found = run(site, number, target, mode="Plan", **changes)
    assert isinstance(found, PlanResult)
    assert facts(target) == before
    assert report.decode(report.encode(report.Report(kind="restore", job="j", job_uid="u", plan=found)))
    return found


def restored(site: Site, number: int, target: Path, **changes: Any) -> RestoreResult:
    found = run(site, number, target, **changes)
    assert isinstance(found, RestoreResult)
    return found


def test_a_chain_in_a_store_comes_back(plain: Site, chain: list[Backup], source: Path, target: Path) -> None:
    done = restored(plain, 2, target)
    assert facts(target) == facts(source)
    assert (done.type, done.archive, done.bytes) == ("Full", f"{2:016x}", chain[2].packed.counts.source_bytes)


def test_hard_links_that_the_target_cannot_hold_are_told(plain: Site, target: Path) -> None:
    with disk(target / "empty folder", "1m"):
        order = plain.restore_order(f"{2:016x}", identity=None)
        done, warnings = restore(order, MountedSecrets(plain.secrets_dir), target, Cancel())
        assert isinstance(done, RestoreResult)
        assert [(one.reason, one.count) for one in warnings if "Links" in one.reason] == [("HardLinksNotRestored", 1)]
        assert (target / "empty folder" / "same").read_bytes() == (target / "a").read_bytes() == b"linked"


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("mode", ["Restore", "Plan"])
@pytest.mark.parametrize("gone", [0, 1])
def test_a_missing_manifest_is_named_and_nothing_is_written(
    plain: Site, chain: list[Backup], target: Path, gone: int, mode: str, verify: bool
) -> None:
    (key,) = [key for key in plain.manifests() if f"-{gone:016x}." in key]
    plain.place.remove(key)
    if mode == "Plan":
        assert plan(plain, 2, target, verify=verify).missing == (f"{gone:016x}",)
        return
    with pytest.raises(ChainBroken, match=f"builds on {gone:016x}"):
        restored(plain, 2, target, verify=verify)
    assert os.listdir(target) == []


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("number", [0, 1, 2])
def test_a_missing_or_cut_archive_is_told_before_a_byte_is_written(
    plain: Site, chain: list[Backup], target: Path, number: int, verify: bool
) -> None:
    (key,) = [key for key in plain.place.keys() if f"-{number:016x}." in key and "tar.zst" in key]
    body = plain.place.read(key)
    plain.place.put(key, body[:-1])
    assert plan(plain, 2, target).missing == (f"{number:016x}",)
    with pytest.raises(CorruptData):
        restored(plain, 2, target, verify=verify)
    plain.place.remove(key)
    assert plan(plain, 2, target).missing == (f"{number:016x}",)
    with pytest.raises(CorruptData, match="somebody deleted it"):
        restored(plain, 2, target, verify=verify)
    assert os.listdir(target) == []


@pytest.mark.parametrize("number", [0, 1, 2])
def test_with_verify_a_flipped_byte_of_any_archive_is_told_before_a_byte_is_written(
    plain: Site, chain: list[Backup], target: Path, number: int
) -> None:
    (key,) = [key for key in plain.place.keys() if f"-{number:016x}." in key and "tar.zst" in key]
    body = bytearray(plain.place.read(key))
    body[len(body) // 2] ^= 1
    plain.place.put(key, bytes(body))
    with pytest.raises(CorruptData, match="not what its manifest signs"):
        restored(plain, 2, target)
    assert os.listdir(target) == []


def test_an_index_that_refers_to_a_stranger_is_refused(plain: Site, chain: list[Backup], target: Path) -> None:
    """Signed and sealed, but of archives that its backup does not build on."""
    stored(plain, [chain[2]], id="f" * 16)
    with pytest.raises(CorruptData, match="refers to the archives"):
        run(plain, 0xFFFFFFFFFFFFFFFF, target)
    assert os.listdir(target) == []


def test_a_selective_restore_of_a_member_reads_what_it_needs(plain: Site, chain: list[Backup], source: Path, target: Path) -> None:
    (key,) = [key for key in plain.place.keys() if f"-{1:016x}." in key and "tar.zst" in key]
    plain.place.remove(key)
    done = restored(plain, 2, target, type="Selective", include=["/data/a", "/data/c"])
    assert {path.name: path.read_bytes() for path in (target / "data").iterdir()} == {
        name: (source / "data" / name).read_bytes() for name in "ac"
    }
    assert (done.type, done.files) == ("Selective", 2)
    planned = plan(plain, 2, target, type="Selective", include=["/data/a", "/data/c"])
    assert (planned.missing, planned.members) == ((), 2), "a plan ends as the restore does"
    assert plan(plain, 2, target, type="Selective", include=["/data/b"]).missing == (f"{1:016x}",)
    with pytest.raises(CorruptData, match="somebody deleted it"):
        restored(plain, 2, target, type="Selective", include=["/data/b"])
    with pytest.raises(NothingMatches, match="'nothing'"):
        restored(plain, 2, target, type="Selective", include=["nothing"])


def test_a_plan_of_an_empty_target_adds_everything(plain: Site, chain: list[Backup], target: Path) -> None:
    found, counts = plan(plain, 2, target), chain[2].packed.counts
    assert (found.add, found.change, found.same, found.keep, found.delete) == (counts.entries - 1, 1, 0, 0, 0), "the root is there"
    assert (found.files, found.bytes) == (counts.files + counts.hard_links, counts.source_bytes)
    assert (found.members, found.missing) == (3, ())
    assert found.space_needed == counts.source_bytes
    assert found.space_free > 0
    sizes = [len(one.archive) for one in chain]
    assert sum(sizes) + sizes[0] < found.read_bytes <= 2 * sum(sizes)
    assert plan(plain, 2, target, verify=False).read_bytes == found.read_bytes - sum(sizes)


def test_a_plan_after_the_restore_finds_everything_the_same(plain: Site, chain: list[Backup], target: Path) -> None:
    """What is the same is written all the same, but under SkipExisting: each file beside the one in its place. The largest needs its room."""
    restored(plain, 2, target)
    for rule in ("Overwrite", "KeepNewer", "SkipExisting", "Mirror"):
        found = plan(plain, 2, target, on_conflict=rule)
        assert (found.add, found.change, found.same, found.keep, found.delete) == (0, 0, chain[2].packed.counts.entries, 0, 0)
        assert found.space_needed == (0 if rule == "SkipExisting" else LARGEST)


def test_a_plan_and_its_restore_agree(plain: Site, chain: list[Backup], source: Path, target: Path) -> None:
    """Whatever the rule: paths added, kept and deleted are as many as foretold, and a plan afterwards finds nothing to add."""
    restored(plain, 0, target)
    (target / "data" / "a").write_bytes(b"newer")
    (target / "data" / "extra").mkdir()
    (target / "data" / "extra" / "file").write_bytes(b"x")
    shutil.rmtree(target / "deep")
    (target / "fifo").unlink()
    (target / "fifo").write_bytes(b"no fifo")
    for rule in ("Overwrite", "KeepNewer", "SkipExisting", "Mirror"):
        copy = target.parent / rule
        shutil.copytree(target, copy, symlinks=True, copy_function=_copied)
        before = set(facts(copy))
        foretold = plan(plain, 2, copy, on_conflict=rule)
        done = restored(plain, 2, copy, on_conflict=rule)
        after = set(facts(copy))
        assert (len(after - before), len(before - after)) == (foretold.add, foretold.delete)
        assert done.deleted == foretold.delete == (2 if rule == "Mirror" else 0)
        again = plan(plain, 2, copy, on_conflict=rule)
        assert (again.add, again.delete) == (0, 0)
        if rule in ("Overwrite", "Mirror"):
            assert (again.change, done.kept) == (0, 0)
        assert (again.same == chain[2].packed.counts.entries) == (rule in ("Overwrite", "Mirror"))
    assert facts(target.parent / "Mirror") == facts(source)


def _copied(source: str, target: str) -> str:
    if os.path.exists(source) and os.path.isfile(source):
        return shutil.copy2(source, target)
    os.mkfifo(target)
    return target


def test_a_plan_of_a_selection(plain: Site, chain: list[Backup], target: Path) -> None:
    found = plan(plain, 2, target, type="Selective", include=["/data/c"])
    assert (found.add, found.change, found.files, found.bytes) == (2, 0, 1, 1), "the file, and the folder above it"
    assert found.read_bytes <= len(chain[2].archive)
    with pytest.raises(NothingMatches):
        plan(plain, 2, target, type="Selective", include=["nothing"])


def test_a_plan_needs_no_archive(plain: Site, chain: list[Backup], target: Path) -> None:
    for number in range(3):
        (key,) = [key for key in plain.place.keys() if f"-{number:016x}." in key and "tar.zst" in key]
        plain.place.remove(key)
    found = plan(plain, 2, target)
    assert (len(found.missing), found.files) == (3, chain[2].packed.counts.files + chain[2].packed.counts.hard_links)


def test_a_plan_looks_through_no_link(plain: Site, chain: list[Backup], target: Path) -> None:
    (target.parent / "outside").mkdir()
    (target.parent / "outside" / "a").write_bytes(b"x")
    (target / "data").symlink_to(target.parent / "outside")
    (target / "fifo").write_bytes(b"x")
    found = plan(plain, 2, target)
    assert (found.change, found.same) == (3, 0), "the root, the link that shall be a folder, the file that shall be a fifo"
    kept = plan(plain, 2, target, on_conflict="SkipExisting")
    assert (kept.keep, kept.change) == (6, 0), "those, and three files that would be behind the link"


def test_mirror_spares_the_store_that_lies_in_its_target(plain: Site, tmp_path: Path, source: Path) -> None:
    """Else a restore would delete the backup that it brings back, and all others."""
    place = tmp_path / "nas"
    stored_before = facts(place)
    (tmp_path / "gone").mkdir()
    count = plan_of_mirror(plain, tmp_path)
    done = restored(plain, 2, tmp_path, on_conflict="Mirror")
    assert facts(place) == stored_before
    assert done.deleted == count
    assert not (tmp_path / "gone").exists()
    assert (tmp_path / "data" / "c").read_bytes() == (source / "data" / "c").read_bytes()


def plan_of_mirror(site: Site, target: Path) -> int:
    found = run(site, 2, target, mode="Plan", on_conflict="Mirror")
    assert isinstance(found, PlanResult)
    return found.delete


def test_a_plan_counts_the_room_of_what_is_replaced(plain: Site, target: Path) -> None:
    """Files take the place of others one by one: what they need at most is far less than all of them."""
    restored(plain, 2, target)
    for name in ("a", "b"):
        os.utime(target / "data" / name, (1, 1))
    found = plan(plain, 2, target, type="Selective", include=["/data/a", "/data/b"])  # other files are the same, larger, and written, too
    sizes = [(target / "data" / name).stat().st_size for name in ("a", "b")]
    assert found.change == 2
    assert max(sizes) <= found.space_needed < sum(sizes)


def compared(backup: Backup, target: Path, rules: Rules) -> Compared:
    root = os.open(target, os.O_RDONLY | os.O_DIRECTORY)
    comparison = Comparison(root, rules)
    try:
        for row in chosen(index_of(backup), rules.selection):
            comparison.add(row)
        comparison.finish()
    finally:
        comparison.close()
        os.close(root)
    return comparison.found


def enough(backup: Backup, target: Path, rules: Rules) -> bool:
    """What a plan says of the room."""
    room = compared(backup, target, rules).tightest
    return room.space <= room.free


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "tree").mkdir()
    return tmp_path / "tree"


@pytest.mark.parametrize("size", [4, 6])
def test_a_plan_knows_that_equal_files_are_written_beside_each_other(tree: Path, target: Path, size: int) -> None:
    (tree / "big").write_bytes(os.urandom(size << 20))
    backup = back_up(tree)
    with disk(target, "10m"):
        bring_back(backup, target)
        assert enough(backup, target, Rules()) == (size == 4)
        if size == 4:
            bring_back(backup, target)
        else:
            with pytest.raises(TargetFull):
                bring_back(backup, target)
        assert enough(backup, target, Rules("SkipExisting"))


def test_a_plan_knows_when_the_room_of_a_file_with_several_names_comes_free(tree: Path, target: Path) -> None:
    (tree / "a").write_bytes(os.urandom(3 << 20))
    os.link(tree / "a", tree / "b")
    (tree / "c").write_bytes(os.urandom(5 << 20))
    backup = back_up(tree)
    with disk(target, "9m"):
        (target / "a").write_bytes(os.urandom(3 << 20))
        os.link(target / "a", target / "b")
        assert enough(backup, target, Rules())
        bring_back(backup, target)
        (target / "elsewhere").hardlink_to(target / "c")
        (target / "a").unlink()
        assert not enough(backup, target, Rules()), "its place is taken as long as it has another name"


def test_a_plan_counts_the_room_that_mirror_frees_on_the_way(tree: Path, target: Path) -> None:
    (tree / "a").mkdir()
    (tree / "z").write_bytes(os.urandom(6 << 20))
    backup = back_up(tree)
    with disk(target, "10m"):
        (target / "a").mkdir()
        (target / "a" / "stale").write_bytes(os.urandom(7 << 20))
        assert not enough(backup, target, Rules())
        assert enough(backup, target, Rules("Mirror", mirror=Mirror(acts=False)))
        bring_back(backup, target, rules=Rules("Mirror", mirror=Mirror()))
    with disk(target, "10m"):
        (target / "zz").write_bytes(os.urandom(7 << 20))
        assert not enough(backup, target, Rules("Mirror", mirror=Mirror(acts=False))), "that goes after what is written"


def test_a_plan_names_the_file_system_of_the_target_that_has_no_room(tree: Path, target: Path) -> None:
    for name in ("here", "there"):
        (tree / name).mkdir()
        (tree / name / "file").write_bytes(os.urandom(3 << 20))
    backup = back_up(tree)
    for here, there in ((4, 4), (2, 9), (9, 2)):
        with ExitStack() as disks:
            disks.enter_context(disk(target, f"{here}m"))
            disks.enter_context(disk(target / "there", f"{there}m"))
            room = compared(backup, target, Rules()).tightest
            assert (room.space, room.free >> 20) == (3 << 20, min(here, there))
            if here == there:
                bring_back(backup, target)


def test_a_plan_and_its_restore_agree_on_devices(tree: Path, target: Path) -> None:
    if os.geteuid():
        pytest.skip("makes a device")
    os.mknod(tree / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(tree / "zero", stat.S_IFCHR | 0o666, os.makedev(1, 5))
    (target / "zero").write_bytes(b"mine")
    os.utime(tree, (1, 1))
    backup = back_up(tree)
    without, made = compared(backup, target, Rules()), compared(backup, target, Rules(devices=True))
    assert (without.add, without.change, without.keep) == (0, 1, 1), "the root changes, the file stays"
    assert (made.add, made.change, made.keep) == (1, 2, 0)
    bring_back(backup, target)
    assert os.listdir(target) == ["zero"]
    assert (target / "zero").read_bytes() == b"mine"


def test_a_plan_counts_what_makes_way_for_a_folder_above_a_selection_as_a_change(plain: Site, target: Path) -> None:
    (target / "data").symlink_to(target.parent)
    found = plan(plain, 2, target, type="Selective", include=["/data/c"])
    assert (found.add, found.change) == (1, 1)


def test_a_plan_counts_no_left_overs_of_an_interrupted_restore(plain: Site, target: Path) -> None:
    for folder in (target, target / "data"):
        folder.mkdir(exist_ok=True)
        (folder / ".iot-backup-restore-0123456789abcdef.partial").write_bytes(b"half")
    assert plan(plain, 2, target, on_conflict="Mirror").delete == restored(plain, 2, target, on_conflict="Mirror").deleted == 0


def test_a_plan_tells_that_a_folder_of_an_interrupted_restore_gets_its_attributes(plain: Site, target: Path) -> None:
    (target / "data").mkdir()
    (target / "data").chmod(0o1700)
    found = plan(plain, 2, target, on_conflict="SkipExisting")
    assert (found.change, found.keep) == (1, 1), "the folder, and the root"
