"""What may go: never what something that stays builds on, never the newest good one, never somebody else's."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from iot_backup.core.retention import Around, Point, Policy, Verdict, ancestors, closed, decided

NOW = datetime(2026, 3, 31, 12, tzinfo=UTC)
US, JOB, CHAIN = "a" * 16, "historian", "historian"


def point(seq: int, days: float, parent: int | None = None, **more: object) -> Point:
    """Number `seq`, so many days old."""
    above = f"{parent:016x}" if parent else None
    return replace(Point(CHAIN, f"{seq:016x}", seq, above, JOB, US, NOW - timedelta(days=days)), **more)


def around(policy: Policy | None = None, **more: object) -> Around:
    rules = {JOB: policy if policy is not None else Policy(days=7)}
    return replace(Around(US, rules, {}, {}, {}), **more)


def decide(points: list[Point], policy: Policy | None = None, zone: str = "UTC", **more: object) -> dict[int, Verdict]:
    return {v.point.seq: v for v in decided(points, around(policy, **more), NOW, ZoneInfo(zone))}


def kept(points: list[Point], policy: Policy | None = None, zone: str = "UTC", **more: object) -> list[int]:
    return [seq for seq, verdict in decide(points, policy, zone, **more).items() if verdict.keep]


DAILY = [point(60 - day, day) for day in range(60, 0, -1)]
"""Fulls, numbers 0 to 59 at noon: 59 is of yesterday, 30 March."""


@pytest.mark.parametrize(
    ("policy", "expected"),
    [
        (Policy(), list(range(60))),
        (Policy(days=3), [56, 57, 58, 59]),  # not the one that is exactly three days older than the last but one
        (Policy(days=1), [58, 59]),
        (Policy(keep_last=3), [57, 58, 59]),
        (Policy(keep_last=100), list(range(60))),
        (Policy(hourly=2), [58, 59]),
        (Policy(daily=4), [56, 57, 58, 59]),
        (Policy(weekly=3), [51, 58, 59]),  # Sundays 22 and 29 March, and this week's last
        (Policy(monthly=2), [29, 59]),  # 28 February is number 29
        (Policy(monthly=9, yearly=1), [1, 29, 59]),
        (Policy(daily=2, weekly=2, monthly=2), [29, 58, 59]),
        (Policy(keep_last=0), [59]),
    ],
)
def test_rules_keep_the_last_of_each_of_the_newest_periods(policy: Policy, expected: list[int]) -> None:
    assert kept(DAILY, policy) == expected


def test_every_reason_is_told() -> None:
    verdicts = decide(DAILY, Policy(days=1, daily=2, weekly=1))
    assert verdicts[59].reasons == (
        "younger than 1 days",
        "daily 2026-03-30",
        "weekly 2026-W14",
        "newest of chain",
        "newest good of chain",
        "newest of job",
        "newest good of job",
    )
    assert verdicts[58].reasons == ("younger than 1 days", "daily 2026-03-29")
    assert verdicts[3] == Verdict(verdicts[3].point, False, (f"no rule of job {JOB} keeps it",))


def test_days_and_hours_are_those_of_the_time_zone() -> None:
    late = [
        replace(point(1, 0), time=datetime(2026, 3, 10, 22, tzinfo=UTC)),
        replace(point(2, 0), time=datetime(2026, 3, 10, 23, 30, tzinfo=UTC)),
    ]
    assert kept(late, Policy(daily=9)) == [2]
    assert kept(late, Policy(daily=9), "Europe/Berlin") == [1, 2]


def test_an_hour_that_summer_time_repeats_is_two() -> None:
    twice = [replace(point(n, 0), time=datetime(2025, 10, 26, n - 1, 30, tzinfo=UTC)) for n in (1, 2)]
    assert {t.time.astimezone(ZoneInfo("Europe/Berlin")).hour for t in twice} == {2}
    assert kept(twice, Policy(hourly=9), "Europe/Berlin") == [1, 2]


def test_what_a_kept_one_builds_on_stays_however_old() -> None:
    chain = [point(1, 40), point(2, 39, 1), point(3, 38, 2), point(4, 37, 1), point(5, 36), point(6, 6, 3), point(7, 1)]
    verdicts = decide(chain)
    assert [seq for seq, v in verdicts.items() if not v.keep] == [4, 5]
    assert verdicts[1].reasons == (f"needed by {6:016x}",)
    assert verdicts[6].reasons == ("younger than 7 days",)


def test_the_newest_good_one_stays_whatever_lies_above_it() -> None:
    """A partial one, a suspicious one and one without its base are newer, and none of them takes its place."""
    chain = [
        point(1, 40),
        point(2, 31),
        point(3, 30),
        point(4, 20, partial=True),
        point(5, 19, flaws=("suspicious",)),
        point(6, 18, 77),
        point(7, 17, 5),
    ]
    verdicts = decide(chain, Policy(keep_last=0))
    assert [seq for seq, v in verdicts.items() if not v.keep] == [1, 2]
    assert "newest good of chain" in verdicts[3].reasons
    assert "newest of chain" in verdicts[4].reasons
    assert verdicts[6].reasons[0] == "what it builds on is missing"
    assert verdicts[7].reasons[0] == f"it builds on {5:016x}: suspicious"


def test_a_partial_one_never_takes_the_place_of_a_complete_one() -> None:
    day = [point(1, 5.2), point(2, 5.1, partial=True), point(3, 4.2), point(4, 4.1, partial=True)]
    assert kept(day, Policy(daily=1)) == [3, 4]
    assert kept([replace(p, partial=True) for p in DAILY], Policy(daily=3)) == [57, 58, 59]


def test_what_was_made_by_others_or_by_jobs_that_the_config_has_not_stays() -> None:
    chain = [point(1, 90, writer="b" * 16), point(2, 90, job="gone"), point(3, 90, job=""), point(4, 90), point(5, 2), point(6, 1)]
    verdicts = decide(chain)
    assert [seq for seq, v in verdicts.items() if not v.keep] == [4]
    assert (verdicts[1].reasons[0], verdicts[2].reasons[0]) == (f"not ours (writer {'b' * 16})", "not ours (job gone)")


def test_each_job_of_a_chain_goes_by_its_own_rules() -> None:
    chain = [point(n, 60 - n, job="weekly" if n % 7 == 0 else JOB) for n in range(1, 60)]
    rules = {JOB: Policy(days=3), "weekly": Policy(days=20)}
    assert kept(chain, policies=rules) == [35, 42, 49, 56, 57, 58, 59]


def test_each_writer_keeps_its_own() -> None:
    """Two machines, one repository, one config: the other's newer backups are not ours."""
    ours = [point(1, 9), point(2, 8)]
    theirs = [point(n, 8 - n, writer="b" * 16) for n in range(3, 8)]
    for policy in (Policy(keep_last=3), Policy(keep_last=1), Policy(days=3), Policy(daily=3)):
        assert 2 in kept([*ours, *theirs], policy), policy


