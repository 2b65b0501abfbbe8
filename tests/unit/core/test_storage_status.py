"""When a storage is probed, and what it says of the last look."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from iot_backup.core import probes, storage_status
from iot_backup.core.pods import Trouble
from iot_backup.core.report import Capabilities, ProbeResult, Report
from iot_backup.core.runs import Verdict

from .facts import FINGERPRINT, storage

if TYPE_CHECKING:
    from iot_backup.core.probes import Look

Json = dict[str, Any]
NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
ENDED = "2026-05-01T11:59:50Z"
REQUEST = {"backup.iot-system.io/probe-requested-at": "now"}


def _job(serial: int = 1, **notes: Any) -> Json:
    known = {"generation": 1, "request": "", "attempt": 0, "serial": serial, **notes}
    return {"metadata": {"name": f"probe-{serial}", "uid": f"u{serial}", "annotations": {probes.PROBE: json.dumps(known)}}}


def _result(**changes: Any) -> ProbeResult:
    facts: Json = {
        "repository_id": "r1",
        "fingerprint": FINGERPRINT,
        "recipient": "age1x",
        "confirmed": True,
        "writer": "0" * 16,
        "writer_admitted": True,
        "capabilities": Capabilities(conditional_writes=True),
    }
    return ProbeResult(**{**facts, **changes})


def _look(phase: Any = "Completed", reason: str = "Completed", ended: str = ENDED, result: ProbeResult | None = None, **notes: Any) -> Look:
    report = Report(kind="probe", job="p", job_uid="u", probe=result) if result else None
    verdict = Verdict(phase, reason, f"{reason} it was", report=report, ended=ended)
    return probes.look(_job(**notes), verdict, good=storage_status.good(result))


@pytest.mark.parametrize(
    ("looks", "annotations", "starts", "wait"),
    [
        pytest.param([], {}, True, None, id="never looked at"),
        pytest.param([_look("Running", "Running")], {}, False, None, id="a look is on"),
        pytest.param([_look(result=_result())], {}, False, timedelta(minutes=59, seconds=50), id="good: in an hour"),
        pytest.param([_look(result=_result(), ended="2026-05-01T11:00:00Z")], {}, True, None, id="good, an hour ago"),
        pytest.param([_look("Failed", "AccessDenied")], {}, False, timedelta(seconds=5), id="failed: after 15 s"),
        pytest.param([_look("Failed", "AccessDenied", attempt=3)], {}, False, timedelta(seconds=110), id="doubling"),
        pytest.param([_look("Failed", "AccessDenied", attempt=9)], {}, False, timedelta(seconds=290), id="up to 5 min"),
        pytest.param([_look("Failed", "AccessDenied", ended="2026-05-01T11:59:40Z")], {}, True, None, id="failed 20 s ago"),
        pytest.param(
            [_look(result=_result(writer_admitted=False))], {}, False, timedelta(seconds=5), id="not as it should be: as if failed"
        ),
        pytest.param([_look(result=_result())], REQUEST, True, None, id="somebody asks"),
        pytest.param([_look(result=_result(), request="now")], REQUEST, False, timedelta(minutes=59, seconds=50), id="and was answered"),
        pytest.param([_look("Running", "Running", generation=0)], {}, True, None, id="the spec changed meanwhile"),
    ],
)
def test_when_a_probe_starts(looks: list[Look], annotations: Json, *, starts: bool, wait: timedelta | None) -> None:
    plan = probes.plan(storage(annotations=annotations), looks, NOW)
    assert (plan.start is not None, plan.wait) == (starts, wait)


def test_a_retry_counts_attempts_and_clears_away_what_came_before() -> None:
    looks = [_look("Failed", "X", serial=1), _look("Failed", "X", serial=2, attempt=2, ended="2026-05-01T11:00:00Z")]
    plan = probes.plan(storage(), looks, NOW)
    assert plan.start is not None
    assert json.loads(plan.start.annotation) == {"generation": 1, "request": "", "attempt": 3, "serial": 3}
    assert plan.remove == ("probe-1",)


def test_every_probe_has_a_name_of_its_own() -> None:
    first = probes.plan(storage(), [], NOW).start
    second = probes.plan(storage(), [_look("Failed", "X", ended="2026-05-01T11:00:00Z")], NOW).start
    assert first is not None
    assert second is not None
    assert first.name != second.name


@pytest.mark.parametrize("text", ["", "{", "[]", '{"generation": "x"}'])
def test_a_job_with_unreadable_notes_is_about_nothing(text: str) -> None:
    found = probes.look({"metadata": {"name": "p", "annotations": {probes.PROBE: text}}}, Verdict("Running", "Running", ""), good=False)
    assert (found.generation, found.attempt) == (0, 0)


def _status(last: Look | None, current: Json | None = None, problem: Trouble | None = None) -> tuple[Json, dict[str, tuple[str, str]]]:
    status = storage_status.status(storage(), current or {}, last, problem, "now")
    return status, {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]}


@pytest.mark.parametrize(
    ("last", "conditions"),
    [
        pytest.param(None, {"Ready": ("Unknown", "Probing"), "Reconciling": ("True", "Probing")}, id="at first sight"),
        pytest.param(_look("Running", "Running"), {"Ready": ("Unknown", "Probing"), "Reconciling": ("True", "Probing")}, id="looking"),
        pytest.param(
            _look("Pending", "ImagePullFailed"),
            {"Ready": ("False", "ImagePullFailed"), "Reconciling": ("True", "Probing")},
            id="the look does not start",
        ),
        pytest.param(_look(result=_result(isolated=True)), {"Ready": ("True", "Ready"), "Isolated": ("True", "Isolated")}, id="good"),
        pytest.param(_look(result=_result()), {"Ready": ("True", "Ready"), "Isolated": ("Unknown", "NotTried")}, id="isolation not tried"),
        pytest.param(
            _look(result=_result(isolated=False)),
            {"Ready": ("True", "Ready"), "Isolated": ("False", "CredentialsReachOthers")},
            id="not isolated",
        ),
        pytest.param(
            _look(result=_result(confirmed=False)),
            {"Ready": ("False", "ConfirmRepository"), "Isolated": ("Unknown", "NotTried")},
            id="not confirmed",
        ),
        pytest.param(
            _look(result=_result(writer_admitted=False)),
            {"Ready": ("False", "WriterNotAdmitted"), "Isolated": ("Unknown", "NotTried")},
            id="not admitted",
        ),
        pytest.param(_look("Failed", "AccessDenied"), {"Ready": ("False", "AccessDenied")}, id="failed"),
        pytest.param(_look("Failed", "Untrusted"), {"Ready": ("False", "ConfirmRepository")}, id="untrusted"),
        pytest.param(_look(), {"Ready": ("False", "ResultMissing")}, id="a report without a result"),
    ],
)
def test_conditions(last: Look | None, conditions: dict[str, tuple[str, str]]) -> None:
    assert _status(last)[1] == conditions


def test_only_a_confirmed_repository_is_pinned() -> None:
    pinned, _ = _status(_look(result=_result()))
    assert (pinned["repositoryId"], pinned["fingerprint"], pinned["writer"]) == ("r1", FINGERPRINT, "0" * 16)
    loose, _ = _status(_look(result=_result(confirmed=False)))
    assert "fingerprint" not in loose
    assert loose["capabilities"]["conditionalWrites"] is True


def test_what_is_known_stays_while_it_is_looked_at_again() -> None:
    ready, _ = _status(_look(result=_result(isolated=True)))
    again, conditions = _status(_look("Running", "Running", serial=2), ready)
    assert conditions == {"Ready": ("True", "Ready"), "Isolated": ("True", "Isolated")}
    assert again["lastProbeTime"] == ENDED


def test_a_changed_spec_is_unknown_until_it_was_looked_at() -> None:
    ready, _ = _status(_look(result=_result()))
    _, conditions = _status(_look("Running", "Running"), {**ready, "observedGeneration": 0})
    assert conditions["Ready"] == ("Unknown", "Probing")


def test_what_keeps_us_from_looking_is_told_and_leaves_no_trace() -> None:
    missing, conditions = _status(None, problem=Trouble("StoreClaimMissing", "no claim"))
    assert conditions == {"Ready": ("False", "StoreClaimMissing")}
    assert _status(_look("Running", "Running"), missing)[1]["Ready"] == ("Unknown", "Probing")


def test_an_answered_request_is_echoed() -> None:
    assert _status(_look(result=_result(), request="now"))[0]["lastHandledProbeRequest"] == "now"


def test_an_invalid_spec_stalls() -> None:
    status = storage_status.invalid({}, 3, Trouble("InvalidSpec", "two stores"), "now")
    assert status["observedGeneration"] == 3
    assert [(c["type"], c["status"]) for c in status["conditions"]] == [("Ready", "False"), ("Stalled", "True")]
