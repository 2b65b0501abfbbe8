"""A real kopf operator on the API server in memory, each in a thread of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import socket
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import yaml

from iot_backup.handlers.main import serve
from iot_backup.settings import Settings

from .apiserver import Cluster, Server
from .kubelet import Kubelet

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Json = dict[str, Any]
T = TypeVar("T")
DEADLINE = 60.0
IMAGE = "registry.example/iot-backup-operator:1.2.3"


RIGHTS = Path(__file__).parent / "rights.json"
"""[verb, group, resource, subresource] of everything the operator asks for. WRITE_RIGHTS=1 and a whole run write it anew."""
USED = pytest.StashKey[set[tuple[str, str, str, str]]]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "last: runs after all others of tests/handlers")
    config.stash[USED] = set()
    config.rights_key = USED  # type: ignore[attr-defined]


def pytest_sessionfinish(session: pytest.Session) -> None:
    if os.environ.get("WRITE_RIGHTS"):
        RIGHTS.write_text("[\n" + ",\n".join(f"  {json.dumps(entry)}" for entry in sorted(session.config.stash[USED])) + "\n]\n")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: item.get_closest_marker("last") is not None)


@dataclass
class World:
    """A cluster with an operator that can be stopped and started again."""

    cluster: Cluster
    kubelet: Kubelet
    settings: Settings
    shift: timedelta = timedelta(0)
    """How far the operator's clock is ahead."""
    _thread: threading.Thread | None = None
    _loop: asyncio.AbstractEventLoop | None = None
    _stop: asyncio.Event | None = None
    _error: list[BaseException] = field(default_factory=list)

    def start(self) -> None:
        begun = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(begun,), daemon=True)
        self._thread.start()
        assert begun.wait(DEADLINE)

    def _run(self, begun: threading.Event) -> None:
        async def main() -> None:
            self._loop, self._stop, ready = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()
            serving = asyncio.create_task(serve(self.settings, stop=self._stop, ready=ready, clock=lambda: datetime.now(UTC) + self.shift))
            waiting = asyncio.create_task(ready.wait())
            await asyncio.wait({serving, waiting}, return_when=asyncio.FIRST_COMPLETED)
            waiting.cancel()
            begun.set()
            await serving

        try:
            asyncio.run(main())
        except BaseException as error:  # noqa: BLE001 - told again in the test's own thread
            self._error.append(error)
            begun.set()

    def stop(self) -> None:
        """Stop the operator; what ended it before its time is raised here."""
        if self._thread and self._loop and self._stop:
            if self._thread.is_alive():
                self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(DEADLINE)
            assert not self._thread.is_alive(), "the operator does not stop"
        self._thread = None
        if self._error:
            raise self._error.pop()

    def measure(self, port: int) -> None:
        """Serve /metrics."""
        self.settings = dataclasses.replace(self.settings, metrics_port=port)

    def watch_over(self, port: int) -> None:
        """Serve /healthz."""
        self.settings = dataclasses.replace(self.settings, health_port=port)

    def until(self, what: Callable[[], T | None], why: str = "") -> T:
        """Poll until it is there."""
        end = time.monotonic() + DEADLINE
        while time.monotonic() < end:
            found = what()
            if found:
                return found
            time.sleep(0.005)
        raise AssertionError(f"did not happen within {DEADLINE} s: {why or what}; {self.state()}")

    def state(self) -> str:
        kinds = ("backupstorages", "backupjobs", "backups", "restorejobs")
        return "; ".join(f"{k}/{o['metadata']['name']}: {o.get('status')}" for k in kinds for o in self.cluster.list(k))

    def condition(self, plural: str, name: str, type_: str, status: str, reason: str | None = None) -> Json:
        """Wait for a condition; the object that has it."""

        def met() -> Json | None:
            body = self.cluster.get(plural, name)
            found = [c for c in (body or {}).get("status", {}).get("conditions", ()) if c["type"] == type_]
            return body if found and found[0]["status"] == status and reason in {None, found[0]["reason"]} else None

        return self.until(met, f"{plural}/{name} {type_}={status} {reason}")

    def told(self, name: str) -> list[str]:
        """Reasons of the Events on an object, in order."""
        return [e["reason"] for e in sorted(self.cluster.events(name), key=lambda e: int(e["metadata"]["resourceVersion"]))]

    def job(self, name: str) -> Json:
        return self.until(lambda: self.cluster.get("jobs", name), f"Job {name}")

    def touch(self, plural: str, name: str) -> None:
        """Change something of no meaning, so that the operator looks."""
        self.cluster.patch(plural, name, {"metadata": {"annotations": {"touched": str(time.monotonic_ns())}}})

    # -- objects of a usual namespace

    def storage(self, name: str = "s3", **spec: Any) -> Json:
        body = {
            "s3": {"bucket": "backups", "prefix": "plant", "credentialsSecretRef": {"name": "backup-secrets"}},
            "encryption": {"secretRef": {"name": "backup-secrets", "key": "passphrase"}},
        }
        return self.cluster.create("backupstorages", {"metadata": {"name": name}, "spec": {**body, **spec}})

    def ready_storage(self, name: str = "s3") -> Json:
        self.storage(name)
        return self.condition("backupstorages", name, "Ready", "True")

    def claim(self, name: str = "data") -> Json:
        return self.cluster.create("persistentvolumeclaims", {"metadata": {"name": name}, "spec": {"accessModes": ["ReadWriteOnce"]}})

    def backup_job(self, name: str = "daily", **spec: Any) -> Json:
        body = {"storageRef": {"name": "s3"}, "source": {"volume": {"claimName": "data"}}}
        return self.cluster.create("backupjobs", {"metadata": {"name": name}, "spec": {**body, **spec}})

    def backup(self, name: str = "now", job: str = "daily", **spec: Any) -> Json:
        return self.cluster.create("backups", {"metadata": {"name": name}, "spec": {"jobRef": {"name": job}, **spec}})

    def user_pod(self, claim: str, name: str = "db-0", **changes: Any) -> Json:
        """A workload's pod that runs and mounts the claim."""
        spec = {
            "nodeName": "node-1",
            "securityContext": {"runAsUser": 999, "runAsGroup": 999, "fsGroup": 2000},
            "containers": [{"name": "db", "volumeMounts": [{"name": "data", "mountPath": "/data"}]}],
            "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": claim}}],
        }
        body = {
            "metadata": {"name": name, "labels": {"app": "db", "controller-revision-hash": "x"}},
            "spec": {**spec, **changes},
            "status": {"phase": "Running"},
        }
        return self.cluster.create("pods", body)


