"""A cluster that is not ours: KUBECONFIG names it, the environment names images it can run."""

from __future__ import annotations

import json
import os
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from tests.cluster import cache, credentials, minio, progress, s3
from tests.cluster import cluster as clusters
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.waiting import LOOK_EVERY

if TYPE_CHECKING:
    from pathlib import Path

IMAGES = {
    "IOT_BACKUP_MINIO_IMAGE": "a MinIO server image",
    "IOT_BACKUP_IMAGE": "this project's image, from its Dockerfile",
    "IOT_BACKUP_TOOLBOX_IMAGE": "an image with bash, GNU tar, find, attr, curl, openssl and python3",
}


ROLLOUT_TRIES = 12
"""Of 15 s each."""
NODE_PORT_SECONDS = 30


def image(variable: str) -> str:
    """Return the image an environment variable names."""
    if given := os.environ.get(variable):
        return given
    raise ClusterError(
        f"KUBECONFIG names a cluster of yours; set {variable} to {IMAGES[variable]} "
        "that its nodes can pull or were loaded with, or unset KUBECONFIG for a cluster of the tests' own"
    )


def prepare(kubeconfig: Path) -> Cluster:
    """Put the object store into the cluster and return how to reach both."""
    if not kubeconfig.is_file():
        raise ClusterError(f"KUBECONFIG={kubeconfig} is no file; name one file, or unset it")
    store = image("IOT_BACKUP_MINIO_IMAGE")
    state = _state(kubeconfig)
    state.mkdir(parents=True, exist_ok=True)
    ca = state / "minio-ca.pem"
    cluster = Cluster(kubeconfig, state, "", ca, external=True)
    with progress.step("look at the cluster KUBECONFIG names"):
        node_ip = _node_ip(cluster)
    cluster = Cluster(kubeconfig, state, node_ip, ca, external=True)
    if not ca.exists() or not cluster.run("get", "namespace/minio", "--ignore-not-found"):
        certificate, pair = credentials.minio_certificates(node_ip, datetime.now(UTC))
        with progress.step("install MinIO"):
            given = minio.manifest(store, certificate, pair)
            cluster.run("apply", "--server-side", "--force-conflicts", "--filename=-", given=given)
            # One that another checkout left runs on with its own certificate until it is started anew.
            cluster.run("rollout", "restart", "deployment/minio", "--namespace=minio")
            ca.write_bytes(certificate)
    with progress.step(f"MinIO at {cluster.minio_endpoint_host}, bucket {clusters.MINIO_BUCKET}"):
        _rolled_out(cluster, store)
        _bucket(cluster)
    return cluster


def clean(kubeconfig: Path) -> None:
    """Remove the object store from the cluster."""
    state = _state(kubeconfig)
    cluster = Cluster(kubeconfig, state, "", state / "minio-ca.pem", external=True)
    with progress.step("remove MinIO"):
        cluster.run("delete", "namespace/minio", "--ignore-not-found", "--wait=true")
    cluster.minio_ca.unlink(missing_ok=True)


def _state(kubeconfig: Path) -> Path:
    return cache.root() / "external" / cache.key([str(kubeconfig.resolve())])


def _node_ip(cluster: Cluster) -> str:
    nodes = json.loads(cluster.run("get", "nodes", "--output=json"))["items"]
    for node in nodes:
        for address in node["status"]["addresses"]:
            if address["type"] == "InternalIP":
                return str(address["address"])
    raise ClusterError("no node of the cluster has an InternalIP, so its NodePorts cannot be reached from here")


def _rolled_out(cluster: Cluster, image: str) -> None:
    """Wait for MinIO; if its image cannot be pulled, say so instead of waiting for the end of time."""
    for _ in range(ROLLOUT_TRIES):
        done = cluster.run("rollout", "status", "deployment/minio", "--namespace=minio", "--timeout=15s", check=False, timeout=30)
        if "successfully rolled out" in done:
            return
        waiting = cluster.run("get", "pods", "--namespace=minio", "--output=jsonpath={..state.waiting.reason}")
        if "ImagePull" in waiting:
            raise ClusterError(
                f"the cluster's nodes have no image {image} and cannot pull it ({waiting}); push or load it there, or set "
                "IOT_BACKUP_MINIO_IMAGE to one that they can pull"
            )
    raise ClusterError("MinIO does not start: `kubectl -n minio describe pods` says why")


def _bucket(cluster: Cluster) -> None:
    """Make the bucket, once the nodes' proxies have learned where MinIO is now."""
    deadline = time.monotonic() + NODE_PORT_SECONDS
    while (problem := _refused(cluster)) is not None:
        if time.monotonic() > deadline:
            raise ClusterError(
                f"cannot reach the NodePort {cluster.minio_endpoint_host} from here ({problem}); "
                "run the tests where the cluster's nodes can be reached"
            ) from problem
        time.sleep(LOOK_EVERY)


def _refused(cluster: Cluster) -> OSError | None:
    try:
        s3.create_bucket(
            cluster.minio_endpoint_host,
            cluster.minio_ca,
            clusters.MINIO_USER,
            clusters.MINIO_PASSWORD,
            clusters.MINIO_BUCKET,
        )
    except OSError as error:
        return error
    return None
