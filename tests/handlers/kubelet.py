"""What the Job controller and the kubelet do, by script: pods come, run, end and leave a message, Jobs follow 2 s later or when told."""

from __future__ import annotations

import threading
import uuid
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from iot_backup import vocabulary
from iot_backup.core import report, spec
from iot_backup.core.report import BackupResult, Capabilities, Failure, PlanResult, ProbeResult, Report, RestoreResult, Warn

from .apiserver import Cluster, Refusal, now

if TYPE_CHECKING:
    from collections.abc import Callable

Json = dict[str, Any]
FINGERPRINT = "ab" * 32
RECIPIENT = "age1" + "q" * 58


class Kubelet:
    """Drives the Jobs of a Cluster. Probes are answered by themselves with `probe`, other runs when a test says so."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.probe: Callable[[Json], ProbeResult | Failure] = lambda _: probe_result()
        self.answer_probes = True
        self.committed: dict[str, int] = {}
        """How many members each chain has in the store."""
        cluster._listeners.append(self._heard)

    def _heard(self, entry: tuple[int, str, str, Json]) -> None:
        _, event, plural, body = entry
        if (
            plural == "jobs"
            and event == "ADDED"
            and body["metadata"].get("labels", {}).get(vocabulary.OPERATION) == "probe"
            and self.answer_probes
        ):
            threading.Timer(0.01, self._answer_probe, (body["metadata"]["name"], body["metadata"]["namespace"])).start()

    def _answer_probe(self, name: str, namespace: str) -> None:
        job = self.cluster.get("jobs", name, namespace)
        if job is None:
            return
        try:
            self.run(job)
            found = self.probe(job)
            if isinstance(found, Failure):
                self.fail(job, found)
                self.job_failed(job)
            else:
                self.end(job, 0, self.report(job, probe=found))
                self.job_complete(job)
        except Refusal:
            return  # deleted meanwhile

    # -- pods

    def pod(self, job: Json, **changes: Any) -> Json:
        """A new pod of the Job, Pending on a node."""
        metadata = job["metadata"]
        template = job["spec"]["template"]
        owner = {"apiVersion": "batch/v1", "kind": "Job", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
        body = {
            "metadata": {
                "name": f"{metadata['name']}-{uuid.uuid4().hex[:5]}",
                "labels": template["metadata"]["labels"],
                "annotations": template["metadata"].get("annotations", {}),
                "ownerReferences": [owner],
            },
            "spec": {**template["spec"], "nodeName": "node-1"},
            "status": {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "True", "lastTransitionTime": now()}]},
        }
        body.update(changes)
        self.cluster.patch("jobs", metadata["name"], {"status": {"startTime": now(), "active": 1}}, metadata["namespace"], status=True)
        return self.cluster.create("pods", body, metadata["namespace"])

    def newest(self, job: Json) -> Json:
        mine = [
            p
            for p in self.cluster.list("pods", job["metadata"]["namespace"])
            if any(o["uid"] == job["metadata"]["uid"] for o in p["metadata"].get("ownerReferences", ()))
        ]
        return max(mine, key=lambda p: int(p["metadata"]["resourceVersion"]))

    def run(self, job: Json) -> Json:
        """A pod comes and its worker runs."""
        pod = self.pod(job)
        return self.status(pod, {"phase": "Running", "containerStatuses": [{"name": "worker", "state": {"running": {"startedAt": now()}}}]})

    def status(self, pod: Json, status: Json) -> Json:
        return self.cluster.patch("pods", pod["metadata"]["name"], {"status": status}, pod["metadata"]["namespace"], status=True)

    def end(self, job: Json, exit_code: int, message: str, reason: str | None = None) -> None:
        """The worker of the newest pod ends and leaves a message."""
        state = {
            "exitCode": exit_code,
            "message": message,
            "reason": reason or ("Completed" if exit_code == 0 else "Error"),
            "startedAt": now(),
            "finishedAt": now(),
        }
        self.status(
            self.newest(job),
            {
                "phase": "Succeeded" if exit_code == 0 else "Failed",
                "containerStatuses": [{"name": "worker", "state": {"terminated": state}}],
            },
        )

    def fail(self, job: Json, failure: Failure) -> None:
        self.end(job, failure.exit_code, self.report(job, failure=failure))

    # -- Jobs

    def job_complete(self, job: Json) -> None:
        self._condition(job, "Complete", "CompletionsReached", "")

    def job_failed(
        self, job: Json, reason: str = "BackoffLimitExceeded", message: str = "Job has reached the specified backoff limit"
    ) -> None:
        self._condition(job, "Failed", reason, message)

    def _condition(self, job: Json, type_: str, reason: str, message: str) -> None:
        condition = {"type": type_, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now()}
        status = {"active": 0, "conditions": [condition], **({"completionTime": now()} if type_ == "Complete" else {})}
        self.cluster.patch("jobs", job["metadata"]["name"], {"status": status}, job["metadata"]["namespace"], status=True)

    def fire(self, cron_job: Json, *, by_hand: str | None = None) -> Json:
        """What the CronJob controller does at the time, or `kubectl create job --from=cronjob/... NAME`."""
        metadata = cron_job["metadata"]
        name = by_hand or f"{metadata['name']}-{28000000 + len(self.cluster.list('jobs'))}"
        owner = {"apiVersion": "batch/v1", "kind": "CronJob", "name": metadata["name"], "uid": metadata["uid"], "controller": True}
        annotations = (
            {"cronjob.kubernetes.io/instantiate": "manual"} if by_hand else {"batch.kubernetes.io/cronjob-scheduled-timestamp": now()}
        )
        template = cron_job["spec"]["jobTemplate"]
        body = {
            "metadata": {"name": name, "labels": template["metadata"]["labels"], "annotations": annotations, "ownerReferences": [owner]},
            "spec": template["spec"],
        }
        return self.cluster.create("jobs", body, metadata["namespace"])

    # -- reports

    def order(self, job: Json) -> Any:
        text = job["spec"]["template"]["metadata"]["annotations"][vocabulary.SPEC]
        return spec.decode(text, job["spec"]["template"]["spec"]["containers"][0]["args"][-1])

    def report(self, job: Json, **parts: Any) -> str:
        metadata = job["metadata"]
        return report.encode(Report(kind=metadata["labels"][vocabulary.OPERATION], job=metadata["name"], job_uid=metadata["uid"], **parts))

    def backed_up(self, job: Json, *, warnings: tuple[Warn, ...] = (), **changes: Any) -> None:
        """The newest pod ends with a committed archive, of the type that was asked for and the next of its chain."""
        order = self.order(job)
        seq = self.committed.get(order.chain, 0) + 1
        result = backup_result(order.chain, **{"type": order.type, "seq": seq, "manifest_sha256": f"{seq:064x}", **changes})
        self.committed[order.chain] = result.seq
        self.end(job, 0, self.report(job, backup=result, warnings=warnings))

    def restored(self, job: Json, **changes: Any) -> None:
        order = self.order(job)
        facts: Json = {
            "archive": order.archive,
            "chain": order.chain or "daily",
            "type": order.type,
            "snapshot_time": _time(),
            "files": 3,
            "bytes": 2048,
            "checksum": "sha256:" + "0" * 64,
        }
        self.end(job, 0, self.report(job, restore=RestoreResult(**{**facts, **changes})))

    def planned(self, job: Json, **changes: Any) -> None:
        order = self.order(job)
        facts: Json = {
            "archive": order.archive,
            "chain": order.chain or "daily",
            "snapshot_time": _time(),
            "members": 2,
            "files": 3,
            "bytes": 2048,
            "add": 1,
            "change": 1,
            "same": 1,
            "delete": 4,
            "read_bytes": 1024,
            "space_needed": 10,
            "space_free": 20,
            "seconds": 5,
        }
        self.end(job, 0, self.report(job, plan=PlanResult(**{**facts, **changes})))


def _time() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)


def probe_result(**changes: Any) -> ProbeResult:
    facts: Json = {
        "repository_id": "5b8c",
        "fingerprint": FINGERPRINT,
        "recipient": RECIPIENT,
        "created": True,
        "confirmed": True,
        "writer": "0123456789abcdef",
        "writer_admitted": True,
        "capabilities": Capabilities(conditional_writes=True),
        "isolated": True,
    }
    return ProbeResult(**{**facts, **changes})


def backup_result(chain: str, **changes: Any) -> BackupResult:
    facts: Json = {
        "archive": uuid.uuid4().hex[:16],
        "chain": chain,
        "type": "Full",
        "seq": 1,
        "start_time": _time(),
        "completion_time": _time(),
        "snapshot_time": _time(),
        "size_bytes": 1 << 20,
        "source_bytes": 4 << 20,
        "files": 42,
        "entries": 50,
        "checksum": "sha256:" + "c" * 64,
        "manifest_sha256": "d" * 64,
        "owner_uid": 999,
        "owner_gid": 999,
    }
    return BackupResult(**{**facts, **changes})
