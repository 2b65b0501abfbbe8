"""Whatever somebody does to a stored backup, a verification says so, and at which level; it never writes."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from iot_backup.core import layout
from iot_backup.core.retention import Policy
from iot_backup.core.spec import Floor
from iot_backup.crypto.signing import WriterKey
from iot_backup.errors import Internal, InvalidSpec, KeyMissing, SourceUnavailable
from iot_backup.repository.opening import Repository, open_for_backup, open_for_restore, open_to_look
from iot_backup.repository.retiring import Rules, retired
from iot_backup.storage.read_only import ReadOnly
from iot_backup.storage.store import Store
from iot_backup.worker import verify_restored
from iot_backup.worker.unpacking import Unpacked, unpack
from iot_backup.worker.verify import Level, Verification, Wish, verify
from tests.pipeline.conftest import folder_place
from tests.pipeline.handmade import chained, with_another_index
from tests.pipeline.roundtrip import odd_tree
from tests.pipeline.sites import NAMESPACE, Place, Site, open_to_all


@dataclass
class Verified:
    """A repository with two backups of one tree, and how to look at it."""

    site: Site
    ids: list[str]

    @property
    def place(self) -> Place:
        return self.site.place

    def opened(self) -> Repository:
        return open_for_restore(self.site.store(), NAMESPACE, self.site.trust, brought=self.site.person)

    def at(self, level: Level, **wish: object) -> Verification:
        """A verification, and that the store is byte for byte what it was."""
        before = {key: self.place.read(key) for key in self.place.keys()}
        repository = open_to_look(self.site.store(), NAMESPACE, self.site.trust) if level <= Level.STORED else self.opened()
        found = verify(repository, Wish(level, **wish))
        assert {key: self.place.read(key) for key in self.place.keys()} == before
        return found

    def key(self, which: int, suffix: str) -> str:
        """The object of a backup whose key ends so."""
        (found,) = [key for key in self.place.keys() if f"-{self.ids[which]}." in key and key.endswith(suffix)]
        return found

    def change(self, key: str, change: Callable[[bytes], bytes]) -> None:
        self.place.put(key, change(self.place.read(key)))


@pytest.fixture(scope="module")
def stored(seed: Site, tmp_path_factory: pytest.TempPathFactory) -> Verified:
    """Two Fulls, of which the second has another `z.bin` of the same size."""
    base = tmp_path_factory.mktemp("stored")
    open_to_all(base)
    site, tree = seed.elsewhere(folder_place(base), base), base / "tree"
    (tree / "logs").mkdir(parents=True)
    (tree / "a.bin").write_bytes(random.Random(1).randbytes(5_000_000))
    (tree / "logs" / "text.log").write_bytes(b"all is well\n" * 100_000)
    (tree / "logs" / "z.bin").write_bytes(random.Random(2).randbytes(300_000))
    (tree / "link").symlink_to("a.bin")
    first = site.backup(tree).archive
    (tree / "logs" / "z.bin").write_bytes(random.Random(3).randbytes(300_000))
    return Verified(site, [first, site.backup(tree).archive])


@pytest.fixture(scope="module")
def stored_chain(seed: Site, tmp_path_factory: pytest.TempPathFactory) -> Verified:
    """A Full and two increments, the first of which holds changed blocks of a large file and a deletion."""
    base = tmp_path_factory.mktemp("stored-chain")
    open_to_all(base)
    site, tree = seed.elsewhere(folder_place(base), base), base / "tree"
    tree.mkdir()
    (tree / "disk.img").write_bytes(random.Random(7).randbytes(10_000_000))
    (tree / "gone").write_bytes(b"gone")
    ids = [site.backup(tree).archive]
    with open(tree / "disk.img", "r+b") as file:
        file.seek(5_000_000)
        file.write(b"changed")
    (tree / "gone").unlink()
    ids.append(site.backup(tree, type="Incremental").archive)
    (tree / "new").write_bytes(b"new")
    ids.append(site.backup(tree, type="Incremental").archive)
    return Verified(site, ids)


@pytest.fixture
def grown(stored_chain: Verified, tmp_path: Path) -> Verified:
    """The same, to be changed."""
    open_to_all(tmp_path)
    return Verified(stored_chain.site.elsewhere(folder_place(tmp_path), tmp_path), stored_chain.ids)


@pytest.fixture
def two(stored: Verified, tmp_path: Path) -> Verified:
    """The same, to be changed."""
    open_to_all(tmp_path)
    return Verified(stored.site.elsewhere(folder_place(tmp_path), tmp_path), stored.ids)


def flipped(at: float) -> Callable[[bytes], bytes]:
    """One bit is another: at a place from the beginning, or as a share of the whole."""

    def change(data: bytes) -> bytes:
        place = int(len(data) * at) if isinstance(at, float) else at % len(data)
        return data[:place] + bytes([data[place] ^ 0x10]) + data[place + 1 :]

    return change


def reasons(found: Verification) -> list[tuple[str, str]]:
    """Of all backups and the whole."""
    problems = [*found.problems, *(problem for backup in found.backups for problem in backup.problems)]
    return [(problem.reason, problem.message) for problem in problems]


@pytest.mark.parametrize("level", [Level.METADATA, Level.STORED, Level.CONTENT])
def test_what_is_whole_is_found_whole(two: Verified, level: Level) -> None:
    found = two.at(level)
    assert found.ok, reasons(found)
    assert [(backup.member.id, backup.type, backup.ok) for backup in found.backups] == [(id_, "Full", True) for id_ in two.ids]
    content = (3, 5_000_000 + 1_200_000 + 300_000) if level == Level.CONTENT else (0, 0)
    assert [(backup.files, backup.bytes) for backup in found.backups] == [content, content]


def test_an_odd_tree_is_restored_and_compared_and_the_scratch_folder_is_empty_again(volume_site: Site, tmp_path: Path) -> None:
    odd_tree(tmp_path / "tree")
    scratch = volume_site.folder("scratch")
    done = volume_site.backup(tmp_path / "tree")
    world = Verified(volume_site, [done.archive])
    found = world.at(Level.RESTORED, scratch=scratch)
    assert found.ok, reasons(found)
    assert (found.backups[0].files, found.backups[0].bytes) == (done.backup.files - 1, done.backup.source_bytes)
    assert not list(scratch.iterdir())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become somebody else")
def test_modes_that_keep_their_own_user_out_hinder_no_restored_look(volume_site: Site, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for name in ("read only", "shut", "write only"):
        (tree / name / "below").mkdir(parents=True)
        (tree / name / "below" / "file").write_text(name)
    (tree / "read only" / "link").symlink_to(tmp_path)
    (tree / "hidden").write_text("hidden")
    for name, mode in (("read only/below", 0o555), ("read only", 0o555), ("shut", 0), ("write only", 0o200), ("hidden", 0o200)):
        (tree / name).chmod(mode)
    world = Verified(volume_site, [volume_site.backup(tree).archive])
    scratch, repository = volume_site.folder("scratch"), world.opened()
    open_to_all(scratch)
    os.chown(scratch, 12345, -1)
    assert world.at(Level.RESTORED, scratch=scratch).ok  # and modules that are imported late are there
    before = tmp_path.stat().st_mode
    os.setegid(65532)
    os.seteuid(12345)
    try:
        found = verify(repository, Wish(Level.RESTORED, scratch=scratch))
    finally:
        os.seteuid(0)
        os.setegid(0)
    assert found.ok, reasons(found)
    assert found.backups[0].files == 4
    assert (list(scratch.iterdir()), tmp_path.stat().st_mode) == ([], before)


def test_a_file_that_this_user_may_not_read_is_a_problem_of_that_file(two: Verified, monkeypatch: pytest.MonkeyPatch) -> None:
    read = verify_restored._sha256

    def refused(place: bytes, *more: object) -> str:
        if place.endswith(b"a.bin"):
            raise PermissionError(13, "Permission denied")
        return read(place, *more)

    monkeypatch.setattr(verify_restored, "_sha256", refused)
    (backup,) = two.at(Level.RESTORED, scratch=two.site.folder("scratch"), ids=[two.ids[0]]).backups
    ((reason, message),) = [(problem.reason, problem.message) for problem in backup.problems]
    assert (reason, "'a.bin'" in message, backup.damaged, backup.files) == ("AccessDenied", True, False, 2)


def test_a_restore_that_brings_back_something_else_is_told(two: Verified, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the restore had a defect: what it leaves is compared, not what it says."""

    def broken(rows: object, sources: object, root: int, *more: object) -> Unpacked:
        unpacked = unpack(rows, sources, root, *more)
        os.truncate(f"/proc/self/fd/{root}/a.bin", 4_999_999)
        os.utime(f"/proc/self/fd/{root}/logs/z.bin", (1, 1))
        os.chmod(f"/proc/self/fd/{root}/logs/text.log", 0o600)
        os.unlink(f"/proc/self/fd/{root}/link")
        os.setxattr(f"/proc/self/fd/{root}/logs", "user.x", b"1")
        os.makedirs(f"/proc/self/fd/{root}/more/still")
        return unpacked

    monkeypatch.setattr(verify_restored, "unpack", broken)
    (backup,) = two.at(Level.RESTORED, scratch=two.site.folder("scratch"), ids=[two.ids[0]]).backups
    told = " | ".join(problem.message for problem in backup.problems)
    for words in ("'a.bin' came back with another content", "'link' came back with another fate", "z.bin' came back with another time",
                  "text.log' came back with another mode", "'logs' came back with another set of extended attributes", "has 7 paths, and the index 6"):  # fmt: skip
        assert words in told, words


