"""The harness keeps its promises: what the other cluster tests build on, and that nothing stays behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from ipaddress import IPv4Address
from typing import TYPE_CHECKING, Any

import pytest

from tests.cluster import Cluster, bootstrap, images, layout, namespaces, oci, package_index, packages, plan, start
from tests.cluster import cluster as clusters

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SECOND = "0badc0de"
"""Identity of the cluster that comes and goes beside the one all tests share."""


class TestLayout:
    """Decisions that need no cluster."""

    def test_two_identities_share_no_address(self) -> None:
        """Wire, pods and Services of two slots do not overlap."""
        one, other = layout.Layout("00000001", 1), layout.Layout("00000002", 2)
        assert not one.pods.overlaps(other.pods)
        assert not one.services.overlaps(other.services)
        assert one.veth != other.veth
        assert {one.host_ip, one.node_ip}.isdisjoint({other.host_ip, other.node_ip})

    def test_a_taken_slot_is_passed_over(self) -> None:
        """The next free slot is chosen, round the end."""
        assert layout.choose_slot("000000ff", []) == 255
        assert layout.choose_slot("000000ff", [IPv4Address("10.213.255.1")]) == 0

    def test_an_interface_name_fits_the_kernel(self) -> None:
        """15 characters are the limit."""
        assert len(layout.veth_of("ffffffff")) <= 15

    def test_the_plan_is_json(self) -> None:
        """The first process reads it so."""
        made = plan.plan(layout.Layout("00000001", 1), dict.fromkeys(("etcd", "kubelet"), "/x") | _every_tool())
        assert json.loads(json.dumps(made)) == made


def _every_tool() -> dict[str, str]:
    names = ("kube-apiserver", "kube-controller-manager", "kube-proxy", "kube-scheduler", "provisioner")
    return {name: f"/bin/{name}" for name in names}


def test_missing_packages_are_those_not_installed() -> None:
    """A removed package that left its configuration counts as missing."""
    assert packages.missing(["a", "b", "c"], "a installed\nb config-files\n") == ["b", "c"]


def test_the_environment_wins_over_pip_configuration_files() -> None:
    """As pip has it."""
    texts = ["[global]\ntimeout = 1\ncert = /a\n", "[install]\ntimeout = 2\n"]
    assert package_index.merged(texts, {"PIP_TIMEOUT": "3"}) == {"timeout": "3", "cert": "/a"}


def test_an_archive_is_the_same_each_time(tmp_path: Path) -> None:
    """What is keyed by content must be made of content alone."""
    program = tmp_path / "program"
    program.write_bytes(b"x")
    made = []
    for name in ("one", "two"):
        oci.layer_of_files(tmp_path / f"{name}.layer", {"/bin/program": program})
        oci.write_archive(tmp_path / name, "localhost/x:1", tmp_path / f"{name}.layer", oci.Runtime())
        made.append((tmp_path / name).read_bytes())
    assert made[0] == made[1]


needs_cluster = pytest.mark.cluster


@pytest.fixture(scope="module")
def cluster() -> Cluster:
    """Return the cluster all tests share; it stays up for the next ones."""
    return start()


@pytest.fixture
def namespace(cluster: Cluster, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return a namespace under pod-security `restricted`, gone afterwards."""
    name = f"harness-{abs(hash(request.node.name)) % 16**8:08x}"
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    apply(cluster, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})
    yield name
    cluster.run("delete", "namespace", name, "--wait=false")


def apply(cluster: Cluster, *objects: dict[str, Any]) -> None:
    """Apply objects."""
    given = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
    cluster.run("apply", "--server-side", "--filename=-", given=given)


def claim(namespace: str, storage_class: str, size: str) -> dict[str, Any]:
    """Return a PersistentVolumeClaim called after its class."""
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": storage_class, "namespace": namespace},
        "spec": {
            "accessModes": ["ReadWriteOnce"],
            "storageClassName": storage_class,
            "resources": {"requests": {"storage": size}},
        },
    }


def job(namespace: str, script: str, claims: tuple[str, ...] = (), **security: Any) -> dict[str, Any]:
    """Return a restricted Job that runs a bash script with each claim mounted at /NAME."""
    container = {
        "name": "main",
        "image": os.environ.get("IOT_BACKUP_TOOLBOX_IMAGE", images.TOOLBOX),
        "command": ["bash", "-euc", script],
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": name, "mountPath": f"/{name}"} for name in claims],
    }
    pod = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": 1234,
            "seccompProfile": {"type": "RuntimeDefault"},
            **security,
        },
        "containers": [container],
        "volumes": [{"name": name, "persistentVolumeClaim": {"claimName": name}} for name in claims],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "job", "namespace": namespace},
        "spec": {"backoffLimit": 0, "template": {"spec": pod}},
    }


def finish(cluster: Cluster, namespace: str, seconds: int = 60) -> dict[str, Any]:
    """Wait for the Job's pod to end and return the container's termination state."""
    # A Job has conditions once it ended, well or not.
    cluster.run("wait", "job/job", f"--namespace={namespace}", "--for=jsonpath={.status.conditions}", f"--timeout={seconds}s")
    pods = json.loads(cluster.run("get", "pods", f"--namespace={namespace}", "--output=json"))["items"]
    return dict(pods[0]["status"]["containerStatuses"][0]["state"]["terminated"])


@needs_cluster
def test_up_again_finds_the_same_cluster(cluster: Cluster) -> None:
    """A second `up` changes nothing and is quick."""
    uid = cluster.run("get", "namespace", "minio", "--output=jsonpath={.metadata.uid}")
    assert start() == cluster
    assert cluster.run("get", "namespace", "minio", "--output=jsonpath={.metadata.uid}") == uid