@pytest.fixture
def cluster() -> Cluster:
    return Cluster()


@pytest.fixture
def unused_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def idle(cluster: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[World]:
    """The cluster without a running operator."""
    server = Server(cluster)
    server.start()
    kubeconfig = tmp_path / "kubeconfig"
    context = {"name": "test", "context": {"cluster": "test", "user": "test"}}
    kubeconfig.write_text(
        yaml.safe_dump(
            {
                "apiVersion": "v1",
                "kind": "Config",
                "current-context": "test",
                "contexts": [context],
                "clusters": [{"name": "test", "cluster": {"server": server.url}}],
                "users": [{"name": "test", "user": {"token": "made-up"}}],
            }
        )
    )
    monkeypatch.setenv("KUBECONFIG", str(kubeconfig))
    world = World(cluster, Kubelet(cluster), Settings(worker_image=IMAGE, health_port=0, metrics_port=0))
    yield world
    world.stop()
    server.stop()
    used = {(r.verb, r.group, r.resource, r.subresource) for r in cluster.log}
    request.config.stash[USED] |= used
    listed = used if os.environ.get("WRITE_RIGHTS") else {tuple(entry) for entry in json.loads(RIGHTS.read_text())}
    assert used <= listed, f"the operator used rights that rights.json, and so perhaps the chart, does not have: {used - listed}"


@pytest.fixture
def world(idle: World) -> World:
    """The cluster with the operator running."""
    idle.start()
    return idle