@pytest.mark.parametrize("suffix", [".age", ".index"])
def test_a_damaged_backup_is_told_by_restoring_too(two: Verified, suffix: str) -> None:
    two.change(two.key(0, suffix), flipped(0.5))
    found = two.at(Level.RESTORED, scratch=two.site.folder("scratch"))
    assert {backup.member.id: backup.ok for backup in found.backups} == {two.ids[0]: False, two.ids[1]: True}
    assert {reason for reason, _ in reasons(found)} == {"CorruptData"}
    with pytest.raises(InvalidSpec, match="no scratch folder"):
        two.at(Level.RESTORED)


@pytest.fixture
def chain(two: Verified) -> Verified:
    """The same, of which the second is an increment of the first."""
    chained(two.site, two.ids)
    return two


@pytest.mark.parametrize("level", list(Level))
def test_a_whole_chain_is_found_whole(chain: Verified, level: Level) -> None:
    found = chain.at(level, scratch=chain.site.folder("scratch"))
    assert found.ok, reasons(found)
    assert [backup.type for backup in found.backups] == ["Full", "Incremental"]
    assert [backup.files for backup in found.backups] == ([3, 3] if level >= Level.CONTENT else [0, 0])


@pytest.mark.parametrize("level", list(Level))
def test_a_chain_with_deltas_is_found_whole(grown: Verified, level: Level) -> None:
    found = grown.at(level, scratch=grown.site.folder("scratch"))
    assert found.ok, reasons(found)
    assert [backup.type for backup in found.backups] == ["Full", "Incremental", "Incremental"]
    assert [backup.files for backup in found.backups] == ([2, 1, 2] if level >= Level.CONTENT else [0, 0, 0])