@needs_cluster
def test_a_restricted_job_writes_a_claim_by_its_fs_group(cluster: Cluster, namespace: str) -> None:
    """What it wrote it reads, and its termination message arrives."""
    script = "echo kept > /local/file; cat /local/file > /dev/termination-log; stat -c %g /local >> /dev/termination-log"
    apply(cluster, claim(namespace, "local", "1Mi"), job(namespace, script, ("local",), fsGroup=2345))
    ended = finish(cluster, namespace)
    assert ended["exitCode"] == 0, cluster.run("logs", "job/job", f"--namespace={namespace}")
    assert ended["message"].split() == ["kept", "2345"]


@needs_cluster
def test_without_fs_group_a_new_claim_belongs_to_root(cluster: Cluster, namespace: str) -> None:
    """As on most storage: so a worker that forgets fsGroup fails here, not at a user's."""
    script = "stat -c '%u:%g %a' /local > /dev/termination-log; ! touch /local/file"
    apply(cluster, claim(namespace, "local", "1Mi"), job(namespace, script, ("local",)))
    ended = finish(cluster, namespace)
    assert (ended["exitCode"], ended["message"].strip()) == (0, "0:0 755")


@needs_cluster
def test_a_tiny_claim_fills_up(cluster: Cluster, namespace: str) -> None:
    """Writing more than was asked for is ENOSPC."""
    script = "head -c 3M /dev/zero > /tiny/file 2> /dev/termination-log"
    apply(cluster, claim(namespace, "tiny", "1Mi"), job(namespace, script, ("tiny",), fsGroup=2345))
    ended = finish(cluster, namespace)
    assert ended["exitCode"] != 0
    assert "No space left on device" in ended["message"]


@needs_cluster
def test_a_deleted_claim_leaves_no_volume(cluster: Cluster, namespace: str) -> None:
    """Neither the object nor what is behind it."""
    apply(cluster, claim(namespace, "tiny", "1Mi"), job(namespace, "true", ("tiny",)))
    finish(cluster, namespace)
    volume = cluster.run("get", "pvc/tiny", f"--namespace={namespace}", "--output=jsonpath={.spec.volumeName}")
    cluster.run("delete", "job/job", "pvc/tiny", f"--namespace={namespace}")
    cluster.run("wait", "--for=delete", f"pv/{volume}", "--timeout=100s")
    if not cluster.external:
        assert not (cluster.state / "volumes" / volume).exists()


@needs_cluster
def test_the_store_answers_pods_by_its_service_name(cluster: Cluster, namespace: str) -> None:
    """DNS, the Service's address and TLS with the store's CA, as a worker uses them."""
    ca = cluster.minio_ca.read_text()
    health = f"{clusters.MINIO_ENDPOINT}/minio/health/live"
    curl = "curl --silent --show-error --max-time 10 --output /dev/null --write-out '%{http_code}'"
    script = f"{curl} --cacert <(echo '{ca}') {health} > /dev/termination-log"
    apply(cluster, job(namespace, script))
    assert finish(cluster, namespace)["message"] == "200"


@needs_cluster
def test_the_store_answers_this_machine(cluster: Cluster) -> None:
    """By its NodePort, with boto3 as the tests use it; the bucket is there."""
    boto3 = pytest.importorskip("boto3")
    client = boto3.client(
        "s3",
        endpoint_url=cluster.minio_endpoint_host,
        verify=str(cluster.minio_ca),
        aws_access_key_id=clusters.MINIO_USER,
        aws_secret_access_key=clusters.MINIO_PASSWORD,
        region_name="us-east-1",
    )
    try:
        assert clusters.MINIO_BUCKET in {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
    finally:
        client.close()


@needs_cluster
def test_no_pod_reaches_the_rest_of_the_world(cluster: Cluster, namespace: str) -> None:
    """Neither an address of the world (192.0.2.1 is documentation's) nor the machine itself."""
    if cluster.external:
        pytest.skip("isolation is the harness's own promise")
    found = bootstrap.find(layout.identity())
    assert found is not None
    script = f'for ip in 192.0.2.1 {found.host_ip}; do ! timeout 1 bash -c "echo > /dev/tcp/$ip/22"; done'
    apply(cluster, job(namespace, script))
    assert finish(cluster, namespace)["exitCode"] == 0


@needs_cluster
def test_a_second_cluster_comes_and_goes_without_a_trace(cluster: Cluster) -> None:
    """Beside the first, which notices nothing; also after a crash in the middle of its life."""
    if cluster.external:
        pytest.skip("the harness starts none of its own beside somebody else's")
    environment = {**os.environ, "IOT_BACKUP_CLUSTER_ID": SECOND}
    environment.pop("KUBECONFIG", None)
    try:
        second = bootstrap.up(SECOND, store=False)
        assert second.node_ip != cluster.node_ip
        assert "Ready" in second.run("get", "nodes")
        first_process = namespaces.find(second.state)
        assert first_process is not None
        os.kill(first_process.pid, 9)
        assert any(line.startswith("directory") for line in namespaces.leftovers(SECOND))
    finally:
        down = [sys.executable, "-m", "tests.cluster", "down"]
        subprocess.run(down, env=environment, cwd=layout.CHECKOUT, check=True, timeout=60)
    assert namespaces.leftovers(SECOND) == []
    assert not (layout.DATA / f"{SECOND}.lock").exists()
    assert "Ready" in cluster.run("get", "nodes")
