"""From a Job, its pods and their reports to one verdict. Shared by backups, restores and probes.

Success is final at the pod's end: exit 0 and a report that names this Job. Failure is, too, where the worker's report and the
Job's own rules leave no retry; else at the Job's end, and until then the verdict is Unknown with the last attempt's reason. Nothing is stored: the same facts give the
same verdict after a restart of the operator.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal

from iot_backup import vocabulary
from iot_backup.core import pods as pod_facts
from iot_backup.core.report import Report, decode

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

Phase = Literal["Pending", "Running", "Completed", "Failed", "Cancelled"]
FINAL: frozenset[str] = frozenset({"Completed", "Failed", "Cancelled"})
_ENDS = {"Failed", "FailureTarget"}
_SIGNALLED = 128
"""Exit codes from here on: a signal ended the worker."""
_Attempt = tuple["Mapping[str, Any]", "Report | None"]
"""A pod and the genuine report it left."""


@dataclass(frozen=True)
class Verdict:
    """What is known of a run."""

    phase: Phase
    reason: str
    message: str
    exit_code: int | None = None
    report: Report | None = None
    """The genuine report of a run that succeeded, or of the last attempt that failed."""
    attempts: int = 0
    started: str | None = None
    """When the first pod was made; RFC 3339."""
    ended: str | None = None
    give_up: bool = False
    """Nothing will come of this Job any more: end it."""
    recheck: timedelta | None = None
    """Look again after this long, even if nothing is seen to change."""

    @property
    def final(self) -> bool:
        return self.phase in FINAL


@dataclass(frozen=True)
class Facts:
    """All a verdict is made of."""

    job: Mapping[str, Any]
    pods: Sequence[Mapping[str, Any]]
    """Those the Job controls, oldest first."""
    now: datetime
    cancel: bool = False
    start_deadline: timedelta = timedelta(minutes=10)
    failure_is_final: bool = False
    """No retry may follow (backoffLimit 0): failure is final at the pod's end."""
    genuine: Callable[[Mapping[str, Any]], bool] = field(default=lambda _: True)
    """Whether a pod is what we built (core/results.py)."""


def judge(facts: Facts) -> Verdict:
    """The verdict on a run whose Job exists."""
    attempts = [(p, _report(facts, p)) for p in facts.pods]
    common = _Common(
        attempts=_attempts(facts),
        started=facts.job.get("status", {}).get("startTime") or facts.job["metadata"].get("creationTimestamp"),
    )
    for pod, report in reversed(attempts):
        end = pod_facts.worker_end(pod)
        if report and end and end.exit_code == 0 and not report.failure:
            return common.verdict("Completed", "Completed", "", report=report, exit_code=0, ended=end.finished or _iso(facts.now))
    failed = _job_failure(facts.job)
    over = _over(facts, failed, attempts)
    last = _last_failure(facts, attempts)
    if facts.cancel and (over or not _active(facts)):
        return common.verdict(
            "Cancelled", "Cancelled", "cancelled as spec.cancel asked", ended=_ended_at(facts, failed), give_up=failed is None
        )
    if over:
        reason, message, exit_code, report = _why(facts, failed, last)
        return common.verdict("Failed", reason, message, exit_code=exit_code, report=report, ended=_ended_at(facts, failed))
    return _unfinished(facts, common, last)


@dataclass(frozen=True)
class _Common:
    attempts: int
    started: str | None

    def verdict(self, phase: Phase, reason: str, message: str, **more: Any) -> Verdict:
        return Verdict(phase, reason, message, attempts=self.attempts, started=self.started, **more)


@dataclass(frozen=True)
class _Failure:
    reason: str
    message: str
    exit_code: int | None
    report: Report | None
    ended: bool


def _attempts(facts: Facts) -> int:
    """Pods there were: the Job counts also those that somebody deleted."""
    counted = facts.job.get("status", {})
    return max(len(facts.pods), sum(int(counted.get(state) or 0) for state in ("active", "failed", "succeeded")))


def _report(facts: Facts, pod: Mapping[str, Any]) -> Report | None:
    """The pod's report, if the pod is ours, has ended, and the report names this very Job."""
    end = pod_facts.worker_end(pod)
    if end is None or not facts.genuine(pod):
        return None
    report = decode(end.message)
    metadata = facts.job["metadata"]
    return report if report and (report.job, report.job_uid) == (metadata["name"], metadata["uid"]) else None


def _last_failure(facts: Facts, attempts: Sequence[_Attempt]) -> _Failure | None:
    """The newest attempt's trouble, from its report, else from its pod."""
    for pod, report in reversed(attempts):
        end = pod_facts.worker_end(pod)
        code = end.exit_code if end else None
        if report and report.failure:
            return _Failure(report.failure.reason, report.failure.message, code, report, ended=True)
        trouble = pod_facts.trouble(pod, facts.now)
        if trouble:
            return _Failure(trouble.reason, trouble.message, code, None, pod_facts.ended(pod))
        if pod_facts.ended(pod):
            name = pod["metadata"]["name"]
            if not facts.genuine(pod):
                return _Failure(
                    "ForeignJob", f"pod {name} is not what the operator built; its result does not count", code, None, ended=True
                )
            sentence = f"pod {name} ended with exit code {code} and left no report; its log may tell more"
            return _Failure("ResultMissing", sentence, code, None, ended=True)
    return None


