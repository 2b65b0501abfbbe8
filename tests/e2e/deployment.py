"""The operator in the test cluster, installed from the chart: its pod, its logs, what it serves."""

from __future__ import annotations

from dataclasses import dataclass

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

    def pods(self) -> list[Json]:
        """Its pods that are not on their way out."""
        found = self.objects.list("Pod", self.namespace, f"app.kubernetes.io/name={NAME}")
        return [pod for pod in found if "deletionTimestamp" not in pod["metadata"]]

    def logs(self) -> str:
        """Everything the present pod has said."""
        return "".join(self.objects.text(f"{self._pod_path()}/log") for _ in self.pods()[:1])

    def serves(self, port: int, path: str) -> str:
        """What the pod answers over HTTP, through the API server's proxy."""
        return self.objects.text(f"{self._pod_path()}:{port}/proxy/{path.lstrip('/')}")

    def scale(self, replicas: int, deadline: float = 60) -> None:
        """Return once so many pods are ready, and no other is left."""
        self.objects.patch("Deployment", self.namespace, self.name, {"spec": {"replicas": replicas}})
        wait_for(lambda: self._ready() == replicas and self._all() == replicas, deadline, what=f"{replicas} operators")

    def kill(self) -> None:
        """End the pod without a word to it; a new one comes."""
        for pod in self.pods():
            self.objects.delete("Pod", self.namespace, pod["metadata"]["name"], grace_seconds=0)

    def wait_ready(self, deadline: float = 60) -> None:
        """Return once one pod is ready."""
        wait_for(lambda: self._ready() == 1, deadline, what="the operator is ready")

    def _pod_path(self) -> str:
        return f"/api/v1/namespaces/{self.namespace}/pods/{self.pods()[0]['metadata']['name']}"

    def _all(self) -> int:
        return len(self.objects.list("Pod", self.namespace, f"app.kubernetes.io/name={NAME}"))

    def _ready(self) -> int:
        conditions = [c for pod in self.pods() for c in pod["status"].get("conditions", [])]
        return sum(c["type"] == "Ready" and c["status"] == "True" for c in conditions)
