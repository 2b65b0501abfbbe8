"""What the tests on the real cluster share. `tests/cluster/README.md` says which cluster that is."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Protocol

import pytest

from tests.cluster import Cluster, chart, project_image, start
from tests.e2e.apiserver import ApiServer
from tests.e2e.deployment import Operator
from tests.e2e.failing import Witness
from tests.e2e.history import History
from tests.e2e.installation import install_api
from tests.e2e.objects import Objects
from tests.e2e.platform import Platform


class Kubectl(Protocol):
    """kubectl on the test cluster: returns standard output, raises ClusterError with its complaint."""

    def __call__(self, *arguments: str, given: str | None = None, check: bool = True, timeout: float = 120) -> str: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Everything below this folder needs the cluster."""
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session")
def cluster() -> Cluster:
    """The running cluster with the object store in it; started if need be, left running."""
    return start()


@pytest.fixture(scope="session")
def api_cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Cluster:
    """The cluster for tests that only talk to its API server: no object store unless another test needs it, no image."""
    if any("cluster" in getattr(item, "fixturenames", ()) for item in request.session.items):
        return start()
    if given := os.environ.get("KUBECONFIG"):
        scratch = tmp_path_factory.mktemp("cluster")
        return Cluster(Path(given), scratch, "", scratch / "none", external=True)
    return start(store=False)


@pytest.fixture(scope="session")
def kubectl(api_cluster: Cluster) -> Kubectl:
    """`kubectl("get", "pods", "--namespace", namespace)` returns what kubectl prints."""
    return api_cluster.run


@pytest.fixture(scope="session")
def installed(api_cluster: Cluster) -> None:
    """The resource definitions and the admission policy of this checkout, as the chart would install them."""
    install_api(api_cluster)


@pytest.fixture(scope="session")
def api(api_cluster: Cluster, installed: None) -> Iterator[ApiServer]:
    """The API server, knowing our kinds, seen by an administrator."""
    with closing(ApiServer(api_cluster.kubeconfig)) as server:
        yield server


@pytest.fixture(scope="session")
def new_namespace(kubectl: Kubectl) -> Iterator[Callable[..., str]]:
    """Make a namespace under a pod-security level; all of them go at the end."""
    made: list[str] = []

    def make(level: str = "restricted") -> str:
        name = f"e2e-{secrets.token_hex(4)}"
        kubectl("create", "namespace", name)
        made.append(name)
        kubectl("label", "namespace", name, f"pod-security.kubernetes.io/enforce={level}")
        return name

    yield make
    if made:
        kubectl("delete", "namespace", "--wait=false", "--ignore-not-found", *made)


@pytest.fixture
def namespace(new_namespace: Callable[..., str], kubectl: Kubectl) -> Iterator[str]:
    """A fresh namespace under pod-security `restricted`, deleted after the test."""
    name = new_namespace()
    yield name
    kubectl("delete", "namespace", "--wait=false", "--ignore-not-found", name)


@pytest.fixture(scope="session")
def operator(cluster: Cluster) -> Iterator[Operator]:
    """The operator of this checkout, installed from the chart."""
    image = project_image.deliver(cluster)
    chart.install(cluster)
    with closing(Objects(cluster.kubeconfig)) as objects:
        yield Operator(cluster, objects, image)


@pytest.fixture(scope="session")
def history(operator: Operator) -> Iterator[History]:
    """Every version of every object, Event and pod from here on."""
    with closing(History(operator.cluster.kubeconfig)) as seen:
        yield seen


@pytest.fixture(scope="session")
def new_platform(operator: Operator, new_namespace: Callable[..., str]) -> Iterator[Callable[..., Platform]]:
    """Make a namespace under a pod-security level with Secrets and the BackupStorage `minio`, Ready unless `storage` is False."""
    made: list[Platform] = []

    def make(level: str = "restricted", *, storage: bool = True) -> Platform:
        platform = Platform(operator, new_namespace(level))
        made.append(platform)
        platform.secrets()
        if storage:
            platform.apply(platform.storage())
            platform.wait_condition("BackupStorage", "minio", "Ready")
        return platform

    yield make
    for platform in made:
        platform.end()


@pytest.fixture(scope="module")
def platform(new_platform: Callable[..., Platform]) -> Platform:
    """A tenant of the module's own, under pod-security `restricted`."""
    return new_platform()


@pytest.fixture(scope="module")
def witness(history: History, platform: Platform) -> Witness:
    """Sees what this module's tenant said, and when."""
    return Witness(history, platform)
