"""The verdict on a run: success is final at the pod's end, failure at the Job's, and nothing that is not ours counts."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from iot_backup.core import report
from iot_backup.core.report import Failure, Report
from iot_backup.core.runs import Facts, Verdict, judge

Json = dict[str, Any]
NOW = datetime(2026, 5, 1, 10, 5, tzinfo=UTC)
STARTED, ENDED = "2026-05-01T10:00:00Z", "2026-05-01T10:04:00Z"
_names = itertools.count()


def _job(*conditions: str, reason: str = "BackoffLimitExceeded", started: str = STARTED) -> Json:
    entries = [
        {"type": c, "status": "True", "reason": reason, "message": "told by the Job", "lastTransitionTime": ENDED} for c in conditions
    ]
    return {"metadata": {"name": "j", "uid": "u", "creationTimestamp": started}, "status": {"startTime": started, "conditions": entries}}


def _message(*, failure: Failure | None = None, job: str = "j", uid: str = "u") -> str:
    return report.encode(Report(kind="backup", job=job, job_uid=uid, failure=failure))


def _pod(phase: str, **terminated: Any) -> Json:
    state: Json = {"terminated": {"finishedAt": ENDED, **terminated}} if terminated else {"running": {}} if phase == "Running" else {}
    statuses = [{"name": "worker", "state": state}] if state else []
    return {"metadata": {"name": f"p{next(_names)}"}, "status": {"phase": phase, "containerStatuses": statuses}}


def _good(**named: str) -> Json:
    return _pod("Succeeded", exitCode=0, message=_message(**named))


def _bad(reason: str = "StorageUnavailable", code: int = 69) -> Json:
    return _pod("Failed", exitCode=code, message=_message(failure=Failure(reason=reason, message="the store is away", exit_code=code)))


def _replaced(job: Json) -> Json:
    return {**job, "metadata": {**job["metadata"], "annotations": {"backup.iot-system.io/replaced-by": "the-next"}}}


def _judge(job: Json, *pods: Json, **more: Any) -> Verdict:
    return judge(Facts(job=job, pods=pods, now=NOW, **{"start_deadline": timedelta(minutes=10), **more}))


@pytest.mark.parametrize(
    ("verdict", "phase", "reason"),
    [
        pytest.param(_judge(_job()), "Pending", "Starting", id="no pod yet"),
        pytest.param(_judge(_job(), _pod("Pending")), "Pending", "Starting", id="pod on its way"),
        pytest.param(_judge(_job(), _pod("Running")), "Running", "Running", id="running"),
        pytest.param(_judge(_job(), _good()), "Completed", "Completed", id="success before the Job says so"),
        pytest.param(_judge(_job("Complete"), _good()), "Completed", "Completed", id="success"),
        pytest.param(_judge(_job("Failed"), _bad(), _good()), "Completed", "Completed", id="a committed archive beats a failed Job"),
        pytest.param(_judge(_job(), _bad()), "Running", "StorageUnavailable", id="an attempt failed, another may follow"),
        pytest.param(_judge(_job(), _bad(), _pod("Running")), "Running", "StorageUnavailable", id="the next attempt runs"),
        pytest.param(_judge(_job("FailureTarget"), _bad()), "Failed", "StorageUnavailable", id="no attempt will follow"),
        pytest.param(_judge(_job("Failed"), _bad()), "Failed", "StorageUnavailable", id="failed"),
        pytest.param(
            _judge(_job("FailureTarget"), _bad(), _pod("Running")),
            "Running",
            "StorageUnavailable",
            id="a worker being stopped may still commit",
        ),
        pytest.param(
            _judge(_job("Failed", reason="DeadlineExceeded"), _pod("Failed", exitCode=143)), "Failed", "DeadlineExceeded", id="timeout"
        ),
        pytest.param(_judge(_job("Failed", reason="DeadlineExceeded")), "Failed", "DeadlineExceeded", id="timeout, pod gone"),
        pytest.param(
            _judge(_replaced(_job("Failed", reason="DeadlineExceeded")), _bad("Cancelled", 143)), "Failed", "Replaced", id="replaced"
        ),
        pytest.param(_judge(_replaced(_job("Complete")), _good()), "Completed", "Completed", id="replaced when it had committed"),
        pytest.param(_judge(_job("Failed")), "Failed", "BackoffLimitExceeded", id="failed, pods gone"),
        pytest.param(_judge(_job("Complete")), "Failed", "ResultMissing", id="complete without a pod is no success"),
        pytest.param(
            _judge(_job("Complete"), _pod("Succeeded", exitCode=0, message="")), "Failed", "ResultMissing", id="exit 0 without a report"
        ),
        pytest.param(_judge(_job("Complete"), _good(job="other")), "Failed", "ResultMissing", id="a report that names another Job"),
        pytest.param(_judge(_job("Complete"), _good(uid="other")), "Failed", "ResultMissing", id="a report of a Job of this name before"),
        pytest.param(
            _judge(_job("Complete"), _pod("Failed", exitCode=1, message=_message())), "Failed", "ResultMissing", id="a good report, exit 1"
        ),
        pytest.param(_judge(_job("Complete"), _good(), genuine=lambda _: False), "Failed", "ForeignJob", id="a pod that is not ours"),
        pytest.param(_judge(_job(), _bad(), failure_is_final=True), "Failed", "StorageUnavailable", id="no retry to wait for"),
        pytest.param(_judge(_job(), _pod("Running"), cancel=True), "Running", "Cancelling", id="cancelled, still running"),
        pytest.param(_judge(_job(), cancel=True), "Running", "Cancelling", id="cancelled before the pod came"),
        pytest.param(_judge(_job(), _bad("Cancelled", 143), cancel=True), "Cancelled", "Cancelled", id="cancelled"),
        pytest.param(_judge(_job("Failed", reason="DeadlineExceeded"), cancel=True), "Cancelled", "Cancelled", id="cancelled, pods gone"),
        pytest.param(_judge(_job(), _good(), cancel=True), "Completed", "Completed", id="cancelled too late"),
        pytest.param(
            _judge(_job(), _pod("Pending"), start_deadline=timedelta(minutes=4)), "Failed", "StartDeadlineExceeded", id="never started"
        ),
        pytest.param(_judge(_job(), _pod("Running"), start_deadline=timedelta(minutes=4)), "Running", "Running", id="started in time"),
    ],
)
def test_verdict(verdict: Verdict, phase: str, reason: str) -> None:
    assert (verdict.phase, verdict.reason) == (phase, reason)


def test_a_failure_ends_when_its_worker_did_and_says_so_at_every_look() -> None:
    assert _judge(_job("Failed"), _bad()).ended == ENDED
    assert _judge(_job("Failed")).ended == ENDED
    assert _judge(_job(), _good()).ended == ENDED


@pytest.mark.parametrize(
    ("verdict", "give_up"),
    [
        (_judge(_job(), _pod("Running"), cancel=True), True),
        (_judge(_job(), _bad("Cancelled", 143), cancel=True), True),
        (_judge(_job("Failed"), _bad("Cancelled", 143), cancel=True), False),
        (_judge(_job(), _pod("Pending"), start_deadline=timedelta(minutes=4)), True),
        (_judge(_job(), _pod("Running")), False),
        (_judge(_job(), _good()), False),
    ],
)
def test_a_job_nothing_will_come_of_is_to_be_ended(verdict: Verdict, *, give_up: bool) -> None:
    assert verdict.give_up is give_up


def test_a_run_that_has_not_begun_is_looked_at_again_without_being_told() -> None:
    assert _judge(_job(), _pod("Pending")).recheck == timedelta(seconds=30)
    assert _judge(_job(), start_deadline=timedelta(seconds=310)).recheck == timedelta(seconds=11)
    assert _judge(_job(), _pod("Running")).recheck is None


def _ruled(job: Json, backoff_limit: int = 2) -> Json:
    """The Job with the rules of ours."""
    rules = [{"action": "Ignore", "onPodConditions": []}, {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [64, 77]}}]
    return {**job, "spec": {"backoffLimit": backoff_limit, "podFailurePolicy": {"rules": rules}}}


_DRAINED = {
    **_bad("AccessDenied", 77),
    "status": {**_bad("AccessDenied", 77)["status"], "conditions": [{"type": "DisruptionTarget", "status": "True"}]},
}


@pytest.mark.parametrize(
    ("verdict", "phase"),
    [
        pytest.param(_judge(_ruled(_job()), _bad("AccessDenied", 77)), "Failed", id="an exit code that ends the Job"),
        pytest.param(_judge(_ruled(_job()), _bad()), "Running", id="one that is tried again"),
        pytest.param(_judge(_ruled(_job(), 0), _bad()), "Failed", id="no retry was asked for"),
        pytest.param(_judge(_ruled(_job(), 1), _bad(), _bad()), "Failed", id="the last retry"),
        pytest.param(_judge(_ruled(_job(), 1), _bad(), _bad(), _pod("Pending")), "Running", id="another pod is there all the same"),
        pytest.param(_judge(_ruled(_job(), 0), _bad("Cancelled", 143)), "Running", id="stopped from outside: the Job will tell why"),
        pytest.param(_judge(_ruled(_job(), 0), _pod("Failed", exitCode=77)), "Running", id="not told by the worker"),
        pytest.param(_judge(_ruled(_job()), _DRAINED), "Running", id="a drained node's pod does not count"),
        pytest.param(_judge(_ruled(_job()), _bad("AccessDenied", 77), genuine=lambda _: False), "Running", id="not ours"),
    ],
)
def test_a_failure_is_final_at_the_pods_end_where_no_retry_can_follow(verdict: Verdict, phase: str) -> None:
    assert verdict.phase == phase


def test_attempts_and_their_reports_are_told() -> None:
    verdict = _judge(_job("Failed"), _bad(), _bad("AccessDenied", 77))
    assert (verdict.attempts, verdict.exit_code, verdict.reason, verdict.started) == (2, 77, "AccessDenied", STARTED)
    assert verdict.report is not None


def test_an_attempt_whose_pod_somebody_deleted_is_counted_by_the_job() -> None:
    job = _job()
    job["status"].update(failed=1, active=1)
    assert _judge(job, _pod("Running")).attempts == 2


def test_a_pod_that_never_started_before_the_timeout_tells_its_own_trouble() -> None:
    pod = {
        "metadata": {"name": "p"},
        "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "no node"}]},
    }
    verdict = _judge(_job("Failed", reason="DeadlineExceeded"), pod)
    assert (verdict.reason, verdict.phase) == ("Unschedulable", "Failed")
