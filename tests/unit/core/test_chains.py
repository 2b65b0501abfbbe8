"""What a backup builds on, case by case."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from iot_backup.core import chains
from iot_backup.core.chains import CHAIN_FULL, Choice, Known, Wanted
from iot_backup.core.manifest import Compression, Counts, Manifest, Owner, Parent, Source, StoredObject
from iot_backup.core.spec import BackupType

NOW = datetime(2026, 11, 23, 12, 0, 0, tzinfo=UTC)
OURS, THEIRS = "0" * 16, "f" * 16
SOURCE = Source(claim="data", path="db", include=("/a",), exclude=("*.tmp",), one_file_system=True, job="nightly", schedule="daily")
OBJECT = StoredObject(size=1, sha256="0" * 64, header_sha256="1" * 64)
WANTED = Wanted(
    type="Incremental",
    source=SOURCE,
    writer=OURS,
    writer_admitted=True,
    cipher="Age",
    recipient="age1x",
    generation=1,
    max_chain_length=4,
)


def sha(id_: str) -> str:
    return hashlib.sha256(id_.encode()).hexdigest()


def known(number: int, type_: BackupType = "Full", parent: int | None = None, **changes: object) -> Known:
    """Backup of that number: its seq, and its id."""
    id_ = f"{number:016x}"
    made = Manifest(
        tool="test",
        repository_id="0" * 32,
        namespace="plant",
        chain="daily",
        id=id_,
        type=type_,
        seq=number,
        parent=None if parent is None else Parent(id=f"{parent:016x}", manifest_sha256=sha(f"{parent:016x}")),
        start_time=NOW + timedelta(hours=number),
        snapshot_time=NOW,
        completion_time=NOW,
        writer=OURS,
        cipher="Age",
        recipient="age1x",
        compression=Compression(algorithm="Zstd", level=1),
        archive=OBJECT,
        index=OBJECT,
        state=OBJECT,
        counts=Counts(),
        root_owner=Owner(uid=0, gid=0),
        source=SOURCE,
    )
    return Known(made.model_copy(update=changes), sha(id_))


FULL = known(1)
CHAIN = [FULL, known(2, "Incremental", 1), known(3, "Incremental", 2)]
OTHERS = known(5, writer=THEIRS)


def base_of(choice: Choice) -> int:
    return choice.base.manifest.seq if choice.base else 0


@pytest.mark.parametrize(
    ("case", "backups", "type_", "base"),
    [
        ("the newest", CHAIN, "Incremental", 3),
        ("by number, not by place in the list", CHAIN[::-1], "Incremental", 3),
        ("by number, not by the clock", [FULL, known(2, "Incremental", 1, start_time=NOW - timedelta(days=9))], "Incremental", 2),
        ("the newest Full", [*CHAIN, known(4), known(5, "Incremental", 4)], "Differential", 4),
        ("a Full below increments", CHAIN, "Differential", 1),
        ("an incremental on a differential", [FULL, known(2, "Differential", 1)], "Incremental", 2),
        ("a partial one", [FULL, known(2, "Incremental", 1, partial=True)], "Incremental", 2),
        ("what others made is passed over", [*CHAIN, OTHERS], "Incremental", 3),
        ("a Configuration is no base", [*CHAIN, known(4, "Configuration")], "Incremental", 3),
        ("one without its parent is passed over", [FULL, known(3, "Incremental", 2)], "Incremental", 1),
        ("one with a replaced parent, too", [FULL, replace(known(2, "Incremental", 1), sha256="e" * 64), CHAIN[2]], "Incremental", 2),
        ("one that builds on a Configuration, too", [FULL, known(2, "Configuration"), CHAIN[2]], "Incremental", 1),
        ("one that builds on a later number, too", [FULL, known(9), known(3, "Incremental", 9)], "Incremental", 9),
        ("another job of the same source", [known(1, source=SOURCE.model_copy(update={"job": "x", "schedule": None}))], "Incremental", 1),
        ("another compression", [known(1, compression=Compression(algorithm="None", level=0))], "Incremental", 1),
    ],
)
def test_a_base(case: str, backups: list[Known], type_: BackupType, base: int) -> None:
    choice = chains.chosen(backups, replace(WANTED, type=type_))
    assert (choice.type, base_of(choice)) == (type_, base), case
    assert choice.warnings == ()


@pytest.mark.parametrize("type_", ["Full", "Configuration"])
def test_what_stands_alone_stays_alone(type_: BackupType) -> None:
    assert chains.chosen(CHAIN, replace(WANTED, type=type_)) == Choice(type_)


def source(**changes: object) -> Wanted:
    return replace(WANTED, source=SOURCE.model_copy(update=changes))


@pytest.mark.parametrize(
    ("case", "backups", "wanted", "reason"),
    [
        ("the first of a chain", [], WANTED, ""),
        ("a writer that nobody admitted", CHAIN, replace(WANTED, writer_admitted=False), ""),
        ("another claim", CHAIN, source(claim="other"), "SourceChanged"),
        ("another folder", CHAIN, source(path=""), "SourceChanged"),
        ("other includes", CHAIN, source(include=()), "SourceChanged"),
        ("other excludes", CHAIN, source(exclude=("*.tmp", "b")), "SourceChanged"),
        ("mounts are entered now", CHAIN, source(one_file_system=False), "SourceChanged"),
        ("another recipient", CHAIN, replace(WANTED, recipient="age1y"), "RecipientChanged"),
        ("another generation", CHAIN, replace(WANTED, generation=2), "RecipientChanged"),
        ("another cipher", CHAIN, replace(WANTED, cipher="AES256"), "RecipientChanged"),
        ("encrypted from now on", [known(1, cipher="None", recipient=None)], WANTED, "RecipientChanged"),
        ("no state", [known(1, state=None)], WANTED, "BaseMissing"),
        ("others' only", [OTHERS], WANTED, "BaseMissing"),
        ("no Full is left", CHAIN[1:], WANTED, "BaseMissing"),
        ("nothing but Configurations", [known(1, "Configuration")], WANTED, "BaseMissing"),
        ("no Full for a differential", CHAIN[1:], replace(WANTED, type="Differential"), "BaseMissing"),
        ("as long as it may be", CHAIN, replace(WANTED, max_chain_length=3), CHAIN_FULL),
        ("longer than it may be", CHAIN, replace(WANTED, max_chain_length=2), CHAIN_FULL),
        ("Fulls alone", [FULL], replace(WANTED, type="Differential", max_chain_length=1), CHAIN_FULL),
    ],
)
def test_a_full_instead(case: str, backups: list[Known], wanted: Wanted, reason: str) -> None:
    choice = chains.chosen(backups, wanted)
    assert (choice.type, choice.base, choice.reason) == ("Full", None, reason), case
    warned = [reason] if reason not in ("", CHAIN_FULL) else []
    assert [warning.reason for warning in choice.warnings] == warned
    assert all("is a Full instead" in warning.message for warning in choice.warnings)


@pytest.mark.parametrize(("gone", "base"), [({3}, 2), ({2}, 1), ({2, 3}, 1), ({1}, 0)])
def test_what_is_being_deleted_is_no_base_nor_under_one(gone: set[int], base: int) -> None:
    assert base_of(chains.chosen(CHAIN, WANTED, {f"{number:016x}" for number in gone})) == base


def test_one_more_fits_below_the_cap() -> None:
    assert base_of(chains.chosen(CHAIN, replace(WANTED, max_chain_length=4))) == 3


def test_the_message_says_what_is_another() -> None:
    choice = chains.chosen(CHAIN, source(exclude=("b",)))
    assert "exclude ('*.tmp',) instead of ('b',)" in choice.message
