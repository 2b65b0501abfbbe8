"""Brings this checkout's own cluster up, from nothing to an object store that answers."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import subprocess
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.cluster import cluster as clusters
from tests.cluster import (
    credentials,
    images,
    manifests,
    minio,
    namespaces,
    packages,
    plan,
    progress,
    s3,
    tools,
)
from tests.cluster import (
    layout as layouts,
)
from tests.cluster.certificates import Pair
from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.layout import NODE, Layout
from tests.cluster.waiting import Watch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.cluster.namespaces import FirstProcess

BARE_IMAGES = (images.PAUSE, images.COREDNS)
STORE_IMAGES = (images.MINIO, images.TOOLBOX)
SUBDIRECTORIES = ("containerd", "etc/cni", "logs", "run", "var-log", "volumes", "kubelet", "kubelet-plugins")


def up(identity: str, *, store: bool = True) -> Cluster:
    """Return the running cluster; start it if it is not, afresh if it is half there."""
    _require_root()
    packages.install()
    layouts.DATA.mkdir(parents=True, exist_ok=True)
    with _alone(f"{identity}.lock"):
        running = find(identity)
        if running is not None and _complete(running):
            Watch(running).until("API server ready", Watch(running).api_ready, 30)
            return describe(running)
        if namespaces.leftovers(identity):
            with progress.step("remove what an earlier run left"):
                namespaces.remove(identity)
        return describe(_start(identity, store=store))


def down(identity: str) -> None:
    """Take the cluster away; nothing of it remains."""
    _require_root()
    layouts.DATA.mkdir(parents=True, exist_ok=True)
    with _alone(f"{identity}.lock"):
        if namespaces.leftovers(identity):
            with progress.step(f"remove cluster {identity}"):
                namespaces.remove(identity)
        (layouts.DATA / f"{identity}.lock").unlink()
    with contextlib.suppress(OSError):  # other clusters are beside ours
        layouts.DATA.rmdir()


def find(identity: str) -> Layout | None:
    """Return the layout of the cluster if its first process lives."""
    state = layouts.state_of(identity)
    try:
        found = Layout(identity, json.loads((state / "layout.json").read_text())["slot"])
    except (OSError, ValueError, KeyError):
        return None
    return found if namespaces.find(state) else None


def describe(layout: Layout) -> Cluster:
    """Return the cluster as tests see it."""
    return Cluster(
        kubeconfig=layout.kubeconfig,
        state=layout.state,
        node_ip=str(layout.node_ip),
        minio_ca=layout.state / "minio-ca.pem",
    )


def import_archive(layout: Layout, first: FirstProcess, archive: Path) -> None:
    """Give an archive, which names its image itself, to containerd."""
    done = subprocess.run(
        namespaces.enter(first, [*ctr(layout), "images", "import", str(archive)]),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"containerd refuses {archive}: {done.stderr.strip()}")


def ctr(layout: Layout) -> list[str]:
    """Return the command that talks to the cluster's containerd, for use inside its namespaces."""
    return ["ctr", f"--address={layout.state}/run/containerd.sock", "--namespace=k8s.io"]


def _start(identity: str, *, store: bool) -> Layout:
    wanted = BARE_IMAGES + (STORE_IMAGES if store else ())
    programs = {name: str(tools.binary(name)) for name in tools.KUBERNETES}
    archives = {name: images.archive(name) for name in wanted}
    layout, first = _launch(identity, programs)
    watch = Watch(layout)
    with ThreadPoolExecutor(max_workers=1) as pool:
        imported = pool.submit(_import, layout, first, watch, archives)
        with progress.step(f"API server at {layout.api_url}"):
            watch.until("API server ready", watch.api_ready)
        _apply(layout, watch, programs["kubectl"], store=store)
        with progress.step(f"node {NODE} ready"):
            _kubectl(layout, watch, programs["kubectl"], "wait", "--for=create", f"node/{NODE}", "--timeout=60s")
            _kubectl(layout, watch, programs["kubectl"], "wait", "--for=condition=Ready", f"node/{NODE}", "--timeout=60s")
        with progress.step("cluster DNS answers"):
            _rollout(layout, watch, programs["kubectl"], "kube-system", "coredns", imported)
        if store:
            cluster = describe(layout)
            with progress.step(f"MinIO at {cluster.minio_endpoint_host}, bucket {clusters.MINIO_BUCKET}"):
                _rollout(layout, watch, programs["kubectl"], "minio", "minio", imported)
                _bucket(cluster, watch)
        imported.result()
    watch.check_deaths()
    (layout.state / "complete").touch()
    return layout


