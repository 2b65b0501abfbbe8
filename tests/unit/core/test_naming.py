"""Names: as people chose them where they fit, never two of one name."""

from __future__ import annotations

import pytest

from iot_backup.core import naming

LONG = "a" * 63


@pytest.mark.parametrize(
    ("made", "limit"),
    [
        (naming.cron_job(LONG, None), 52),
        (naming.cron_job(LONG, "night"), 52),
        (naming.job_of("b" * 253), 63),
        (naming.job_beside(LONG, "uid"), 63),
        (naming.requested_backup(LONG, "uid", "now"), 63),
        (naming.probe(LONG, "uid", 1, "", ""), 63),
        (naming.label("c" * 253), 63),
    ],
)
def test_names_keep_to_their_limit(made: str, limit: int) -> None:
    assert len(made) <= limit
    assert made[0].isalnum()
    assert made[-1].isalnum()


@pytest.mark.parametrize("made", [naming.cron_job("daily", None), naming.job_of("daily"), naming.label("daily")])
def test_a_name_that_fits_stays_as_it_is(made: str) -> None:
    assert made == "daily"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (naming.cron_job("a", "b-c"), naming.cron_job("a-b", "c")),
        (naming.cron_job(LONG, None), naming.cron_job(LONG[:-1] + "b", None)),
        (naming.requested_backup("daily", "uid", "1"), naming.requested_backup("daily", "uid", "2")),
        (naming.requested_backup("daily", "uid", "1"), naming.requested_backup("daily", "other", "1")),
        (naming.requested_backup(LONG, "uid", "1"), naming.requested_backup(LONG[:-1] + "b", "uid", "1")),
        (naming.probe("s3", "uid", 1, "", ""), naming.probe("s3", "uid", 1, "", "previous")),
        (naming.digest("ab", "c"), naming.digest("a", "bc")),
    ],
)
def test_different_facts_give_different_names(one: str, other: str) -> None:
    assert one != other


def test_a_cut_never_leaves_a_dot_or_dash_before_the_digest() -> None:
    assert "--" not in naming.fitted("a" * 53 + "-." + "b" * 60, 63)
