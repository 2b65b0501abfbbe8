"""Sums of runs: what is added stays, and survives being written down."""

from __future__ import annotations

import json

import pytest

from iot_backup.core.totals import BUCKETS, Totals, of_plain


@pytest.mark.parametrize(("seconds", "bucket"), [(0.0, 0), (1.0, 0), (1.1, 1), (86400.0, len(BUCKETS) - 1), (1e6, len(BUCKETS))])
def test_a_duration_falls_into_one_bucket(seconds: float, bucket: int) -> None:
    found = Totals().plus([("completed", seconds)])
    assert [number for number, count in enumerate(found.durations) if count] == [bucket]
    assert (found.runs, found.failed, found.seconds) == (1, 0, seconds)


def test_a_run_that_left_no_backup_has_no_duration() -> None:
    found = Totals().plus([("failed", None), ("cancelled", None), ("partial", 3.0)])
    assert (found.runs, found.failed, sum(found.durations)) == (3, 1, 1)


def test_it_comes_back_from_json() -> None:
    found = Totals().plus([("completed", 2.0), ("failed", None)])
    assert of_plain(json.loads(json.dumps(found.plain()))) == found


@pytest.mark.parametrize(
    "value", [None, {}, [], {"results": 1, "durations": [], "seconds": 0}, {"results": {}, "durations": [1], "seconds": 0}]
)
def test_what_is_no_sum_is_nothing(value: object) -> None:
    assert of_plain(value) == Totals()