@pytest.mark.parametrize(
    ("more", "stays"),
    [
        ({"stopped": {CHAIN: "frozen: look at it"}}, [1, 2, 3, 4, 5, 6]),
        ({"stopped": {"other": "frozen"}}, [5, 6]),
        ({"building": {f"{3:016x}": "f" * 16}}, [1, 2, 3, 5, 6]),
        ({"gaps": {CHAIN: 3}}, [1, 2, 5, 6]),
    ],
)
def test_what_a_freeze_a_run_in_progress_and_a_gap_protect(more: dict[str, object], stays: list[int]) -> None:
    chain = [point(1, 50), point(2, 49, 1), point(3, 48, 2), point(4, 47, 3), point(5, 2), point(6, 1)]
    assert kept(chain, **more) == stays


def test_a_pin_holds_a_backup_and_what_it_builds_on() -> None:
    chain = [point(1, 50), point(2, 49, 1, holds=("pinned: audit",)), point(3, 48, 2), point(4, 2), point(5, 1)]
    assert kept(chain) == [1, 2, 4, 5]


@pytest.mark.parametrize(
    ("what", "made", "expected"),
    [
        ("one after a long silence makes nothing old", [50, 49, 1], [1, 2, 3]),
        ("two after a long silence", [50, 49, 2, 1], [3, 4]),
        ("a job that stopped a hundred days ago, and one made while the clock was a year ahead", [120, 113, 105, -365, 100], [3, 4, 5]),
        ("the clock is still ahead", [30, 29, 28, 27, 0], [1, 2, 3, 4, 5]),
        ("a clock at 1970 for one of them", [3, 2, 20_000, 0.5], [1, 2, 3, 4]),
        ("a clock at 1970 for the first ones", [20_000, 20_000, 2, 0.5], [3, 4]),
        ("the clock was behind for the last ones", [3, 2, 20_000, 19_999], [1, 2, 3, 4]),
    ],
)
def test_days_count_from_the_last_but_one_and_no_single_clock_makes_others_old(what: str, made: list[float], expected: list[int]) -> None:
    assert kept([point(n, days) for n, days in enumerate(made, 1)], Policy(days=7)) == expected, what