def test_damage_below_a_delta_is_told_of_each_backup_that_needs_it(grown: Verified) -> None:
    """The first half of the large file lies in the Full, a block in the middle in the increment."""
    full, increment = grown.key(0, ".age"), grown.key(1, ".age")
    # Of a small archive all is read with the table of its frames, before any file.
    for key, bad, words in ((full, [True, True, True], "disk.img"), (increment, [False, True, True], "damaged in chunk 0")):
        whole = grown.place.read(key)
        grown.place.put(key, flipped(20_000)(whole))
        found = grown.at(Level.CONTENT, percent=99.999999)
        assert [not backup.ok for backup in found.backups] == bad
        assert all(words in message for _, message in reasons(found))
        grown.place.put(key, whole)
    assert grown.at(Level.CONTENT).ok


def test_an_increment_is_looked_at_with_what_it_builds_on(chain: Verified) -> None:
    assert [backup.member.id for backup in chain.at(Level.METADATA, ids=[chain.ids[1]]).backups] == chain.ids
    assert [backup.member.id for backup in chain.at(Level.METADATA, ids=[chain.ids[0]]).backups] == chain.ids[:1]


def test_a_parent_that_is_gone_damaged_or_another_one(chain: Verified) -> None:
    manifest, archive = chain.key(0, ".manifest.json"), chain.key(0, ".age")
    written, stored = chain.place.read(manifest), chain.place.read(archive)
    chain.place.remove(manifest)
    found = chain.at(Level.METADATA)
    assert found.missing == {"daily": ((1, 1),)}
    ((reason, message),) = reasons(found)
    assert (reason, "which is not in the store" in message) == ("ChainBroken", True)
    chain.place.put(manifest, flipped(0.3)(written))
    assert [reason for reason, _ in reasons(chain.at(Level.METADATA))][-1] == "ChainBroken"
    chain.place.put(manifest, written)
    chain.place.put(archive, flipped(1_000_000)(stored))
    found = chain.at(Level.CONTENT, percent=99.999999)
    assert [backup.ok for backup in found.backups] == [False, False]
    assert all("a.bin" in message for _, message in reasons(found))
    chain.place.put(archive, stored)
    with_another_index(chain.site, chain.ids[0], lambda rows: rows)
    ((reason, message),) = reasons(chain.at(Level.METADATA))
    assert (reason, "another manifest is in its place" in message) == ("ChainBroken", True)


