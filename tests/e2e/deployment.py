"""The operator in the test cluster, installed from the chart: its pod, its logs, what it serves."""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.cluster import Cluster
from tests.cluster.chart import NAME, NAMESPACE
from tests.e2e.objects import Json, Objects
from tests.e2e.waiting import wait_for


@dataclass(frozen=True)
class Operator:
    """One installation."""

    cluster: Cluster
    objects: Objects
    image: str
    """The project's image; workers and helper pods run it too, and it has python3 and sh."""
    namespace: str = NAMESPACE
    name: str = NAME
    earlier: list[str] = field(default_factory=list)
    """Logs of pods that were ended by us."""

    def pods(self) -> list[Json]:
        """Its pods that are not on their way out."""
        found = self.objects.list("Pod", self.namespace, f"app.kubernetes.io/name={NAME}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def logs(self) -> str:
        """Everything the operator has said, also before a test ended it."""
        return "".join([*self.earlier, *(self.objects.text(f"{self._path(pod)}/log") for pod in self.pods())])

    def serves(self, port: int, path: str) -> str:
        """What the pod answers over HTTP, through the API server's proxy."""
        return self.objects.text(f"{self._path(self.pods()[0])}:{port}/proxy/{path.lstrip('/')}")

    def scale(self, replicas: int, deadline: float = 60) -> None:
        """Return once so many pods are ready, and no other is left."""
        if replicas == 0:
            self.note_logs()
        self.objects.patch("Deployment", self.namespace, self.name, {"spec": {"replicas": replicas}})
        wait_for(lambda: self._ready() == replicas and self._all() == replicas, deadline, what=f"{replicas} operators")

    def kill(self) -> None:
        """End the pod without a word to it; a new one comes."""
        self.note_logs()
        for pod in self.pods():
            self.objects.delete("Pod", self.namespace, pod["metadata"]["name"], grace_seconds=0)

    def wait_ready(self, deadline: float = 60) -> None:
        """Return once one pod is ready."""
        wait_for(lambda: self._ready() == 1, deadline, what="the operator is ready")

    def note_logs(self) -> None:
        """Keep what was said so far: call this before the pod goes."""
        self.earlier[:] = [self.logs()]

    def _path(self, pod: Json) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{pod['metadata']['name']}"

    def _all(self) -> int:
        return len(self.objects.list("Pod", self.namespace, f"app.kubernetes.io/name={NAME}"))

    def _ready(self) -> int:
        conditions = [c for pod in self.pods() for c in pod["status"].get("conditions", [])]
        return sum(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
