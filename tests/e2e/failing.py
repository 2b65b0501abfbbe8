"""What an object must say while something fails and after it failed, by the rules that people and GitOps tools read by."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.cluster.cluster import MINIO_PASSWORD
from tests.e2e.history import History, Version
from tests.e2e.objects import Json
from tests.e2e.platform import PASSPHRASE, Platform, condition

EVENT_SECONDS = 20
"""An Event follows its transition at once, but for a busy machine."""
IDENTITY = "AGE-SECRET-KEY-1[A-Z0-9]{10}"
"""The beginning of an age identity, not of a sentence about them."""
_LEADING = {"BackupStorage": "Ready", "BackupJob": "Ready", "Backup": "Succeeded", "RestoreJob": "Succeeded"}
_CLASHING = "condition {} is there and not True: Reconciling and Stalled exist only while they hold"


@dataclass(frozen=True)
class Witness:
    """Looks at one tenant's objects through all that was seen of them."""

    history: History
    platform: Platform

    def tells(self, kind: str, name: str, status: str, reason: str, *says: str, deadline: float = 60) -> Version:
        """The first version whose leading condition has this status and reason; its message holds every one of `says`.

        It must be whole: conditions about this generation, kstatus as it should be, an Event of that reason.
        """
        leading = _LEADING[kind]

        def met() -> Version | None:
            for version in self.history.versions(kind, self.platform.namespace, name):
                found = condition(version.body, leading)
                if (found.get("status"), found.get("reason")) == (status, reason):
                    return version
            return None

        version: Version = self.history.wait(
            met, deadline, lambda: f"{kind} {name}: {leading}={status} {reason}; it said {self.path(kind, name)}"
        )
        message = condition(version.body, leading)["message"]
        missing = [words for words in says if words not in message]
        assert not missing, f"{kind} {name}: {missing} not in {message!r}"
        check(version.body, leading)
        self.event(version.body, reason)
        return version

    def failed(self, kind: str, name: str, reason: str, *says: str, deadline: float = 60) -> Json:
        """A run that ended for good; its last version."""
        version = self.tells(kind, name, "False", reason, *says, deadline=deadline)
        status = version.body["status"]
        assert status["phase"] == "Failed"
        assert status["failure"]["class"] == reason
        assert status["completionTime"]
        assert kstatus(version.body) == "Failed"
        return self.last(kind, name)

    def waits(self, kind: str, name: str, reason: str, *says: str, deadline: float = 30) -> Json:
        """A run, not decided, and why."""
        version = self.tells(kind, name, "Unknown", reason, *says, deadline=deadline)
        assert version.body["status"]["phase"] in {"Pending", "Running"}
        assert kstatus(version.body) == "InProgress"
        return version.body

    def completed(self, kind: str, name: str, deadline: float = 90) -> Json:
        """A run that went well; its last version."""

        def met() -> Version | None:
            seen = self.history.versions(kind, self.platform.namespace, name)
            return seen[-1] if seen and condition(seen[-1].body, "Succeeded").get("status") in {"True", "False"} else None

        version: Version = self.history.wait(met, deadline, lambda: f"{kind} {name} has ended; it said {self.path(kind, name)}")
        assert version.body["status"]["phase"] == "Completed", f"{kind} {name}: {self.path(kind, name)}"
        check(version.body, "Succeeded")
        assert kstatus(version.body) == "Current"
        return version.body

    def last(self, kind: str, name: str) -> Json:
        return self.history.versions(kind, self.platform.namespace, name)[-1].body

    def path(self, kind: str, name: str) -> list[str]:
        """What its leading condition said, one after the other."""
        found = [condition(v.body, _LEADING[kind]) for v in self.history.versions(kind, self.platform.namespace, name)]
        told = [f"{c.get('status')} {c.get('reason')}: {c.get('message')}" for c in found if c]
        return [text for at, text in enumerate(told) if at == 0 or text != told[at - 1]]

    def event(self, body: Json, reason: str) -> Json:
        """The Event about this object with this reason."""

        def met() -> Json | None:
            return next((e for e in self.events(body) if e["reason"] == reason), None)

        told = lambda: f"Event {reason} about {body['metadata']['name']}; there are {[e['reason'] for e in self.events(body)]}"  # noqa: E731
        found: Json = self.history.wait(met, EVENT_SECONDS, told)
        assert found["message"]
        return found

    def events(self, body: Json) -> list[Json]:
        """All Events about the object, oldest first."""
        seen = [versions[-1] for versions in self.history.of_kind("Event", self.platform.namespace)]
        about = [v for v in seen if v.body["involvedObject"].get("uid") == body["metadata"]["uid"]]
        return [v.body for v in sorted(about)]

    def pods(self, job: str) -> list[list[Version]]:
        """All versions of each pod of the Job, oldest pod first."""
        pods = self.history.of_kind("Pod", self.platform.namespace)
        mine = [p for p in pods if (p[0].body["metadata"].get("labels") or {}).get("batch.kubernetes.io/job-name") == job]
        return sorted(mine, key=lambda versions: versions[0].at)

    def wait_running(self, backup: str, deadline: float = 60) -> Json:
        """The pod of the Backup's or RestoreJob's last attempt, once its container runs."""

        def met() -> Json | None:
            pods = self.pods(backup)
            return pods[-1][-1].body if pods and _state(pods[-1][-1].body, "running") else None

        found: Json = self.history.wait(met, deadline, lambda: f"a pod of {backup} runs")
        return found

    def seconds_from_end(self, kind: str, name: str, job: str | None = None) -> float:
        """From the moment the last pod was seen to have ended to the moment the object was seen to be decided."""
        ended = next(v.at for v in self.pods(job or name)[-1] if _state(v.body, "terminated"))
        decided = next(
            v.at
            for v in self.history.versions(kind, self.platform.namespace, name)
            if condition(v.body, "Succeeded").get("status") in {"True", "False"}
        )
        return decided - ended

    def no_secrets(self, *more: str) -> None:
        """No secret in any version of any object, Event, Job or pod of the tenant, nor in a log of theirs or the operator's."""
        namespace = self.platform.namespace
        texts = [
            str(v.body)
            for kind in (*_LEADING, "Job", "Pod", "Event")
            for versions in self.history.of_kind(kind, namespace)
            for v in versions
        ]
        workers = self.platform.list("Pod", "app.kubernetes.io/component=worker")
        logs = [f"/api/v1/namespaces/{namespace}/pods/{p['metadata']['name']}/log" for p in workers if _state(p, "terminated")]
        texts += [self.platform.objects.text_if_there(path) for path in logs]
        texts.append(self.platform.operator.logs())
        plain = [PASSPHRASE, MINIO_PASSWORD, *more]
        secrets = [re.escape(text) for secret in plain for text in (secret, base64.b64encode(secret.encode()).decode())]
        for text in texts:
            found = re.search("|".join((*secrets, IDENTITY)), text)
            assert found is None, f"a secret shows: {text[max(0, found.start() - 300) : found.end()]}"


