"""Which rules a job's backups go by."""

from __future__ import annotations

import pytest

from iot_backup.core.retention import Policy
from iot_backup.standalone import sites
from iot_backup.standalone.configfile import checked
from iot_backup.standalone.retention import policy

CONFIG = """\
backup:
  storage: {local: {path: /b, retention_days: 30}}
  jobs:
    - {id: a, source: /a%s}
"""


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("", Policy(days=30)),
        (", retention_days: 90", Policy(days=90)),
        (", retention: {days: 5}", Policy(days=5)),
        (", retention_days: 5, retention: {days: 5, weekly: 3}", Policy(days=5, weekly=3)),
        (", retention: {keep_last: 2, yearly: 1}", Policy(keep_last=2, yearly=1)),
        (", destination: /c", Policy()),
        (", destination: /c, retention_days: 4", Policy(days=4)),
    ],
)
def test_a_jobs_own_rules_count_and_else_those_of_its_storage(said: str, expected: Policy) -> None:
    config, problems = checked(CONFIG % said, "backup.yml", {})
    assert config is not None, problems
    assert policy(config, config.jobs[0], sites.of_job(config, config.jobs[0], {})) == expected


def test_days_said_twice_must_agree() -> None:
    config, problems = checked(CONFIG % ", retention_days: 5, retention: {days: 6}", "backup.yml", {})
    assert config is None
    assert "retention.days is 6, and retention_days is 5" in str(problems[0])