@st.composite
def histories(draw: st.DrawFn) -> list[Point]:
    points: list[Point] = []
    for seq in range(1, draw(st.integers(1, 14)) + 1):
        earlier = [p for p in points if p.chain == CHAIN]
        parent = draw(st.sampled_from([None, *(p.seq for p in earlier)]))
        made = point(
            seq,
            draw(st.floats(0, 400)),
            parent,
            partial=draw(st.booleans()),
            job=draw(st.sampled_from([JOB, JOB, "other", "gone"])),
            writer=draw(st.sampled_from([US, US, US, "b" * 16])),
            flaws=draw(st.sampled_from([(), (), (), ("odd",)])),
        )
        points.append(made)
    missing = draw(st.sets(st.sampled_from([p.seq for p in points]), max_size=2))
    return draw(st.permutations([p for p in points if p.seq not in missing]))


counts = st.none() | st.integers(0, 4)
policies = st.builds(
    Policy,
    days=st.none() | st.integers(1, 200),
    keep_last=counts,
    hourly=counts,
    daily=counts,
    weekly=counts,
    monthly=counts,
    yearly=counts,
)


@given(histories(), policies, policies, st.floats(0, 10_000))
def test_whatever_the_history_and_the_rules(points: list[Point], ours: Policy, others: Policy, shift: float) -> None:
    known = {p.key: p for p in points}
    look = around(policies={JOB: ours, "other": others})
    verdicts = decided(points, look, NOW, UTC)
    assert [v.point for v in verdicts] == points
    assert all(v.reasons for v in verdicts)
    staying = {v.point.key for v in verdicts if v.keep}
    going = {v.point.key for v in verdicts if not v.keep}
    for key in staying:
        assert {p.key for p in ancestors(known[key], known)} <= staying, "all that it builds on stays"
    for key in going:
        gone = known[key]
        assert (gone.writer, gone.flaws) == (US, ())
        assert look.policies.get(gone.job), "only jobs with rules lose anything"
    whole = [p for p in points if not p.flaws and not p.partial and _restores(p, known)]
    if whole:
        assert max(whole, key=lambda p: p.seq).key in staying, "the newest good one stays"
    again = decided([p for p in points if p.key in staying], look, NOW, UTC)
    assert all(v.keep for v in again), "a second time removes nothing more"
    assert closed(going, points) == going
    later = decided(points, look, NOW + timedelta(days=shift), UTC)
    assert staying <= {v.point.key for v in later if v.keep}, "time alone takes nothing away"


def _restores(wanted: Point, known: dict[tuple[str, str], Point]) -> bool:
    line = [wanted, *ancestors(wanted, known)]
    return line[-1].parent is None and not any(p.flaws for p in line)


@given(histories(), st.data())
def test_a_victim_that_something_builds_on_is_none(points: list[Point], data: st.DataObject) -> None:
    if not points:
        return
    victims = data.draw(st.sets(st.sampled_from([p.key for p in points])))
    known = {p.key: p for p in points}
    left = {p.key for p in points} - closed(victims, points)
    assert all({above.key for above in ancestors(known[key], known)} <= left for key in left)