def _job_failure(job: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The Job's condition that says it failed, or is bound to; None while it may still succeed."""
    return next((c for c in job.get("status", {}).get("conditions") or () if c.get("type") in _ENDS and c.get("status") == "True"), None)


def job_finished(job: Mapping[str, Any]) -> bool:
    """Complete or Failed: no pod of it runs any more."""
    conditions = job.get("status", {}).get("conditions") or ()
    return any(c.get("type") in {"Complete", "Failed"} and c.get("status") == "True" for c in conditions)


def _over(facts: Facts, failed: Mapping[str, Any] | None, attempts: Sequence[_Attempt]) -> bool:
    """No pod will follow the ones that ended. A worker that is just being stopped may still say that it had committed."""
    if job_finished(facts.job) or (failed is not None and all(pod_facts.ended(p) for p in facts.pods)):
        return True
    if not facts.pods or not all(pod_facts.ended(p) for p in facts.pods):
        return False
    return facts.failure_is_final or _no_other_follows(facts, attempts)


def _no_other_follows(facts: Facts, attempts: Sequence[_Attempt]) -> bool:
    """What the Job controller will find seconds later: the exit code is one that ends the Job, or its attempts are used up.

    Only where a worker of ours ended by itself: why one was stopped from outside, Job and pod may tell a moment later.
    """
    counted = [(p, r) for p, r in attempts if facts.genuine(p) and not pod_facts.disrupted(p)]
    if not counted or counted[-1] != attempts[-1]:
        return False
    _, report = counted[-1]
    if report is None or report.failure is None or report.failure.exit_code >= _SIGNALLED:
        return False
    spec = facts.job.get("spec", {})
    rules = spec.get("podFailurePolicy", {}).get("rules") or ()
    ending = {code for rule in rules if rule.get("action") == "FailJob" for code in rule.get("onExitCodes", {}).get("values") or ()}
    return report.failure.exit_code in ending or len(counted) > spec.get("backoffLimit", math.inf)


def _ended_at(facts: Facts, failed: Mapping[str, Any] | None) -> str:
    """When the last worker ended, else when the Job did; the same at every look."""
    times = [end.finished for p in facts.pods if (end := pod_facts.worker_end(p)) and end.finished]
    return max(times, default=None) or (failed or {}).get("lastTransitionTime") or _iso(facts.now)


def _active(facts: Facts) -> bool:
    return any(not pod_facts.ended(p) for p in facts.pods) or not facts.pods


def _why(facts: Facts, failed: Mapping[str, Any] | None, last: _Failure | None) -> tuple[str, str, int | None, Report | None]:
    """Reason and message of a failed run: the worker's own words first, then the pod's, then the Job's."""
    job_reason = str((failed or {}).get("reason") or "")
    if job_reason == "DeadlineExceeded":
        name = facts.job["metadata"]["name"]
        if other := (facts.job["metadata"].get("annotations") or {}).get(vocabulary.REPLACED_BY):
            return "Replaced", f"stopped to make room for {other}, which was asked for meanwhile (concurrencyPolicy: Replace)", None, None
        hint = f" ({last.reason}: {last.message})" if last else ""
        if last and not any(pod_facts.started(p) for p in facts.pods):
            return last.reason, last.message, None, None
        return "DeadlineExceeded", f"Job {name} did not end within its timeout{hint}; raise timeout, or see what held it up", None, None
    if last:
        return last.reason, last.message, last.exit_code, last.report
    told = (failed or {}).get("message") or "no pod of it is left"
    return job_reason or "ResultMissing", f"Job {facts.job['metadata']['name']} ended without a report: {told}", None, None


def _unfinished(facts: Facts, common: _Common, last: _Failure | None) -> Verdict:
    running = any(pod_facts.started(p) and not pod_facts.ended(p) for p in facts.pods)
    if facts.cancel:
        return common.verdict("Running", "Cancelling", "waiting for the worker to stop", give_up=True)
    if running:
        if last and last.ended:
            again = f"attempt {common.attempts} runs; the one before ended with {last.reason}: {last.message}"
            return common.verdict("Running", last.reason, again, exit_code=last.exit_code, report=last.report)
        return common.verdict("Running", "Running", "the worker is running")
    begun = any(pod_facts.started(p) for p in facts.pods)
    age = facts.now - (pod_facts.time(common.started) or facts.now)
    if not begun and age > facts.start_deadline:
        reason, message = (last.reason, last.message) if last else ("StartDeadlineExceeded", "no pod of the Job came to be")
        text = f"not running after {int(age.total_seconds())} s (startDeadline): {message}"
        return common.verdict("Failed", reason, text, give_up=True, ended=_iso(facts.now))
    wait = (
        timedelta(seconds=30) if begun else min(timedelta(seconds=30), max(facts.start_deadline - age, timedelta(0)) + timedelta(seconds=1))
    )
    if last:
        phase: Phase = "Running" if begun else "Pending"
        retry = f"attempt {common.attempts} ended: {last.message}; the Job may try again" if last.ended else last.message
        return common.verdict(phase, last.reason, retry, exit_code=last.exit_code, report=last.report, recheck=wait)
    return common.verdict("Pending", "Starting", f"Job {facts.job['metadata']['name']} is starting its pod", recheck=wait)


def _iso(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
