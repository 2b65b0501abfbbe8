"""The models judge the same objects as the API server does in tests/e2e/test_crds.py."""

from __future__ import annotations

import pytest

from iot_backup.api.backup import Backup
from iot_backup.api.backupjob import BackupJob
from iot_backup.api.backupstorage import BackupStorage
from iot_backup.api.resource import Resource
from iot_backup.api.restorejob import RestoreJob
from iot_backup.errors import InvalidSpec
from tests.packaging.specimens import ACCEPTED, MINIMAL, REJECTED, Accepted, Rejected, body, spec

MODELS: dict[str, type[Resource]] = {model.KIND: model for model in (BackupStorage, BackupJob, Backup, RestoreJob)}


@pytest.mark.parametrize("case", ACCEPTED, ids=lambda case: f"{case.kind}: {case.what}")
def test_a_model_takes_what_the_server_takes(case: Accepted) -> None:
    given = body(case.kind, spec(case.kind, case.changes))
    decoded = MODELS[case.kind].from_body(given)
    assert (decoded.name, decoded.namespace) == ("specimen", "default")


@pytest.mark.parametrize("case", REJECTED, ids=lambda case: f"{case.kind}: {case.what}")
def test_a_model_refuses_what_the_server_refuses(case: Rejected) -> None:
    with pytest.raises(InvalidSpec) as refusal:
        MODELS[case.kind].from_body(body(case.kind, spec(case.kind, case.changes)))
    assert refusal.value.message.startswith(f"{case.kind} default/specimen cannot be used: spec")
    if case.rule:
        assert case.says in refusal.value.message


@pytest.mark.parametrize("kind", MODELS)
def test_a_model_cannot_be_changed(kind: str) -> None:
    decoded = MODELS[kind].from_body(body(kind, MINIMAL[kind]))
    with pytest.raises(ValueError, match="frozen"):
        decoded.metadata.name = "other"  # type: ignore[misc]