def test_an_index_that_refers_to_archives_of_others(chain: Verified) -> None:
    chain_of_one = chain.ids[1].encode()
    with_another_index(chain.site, chain.ids[1], lambda rows: rows.replace(chain.ids[0].encode(), b"0123456789abcdef"))
    ((reason, message),) = reasons(chain.at(Level.CONTENT))
    assert (reason, "on which it does not build" in message) == ("ChainBroken", True)
    with_another_index(chain.site, chain.ids[1], lambda rows: rows.replace(b"," + b'"' + chain_of_one + b'"', b""))
    assert {reason for reason, _ in reasons(chain.at(Level.CONTENT))} <= {"CorruptData", "ChainBroken"}


ROWS = [
    (b'"members":6', b'"members":7', "lines are missing or doubled"),
    (b'"tar_size":', b'"tar_size":1', "bytes of its archive"),
    (b'"offset":512', b'"offset":0', "out of its order"),
    (b'{"end"', b'{"fin"', "cut off"),
]


@pytest.mark.parametrize(("what", "instead", "words"), ROWS)
def test_an_index_that_contradicts_itself(two: Verified, what: bytes, instead: bytes, words: str) -> None:
    with_another_index(two.site, two.ids[0], lambda rows: rows.replace(what, instead))
    messages = [message for _, message in reasons(two.at(Level.CONTENT, ids=[two.ids[0]]))]
    assert any(words in message for message in messages), messages


OBJECTS = (".age", ".index", ".state", ".manifest.json")
PLACES = [3, 80, 200, 300, 0.5, 0.9, -1, -5, -17]
"""First line, stanza, its body, nonce or first chunk; in the middle; table of frames, its footer, authentication tag of the last chunk."""


@pytest.mark.parametrize("suffix", OBJECTS)
@pytest.mark.parametrize("at", PLACES)
def test_one_bit_is_found_by_reading_without_a_key(two: Verified, suffix: str, at: float) -> None:
    """restic #1617: a check that reads no data finds nothing."""
    two.change(two.key(0, suffix), flipped(at))
    found = two.at(Level.STORED)
    assert {backup.member.id: backup.ok for backup in found.backups} == {two.ids[0]: False, two.ids[1]: True}
    ((reason, message),) = reasons(found)
    assert reason in ("CorruptData", "Untrusted")
    assert two.key(0, suffix) in message


def test_a_bit_anywhere_is_found_by_decrypting(two: Verified) -> None:
    """Level 3 alone, of a sample that reads no ciphertext whole: what it reads is authentic, or told."""
    rng = random.Random(4)
    for suffix in (".age", ".index"):
        key = two.key(0, suffix)
        whole = two.place.read(key)
        for at in (3, 80, 200, 260, *(rng.randrange(len(whole)) for _ in range(6))):
            two.place.put(key, flipped(at)(whole))
            found = two.at(Level.CONTENT, percent=99.999999, ids=[two.ids[0]])
            assert not found.ok, (suffix, at)
            assert {reason for reason, _ in reasons(found)} == {"CorruptData"}
        two.place.put(key, whole)
    assert two.at(Level.CONTENT).ok