def _launch(identity: str, programs: dict[str, str]) -> tuple[Layout, FirstProcess]:
    # One cluster at a time chooses its addresses, or two might choose the same.
    with _alone(), progress.step(f"namespaces of cluster {identity}"):
        taken = layouts.host_addresses(but=layouts.veth_of(identity))
        layout = Layout(identity, layouts.choose_slot(identity, taken))
        for directory in SUBDIRECTORIES:
            (layout.state / directory).mkdir(parents=True)
        (layout.state / "layout.json").write_text(json.dumps({"slot": layout.slot}))
        credentials.write(layout)
        for name, content in plan.configuration(layout).items():
            (layout.state / "etc" / name).write_text(content)
        (layout.state / "plan.json").write_text(json.dumps(plan.plan(layout, programs), indent=2))
        return layout, namespaces.start(layout)


def _import(layout: Layout, first: FirstProcess, watch: Watch, archives: dict[str, Path]) -> None:
    watch.until("containerd up", (layout.state / "run/containerd.sock").exists)
    with progress.step(f"import {len(archives)} images"):
        for archive in archives.values():
            import_archive(layout, first, archive)


def _apply(layout: Layout, watch: Watch, kubectl: str, *, store: bool) -> None:
    documents = [
        manifests.render("storage"),
        manifests.render("dns", coredns_image=images.COREDNS, dns_ip=str(layout.dns_ip)),
    ]
    if store:
        pki = layout.state / "pki"
        pair = Pair((pki / "minio.crt").read_bytes(), (pki / "minio.key").read_bytes())
        documents.append(minio.manifest(images.MINIO, (layout.state / "minio-ca.pem").read_bytes(), pair))
    with progress.step("storage classes, DNS" + (", MinIO" if store else "")):
        _kubectl(layout, watch, kubectl, "apply", "--server-side", "--filename=-", given="\n---\n".join(documents))


def _rollout(layout: Layout, watch: Watch, kubectl: str, namespace: str, deployment: str, imported: Future[None]) -> None:
    if imported.done():
        imported.result()  # its failure says more than a deployment that does not come up
    arguments = ("rollout", "status", f"deployment/{deployment}", f"--namespace={namespace}", "--timeout=120s")
    _kubectl(layout, watch, kubectl, *arguments)


def _bucket(cluster: Cluster, watch: Watch) -> None:
    def created() -> bool:
        try:
            s3.create_bucket(
                cluster.minio_endpoint_host,
                cluster.minio_ca,
                clusters.MINIO_USER,
                clusters.MINIO_PASSWORD,
                clusters.MINIO_BUCKET,
            )
        except OSError:  # the NodePort's rule may be a moment behind the pod
            return False
        return True

    watch.until("MinIO answers", created, 20)


def _kubectl(layout: Layout, watch: Watch, kubectl: str, *arguments: str, given: str = "") -> None:
    command = [kubectl, f"--kubeconfig={layout.kubeconfig}", *arguments]
    watch.command(f"kubectl {' '.join(arguments)}", command, 130, given)


def _complete(layout: Layout) -> bool:
    return (layout.state / "complete").exists()


def _require_root() -> None:
    if os.geteuid() != 0:
        raise ClusterError("namespaces and containers need root: run as root, or set KUBECONFIG to a cluster of your own")


@contextmanager
def _alone(name: str = ".") -> Iterator[None]:
    """Hold a lock beside the clusters' directories, or their parent itself, which leaves no file behind.

    Not in the cache: addresses and interfaces are the machine's, not a user's.
    """
    path = layouts.DATA / name
    lock = os.open(path, os.O_RDONLY | (0 if path.is_dir() else os.O_CREAT), 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)
