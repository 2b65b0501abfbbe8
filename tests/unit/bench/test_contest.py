"""Who runs when, and what a failure ends."""

from __future__ import annotations

import pytest

from tests.bench import getting, peers
from tests.bench.contest import Contest
from tests.bench.measuring import Cost, Failed
from tests.bench.peers import Tool
from tests.bench.table import Table
from tests.cluster.errors import ClusterError

OURS, PEER, SLOW = peers.ours(), Tool("peer", "peer", "peer"), Tool("slow", "slow", "slow", once=True)
COST = Cost(1.0, 1.0, 1)


def test_rounds_are_interleaved_and_a_slow_tool_has_the_last() -> None:
    turns = Contest(Table(), "task", 2).turns([OURS, PEER, SLOW])
    assert [(last, tool.name) for last, tool in turns] == [(False, "ours"), (False, "peer"), (True, "ours"), (True, "peer"), (True, "slow")]


def test_a_peer_that_fails_is_told_of_and_is_out() -> None:
    table, seen = Table(), []
    with Contest(table, "task", 3) as contest:
        for _, tool in contest.turns([OURS, PEER]):
            with contest.trying(tool):
                seen.append(tool.name)
                if tool is PEER:
                    raise Failed("exit 2: no room")
                contest.note(tool, COST)
    assert seen == ["ours", "peer", "ours", "ours"]
    assert table.said == ["task: peer failed: exit 2: no room"]
    assert [line.tool for line in table.lines] == ["ours"]


def test_what_ends_ours_ends_the_run_and_keeps_what_was_measured() -> None:
    table = Table()

    def run() -> None:
        with Contest(table, "task", 1) as contest:
            contest.note(PEER, COST)
            with contest.trying(OURS):
                raise Failed("exit 74")

    with pytest.raises(Failed):
        run()
    assert [line.tool for line in table.lines] == ["peer"]


def test_a_tool_that_cannot_be_had_is_told_and_the_others_are_got(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    def no_compiler() -> None:
        raise ClusterError("no compiler")

    monkeypatch.setattr(getting, "_debian", lambda: None)
    monkeypatch.setattr(getting, "_rustic", no_compiler)
    monkeypatch.setattr(getting, "_borg", lambda: tmp_path)
    monkeypatch.setenv("PATH", "/usr/bin")
    assert getting.all_of_them() == {"rustic": "no compiler"}
    assert getting.os.environ["PATH"] == f"{tmp_path}:/usr/bin"