def test_damage_is_told_by_the_files_it_hits(two: Verified) -> None:
    """One bad chunk costs the file it is in, not its neighbours."""
    two.change(two.key(0, ".age"), flipped(1_000_000))
    (backup,) = two.at(Level.CONTENT, percent=99.999999, ids=[two.ids[0]]).backups
    (problem,) = backup.problems
    assert "a.bin" in problem.message
    assert "damaged in chunk" in problem.message
    assert (backup.files, backup.bytes) == (2, 1_500_000)


@pytest.mark.parametrize("algorithm", ["AES256", "None"])
def test_the_other_ciphers_hide_nothing_either(tmp_path: Path, algorithm: str) -> None:
    open_to_all(tmp_path)
    site, tree = Site(folder_place(tmp_path), tmp_path, algorithm=algorithm, passphrase=None), tmp_path / "tree"
    site.recipients = () if algorithm == "None" else (site.person.recipient,)
    site.pin(site.probe())
    tree.mkdir()
    (tree / "a.bin").write_bytes(random.Random(1).randbytes(3_000_000))
    world = Verified(site, [site.backup(tree).archive])
    assert world.at(Level.CONTENT).ok
    archive = world.key(0, {"AES256": ".aes256", "None": ".zst"}[algorithm])
    whole = world.place.read(archive)
    rng = random.Random(9)
    for level, percent in ((Level.STORED, 100), (Level.CONTENT, 99.999999)):
        for at in [rng.randrange(len(whole) - 1000) for _ in range(4)]:
            world.place.put(archive, flipped(at)(whole))
            assert not world.at(level, percent=percent).ok, (level, at)
    world.place.put(archive, whole)
    assert world.at(Level.CONTENT).ok


def cut(data: bytes) -> bytes:
    return data[:-1000]


def appended(data: bytes) -> bytes:
    return data + b"x"


@pytest.mark.parametrize(("change", "words"), [(cut, "it was cut off"), (appended, "something was appended")])
@pytest.mark.parametrize("suffix", [".age", ".index"])
def test_a_wrong_size_is_told_by_the_metadata_alone(two: Verified, change: Callable[[bytes], bytes], words: str, suffix: str) -> None:
    two.change(two.key(1, suffix), change)
    for level in (Level.METADATA, Level.STORED):
        ((reason, message),) = reasons(two.at(level))
        assert (reason, words in message, two.key(1, suffix) in message) == ("CorruptData", True, True)


@pytest.mark.parametrize("suffix", [".age", ".index"])
def test_an_object_that_is_gone(two: Verified, suffix: str) -> None:
    key = two.key(0, suffix)
    two.place.remove(key)
    for level in (Level.METADATA, Level.STORED):
        ((reason, message),) = reasons(two.at(level))
        assert (reason, f"{key} is not in the store" in message) == ("CorruptData", True)


def test_two_archives_that_were_swapped(two: Verified) -> None:
    one, other = two.key(0, ".age"), two.key(1, ".age")
    one_body, other_body = two.place.read(one), two.place.read(other)
    two.place.put(one, other_body)
    two.place.put(other, one_body)
    messages = [message for _, message in reasons(two.at(Level.STORED))]
    assert len(messages) == 2
    assert f"{one} holds the bytes of {other}" in messages[0]
    assert f"{other} holds the bytes of {one}" in messages[1]
    assert all("header" in message or "begin" in message for _, message in reasons(two.at(Level.CONTENT, percent=99.999999)))


