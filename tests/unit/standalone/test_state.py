"""What a machine remembers: durable, whole, and held by one run at a time."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest

from iot_backup.core.spec import Trust
from iot_backup.errors import AccessDenied, Busy, Cancelled, CorruptData
from iot_backup.standalone.state import RESTORING, VERIFYING, Head, Memory, State

TRUST = Trust(repository_id="0" * 32, fingerprint="a" * 64, recipient=None)


def head(seq: int) -> Head:
    return Head(seq=seq, manifest_sha256="b" * 64, source_bytes=5, files=1)


@pytest.fixture
def state(tmp_path: Path) -> State:
    return State(tmp_path / "state", "default@local")


def test_nothing_is_made_by_looking(state: State) -> None:
    assert state.memory() is None
    assert not state.folder.exists()


def test_what_is_remembered_is_read_back(state: State) -> None:
    kept = state.remember(lambda memory: (memory or Memory(trust=TRUST)).with_head("daily", head(1)))
    assert state.memory() == kept
    assert kept.heads["daily"].floor.seq == 1


@pytest.mark.parametrize(("first", "second", "kept"), [(1, 2, 2), (2, 1, 2), (2, 2, 2)])
def test_a_head_never_goes_back(first: int, second: int, kept: int) -> None:
    memory = Memory(trust=TRUST).with_head("daily", head(first)).with_head("daily", head(second)).with_head("weekly", head(9))
    assert {chain: found.seq for chain, found in memory.heads.items()} == {"daily": kept, "weekly": 9}


def test_another_repository_was_never_looked_at() -> None:
    memory = Memory(trust=TRUST, maintained={"daily": datetime(2026, 11, 25, 12, tzinfo=UTC)})
    assert memory.told(TRUST.model_copy(update={"fingerprint": "c" * 64})).maintained == memory.maintained
    assert memory.told(TRUST.model_copy(update={"repository_id": "1" * 32})).maintained == {}
    assert Memory(trust=TRUST, damaged={"a": 1}).told(TRUST.model_copy(update={"repository_id": "1" * 32})).damaged == {}


@pytest.mark.parametrize(
    ("before", "failed", "passed", "after"),
    [
        ({}, {"a": 2}, {"b": 2}, {"a": 2}),
        ({"a": 3}, {}, {"a": 2}, {"a": 3}),
        ({"a": 3}, {}, {"a": 3, "b": 3}, {}),
        ({"a": 3}, {}, {"b": 4}, {"a": 3}),
        ({"a": 3}, {"a": 2}, {}, {"a": 3}),
        ({"a": 2}, {"a": 3}, {}, {"a": 3}),
    ],
)
def test_what_is_damaged_is_forgotten_once_it_passes_where_it_failed(
    before: dict[str, int], failed: dict[str, int], passed: dict[str, int], after: dict[str, int]
) -> None:
    assert Memory(trust=TRUST, damaged=before).verified(failed, passed).damaged == after


def test_the_writer_key_stays_and_is_nobody_elses_to_read(state: State) -> None:
    key = state.writer_key()
    assert (len(key), state.writer_key()) == (32, key)
    assert stat.S_IMODE((state.folder / "writer.key").stat().st_mode) == 0o600
    assert stat.S_IMODE(state.folder.stat().st_mode) == 0o700


def test_a_writer_key_that_is_cut_is_no_key(state: State) -> None:
    state.writer_key()
    (state.folder / "writer.key").write_bytes(b"short")
    with pytest.raises(CorruptData, match=r"writer.key is no writer key: it has 5 bytes, not 32"):
        state.writer_key()


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"version": 2, "trust": TRUST.model_dump(by_alias=True)})], ids=str)
def test_a_memory_that_cannot_be_read_is_not_taken_for_none(state: State, text: str) -> None:
    state.folder.mkdir(parents=True)
    (state.folder / "memory.json").write_text(text)
    with pytest.raises(CorruptData, match="damaged, or written by a newer version"):
        state.memory()


def test_a_failed_change_leaves_what_was(state: State) -> None:
    kept = state.remember(lambda _: Memory(trust=TRUST))
    with pytest.raises(ZeroDivisionError):
        state.remember(lambda _: 1 // 0)  # type: ignore[arg-type,return-value]
    assert state.memory() == kept
    assert sorted(path.name for path in state.folder.iterdir()) == ["lock", "memory.json"]


def test_a_folder_that_cannot_be_used_is_said_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(AccessDenied, match=r"state folder .* cannot be used: .*--state-dir or STATE_DIR"):
        State(tmp_path / "file", "x").writer_key()


_HOLD = """
import sys
from pathlib import Path
from iot_backup.standalone.state import State
with State(Path(sys.argv[1]), "default@local").alone("daily"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_folder_that_nobody_lets_us_look_into_is_not_taken_for_empty(state: State, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(_path: Path, **_how: object) -> bool:
        raise PermissionError(13, "Permission denied")

    assert not state.has_writer_key
    monkeypatch.setattr(Path, "stat", refused)
    with pytest.raises(AccessDenied, match="cannot be used"):
        _ = state.has_writer_key


def test_a_chain_is_held_by_one_process_and_freed_by_its_death(state: State) -> None:
    command = [sys.executable, "-c", _HOLD, str(state.folder.parent)]
    holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={"PYTHONPATH": "operator"}, text=True)
    assert holder.stdin is not None
    assert holder.stdout is not None
    with holder:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy, match="a backup of chain daily is running on this machine already"), state.alone("daily"):
            pass
        with state.alone("weekly"):
            pass
        holder.kill()
        holder.wait()
        with state.alone("daily"):
            pass


@pytest.mark.parametrize(("what", "words"), [(RESTORING, "a restore from this storage"), (VERIFYING, "a verification of this storage")])
def test_nothing_is_removed_while_somebody_reads(state: State, what: str, words: str) -> None:
    state.folder.mkdir(parents=True)
    with state.reading(what, lambda: False), state.reading(what, lambda: False), pytest.raises(Busy, match=words), state.unread():
        pass
    with state.unread():
        pass


def test_a_reader_waits_until_retention_has_ended_or_is_stopped(state: State) -> None:
    with state.unread(), pytest.raises(Cancelled, match="waiting for retention"), state.reading(RESTORING, lambda: True):
        pass
    done = threading.Event()
    with ThreadPoolExecutor() as pool:
        with state.unread():
            reader = pool.submit(read, state, done)
            assert not done.wait(0.3)
        reader.result(timeout=60)
    assert done.is_set()


def read(state: State, done: threading.Event) -> None:
    with state.reading(VERIFYING, lambda: False):
        done.set()


def test_without_a_folder_of_the_state_one_reads_all_the_same(state: State) -> None:
    with state.reading(RESTORING, lambda: False):
        assert not state.folder.exists()


def test_in_a_folder_that_cannot_be_used_one_reads_all_the_same(state: State) -> None:
    (state.folder / RESTORING).mkdir(parents=True)
    with pytest.raises(AccessDenied), state.unread():
        pass
    with state.reading(RESTORING, lambda: False):
        assert state.memory() is None