def kstatus(body: Json) -> str:
    """What Flux and Helm see in an object."""
    if body["status"].get("observedGeneration") != body["metadata"]["generation"]:
        return "InProgress"
    if condition(body, "Reconciling").get("status") == "True":
        return "InProgress"
    if condition(body, "Stalled").get("status") == "True":
        return "Failed"
    return "Current" if condition(body, "Ready").get("status") == "True" else "InProgress"


def check(body: Json, leading: str) -> None:
    """The conditions agree with each other and are about this generation."""
    generation, found = body["metadata"]["generation"], body["status"]["conditions"]
    assert body["status"]["observedGeneration"] == generation
    for one in found:
        assert one["observedGeneration"] == generation, one
        assert re.fullmatch(r"[A-Z][A-Za-z]+", one["reason"]), one
        assert one["status"] == "True" or one["type"] not in {"Reconciling", "Stalled"}, _CLASHING.format(one["type"])
    first, ready = condition(body, leading), condition(body, "Ready")
    assert (first["status"], first["reason"]) == (ready["status"], ready["reason"])
    assert not (condition(body, "Reconciling") and condition(body, "Stalled")), found
    assert first["message"] or first["status"] == "True", first


def check_store(keys: Sequence[str], *, killed: int = 0) -> list[str]:
    """The archive ids of whole backups. Nothing is half-published: only what is announced may lack its manifest, and only of killed runs."""
    announced = {key.rpartition("/")[2] for key in keys if key.startswith("announce/")}
    by_id: dict[str, set[str]] = {}
    for key in keys:
        if match := re.fullmatch(r"chains/[^/]+/[^/-]+-([0-9a-f]{16})\.(.+)", key):
            by_id.setdefault(match[1], set()).add(match[2])
    whole = {id_ for id_, parts in by_id.items() if "manifest.json" in parts}
    for id_ in whole:
        assert by_id[id_] == {"full.tar.zst.age", "index", "state", "manifest.json"}, (id_, by_id[id_])
    assert set(by_id) - whole <= announced, f"neither committed nor announced: {set(by_id) - whole - announced}"
    assert not whole & announced, f"committed and announced still: {whole & announced}"
    assert len(announced) <= killed, f"{len(announced)} announcements, {killed} runs were killed: {sorted(announced)}"
    return sorted(whole)


def phases(versions: Iterable[Version]) -> list[str]:
    """The phases an object went through."""
    found = [str(v.body.get("status", {}).get("phase")) for v in versions]
    return [phase for at, phase in enumerate(found) if at == 0 or phase != found[at - 1]]


def _state(pod: Json, state: str) -> Any:
    statuses = pod.get("status", {}).get("containerStatuses") or []
    return next((s["state"].get(state) for s in statuses if s["name"] in {"worker", "workload"}), None)