def test_a_strangers_archive_of_the_same_size(two: Verified) -> None:
    """Sealed to the same recipient, of the same length: by its header it is another file, not a damaged one."""
    key = two.key(0, ".age")
    sealer = two.opened().sealer()
    size = len(two.place.read(key))
    plain = size - len(sealer.header) - 16 * -(-(size - len(sealer.header)) // 65552)
    out = bytearray(sealer.room(plain))
    end = sealer.feed(bytes(plain), out, 0)
    two.place.put(key, sealer.header + bytes(out[:end]) + sealer.finish())
    assert len(two.place.read(key)) == size
    assert two.at(Level.METADATA).ok
    ((_, message),) = reasons(two.at(Level.STORED))
    assert "begins with another header than was signed" in message
    assert not two.at(Level.CONTENT, percent=50, rng=random.Random(5)).ok


def test_an_old_manifest_under_a_new_name(two: Verified) -> None:
    """Replayed, it says itself where it belongs."""
    two.place.put(two.key(1, ".manifest.json"), two.place.read(two.key(0, ".manifest.json")))
    found = two.at(Level.METADATA)
    assert {backup.member.id: backup.ok for backup in found.backups} == {two.ids[0]: True, two.ids[1]: False}
    ((reason, message),) = reasons(found)
    assert (reason, "was moved or copied" in message) == ("Untrusted", True)


def test_a_manifest_by_a_writer_whom_nobody_admitted(two: Verified) -> None:
    written = two.place.read(two.key(1, ".manifest.json"))
    writer = written.partition(b'"writer": "')[2][:16]
    two.place.put(two.key(1, ".manifest.json"), written.replace(writer, b"0123456789abcdef"))
    ((reason, message),) = reasons(two.at(Level.METADATA))
    assert (reason, "whom nobody admitted" in message) == ("Untrusted", True)


def test_a_backup_that_was_taken_away_leaves_its_number(two: Verified) -> None:
    two.place.remove(two.key(0, ".manifest.json"))
    found = two.at(Level.METADATA)
    assert (found.ok, found.missing) == (False, {"daily": ((1, 1),)})
    assert [backup.ok for backup in found.backups] == [True]


def test_with_its_chain_a_backup_is_looked_at_beside_what_is_wrong_with_the_chain(grown: Verified) -> None:
    grown.place.remove(grown.key(1, ".manifest.json"))
    found = grown.at(Level.METADATA, ids=[grown.ids[0]], chains=["daily"])
    assert ([backup.member.id for backup in found.backups], found.missing) == ([grown.ids[0]], {"daily": ((2, 2),)})
    assert grown.at(Level.METADATA, ids=[grown.ids[0]], chains=["weekly"]).ok, "another chain's gaps are not asked for"
    grown.change(grown.key(2, ".manifest.json"), flipped(0.5))
    found = grown.at(Level.METADATA, ids=[grown.ids[0]], chains=["daily"])
    # Of one that does not count nobody knows the number, and both may be of one second: in any order.
    assert {backup.member.id: backup.ok for backup in found.backups} == {grown.ids[0]: True, grown.ids[2]: False}
    assert grown.at(Level.METADATA, ids=[grown.ids[0]]).ok, "a backup by itself"


class Beside:
    """A store ahead of whose calls something happens, which sees the name of the call and what it is given."""

    def __init__(self, store: Store, happens: Callable[..., object]) -> None:
        self.store, self.happens = store, happens

    def __getattr__(self, name: str) -> Any:
        def call(*given: Any, **named: Any) -> Any:
            self.happens(name, *given)
            return getattr(self.store, name)(*given, **named)

        return call


class Killed(BaseException):
    """The process is gone."""


def killed_at_the_record(name: str, *given: object) -> None:
    """When archives are gone, and no record says so yet."""
    if name == "create" and str(given[0]).startswith(layout.REMOVED):
        raise Killed


@pytest.mark.parametrize("happens", [lambda *_: None, killed_at_the_record], ids=["whole", "killed"])
@pytest.mark.parametrize("level", list(Level))
def test_what_retention_takes_meanwhile_is_passed_over(two: Verified, tmp_path: Path, level: Level, happens: Callable[..., object]) -> None:
    calls: list[str] = []

    def retire(name: str, *given: object) -> None:
        """Ahead of the first look into an archive."""
        if not calls and name in ("head", "stream", "read_range") and str(given[0]).endswith(".zst.age"):
            calls.append(name)
            store = Beside(two.site.store(), happens)
            repository = open_for_backup(store, NAMESPACE, two.site.trust, WriterKey(two.site.writer_key))  # type: ignore[arg-type]
            with suppress(Killed):
                retired(repository, Rules({"daily": Policy(keep_last=1)}, UTC, {}), datetime.now(UTC), lambda: None)

    repository = two.opened()
    store = Beside(repository.store, retire)
    repository = replace(repository, store=store, catalogue=repository.catalogue.over(store))  # type: ignore[arg-type]
    (tmp_path / "scratch").mkdir()
    found = verify(repository, Wish(level, scratch=tmp_path / "scratch"))
    assert calls
    assert [(each.member.id, each.removed, each.problems) for each in found.backups] == [(two.ids[0], True, ()), (two.ids[1], False, ())]
    assert found.ok
    assert [each.member.id for each in two.at(Level.METADATA).backups] == [two.ids[1]]


def test_a_mark_of_retention_that_nobody_signed_hides_nothing(two: Verified) -> None:
    two.place.put(f"{two.key(0, '.index').rpartition('chains/')[0]}doomed/{two.ids[0]}", b"{}")
    two.place.remove(two.key(0, ".index"))
    assert not two.at(Level.METADATA).ok


def test_a_hidden_newest_backup_is_missed_by_who_remembers_it(two: Verified) -> None:
    remembered = Floor(seq=2, manifest_sha256=hashlib.sha256(two.place.read(two.key(1, ".manifest.json"))).hexdigest())
    assert two.at(Level.METADATA, floors={"daily": remembered}).ok
    two.place.remove(two.key(1, ".manifest.json"))
    assert two.at(Level.METADATA).ok, "nobody remembers"
    found = two.at(Level.METADATA, floors={"daily": remembered})
    ((reason, message),) = reasons(found)
    assert (found.ok, reason, "number 2 was there before" in message) == (False, "RolledBack", True)


def test_an_older_manifest_in_the_newest_ones_place_is_missed_too(two: Verified) -> None:
    newest = two.key(1, ".manifest.json")
    remembered = Floor(seq=2, manifest_sha256=hashlib.sha256(two.place.read(newest)).hexdigest())
    two.place.put(newest, two.place.read(two.key(0, ".manifest.json")))
    assert {reason for reason, _ in reasons(two.at(Level.METADATA, floors={"daily": remembered}))} == {"RolledBack", "Untrusted"}


def test_a_manifest_of_another_cipher(two: Verified) -> None:
    """Only who has the writer's key can make one: its own repository is known to be of one cipher."""
    repository = two.opened()
    record = repository.record.model_copy(update={"cipher": "AES256"})
    other = replace(repository, record=record, catalogue=replace(repository.catalogue, record=record))
    found = verify(other, Wish(Level.METADATA))
    assert {reason for reason, _ in reasons(found)} == {"CorruptData"}
    assert all("the manifest says Age" in message for _, message in reasons(found))


def test_no_key_file_is_left(two: Verified) -> None:
    for key in [key for key in two.place.keys() if key.startswith("keys/")]:
        two.place.remove(key)
    ((reason, _),) = reasons(two.at(Level.METADATA))
    assert reason == "KeyMissing"


def test_a_sample_takes_about_its_share_of_the_files(volume_site: Site, tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    for number in range(400):
        (tree / f"{number}").write_bytes(b"x" * number)
    world = Verified(volume_site, [volume_site.backup(tree).archive])
    (backup,) = world.at(Level.CONTENT, percent=25, rng=random.Random(6)).backups
    assert backup.ok
    assert 60 < backup.files < 140


def test_only_the_wished_backup_is_looked_at(two: Verified) -> None:
    two.change(two.key(0, ".age"), flipped(0.5))
    assert [backup.member.id for backup in two.at(Level.STORED, ids=[two.ids[1]]).backups] == [two.ids[1]]
    with pytest.raises(SourceUnavailable, match="0123456789abcdef"):
        two.at(Level.METADATA, ids=["0123456789abcdef"])


def test_without_a_key_nothing_is_decrypted(two: Verified) -> None:
    repository = open_to_look(two.site.store(), NAMESPACE, two.site.trust)
    with pytest.raises(KeyMissing, match="level 3"):
        verify(repository, Wish(Level.CONTENT))


def test_a_store_that_is_only_read_has_no_way_to_write(two: Verified) -> None:
    """borg #3444: a check that could repair destroyed good data."""
    store = ReadOnly(two.site.store())
    for write in (
        lambda: store.create("x", b"x"),
        lambda: store.create_stream("x", [b"x"]),
        lambda: store.delete(two.key(0, ".age")),
        store.now,
    ):
        with pytest.raises(Internal, match="Nothing was changed"):
            write()
