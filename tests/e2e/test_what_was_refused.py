"""After all the tests before it (its name sorts last): the operator never asked for what its role does not give."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.e2e import trees, volumes
from tests.e2e.deployment import Operator
from tests.e2e.platform import Platform
from tests.e2e.waiting import wait_for

WORKED = ("Backup", "RestoreJob")


@pytest.fixture
def said(operator: Operator, new_platform: Callable[..., Platform]) -> list[str]:
    """The operator's log after backups and restores: those of the tests before, or where there were none, one of each."""
    if not _worked(operator.logs()):
        platform = new_platform()
        volumes.filled(platform, "sensor", trees.SMALL)
        platform.apply(platform.backup_job("nightly", "sensor", schedule="30 2 * * *"))
        platform.wait_condition("BackupJob", "nightly", "Ready")
        run = platform.completed("Backup", platform.backup("nightly"))
        source = {"backupRef": {"name": run["metadata"]["name"]}}
        platform.completed("RestoreJob", platform.restore("back", source, {"newClaim": {"name": "copy", "size": "64Mi"}}))
        wait_for(lambda: _worked(operator.logs()), what="the operator has told of it")  # its status comes before its line
    return operator.logs().splitlines()


def _worked(log: str) -> bool:
    return all(re.search(rf"{kind} \S+: Completed", log) for kind in WORKED)


def test_nothing_the_operator_asked_for_was_beyond_its_role(said: list[str]) -> None:
    assert _worked("\n".join(said))
    assert [line for line in said if re.search(r"cannot \w+ resource", line)] == []


def test_no_defect_was_logged(said: list[str]) -> None:
    assert [line for line in said if "a defect of the operator" in line or "Traceback" in line] == []
