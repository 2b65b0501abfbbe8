"""Who is who in the cluster: certificates and kubeconfigs of each program, written to the state directory."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tests.cluster.certificates import Authority, Pair, signing_key
from tests.cluster.layout import NODE, Layout

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

CLIENTS: Mapping[str, tuple[str, Sequence[str]]] = {
    "admin": ("admin", ["system:masters"]),
    "controller-manager": ("system:kube-controller-manager", []),
    "kubelet": (f"system:node:{NODE}", ["system:nodes"]),
    "proxy": ("system:kube-proxy", []),
    "provisioner": ("iot-backup-provisioner", []),
    "scheduler": ("system:kube-scheduler", []),
}
"""Name of the file, then user and groups as RBAC knows them."""


def write(layout: Layout) -> None:
    """Make everything afresh."""
    now = datetime.now(UTC)
    pki = layout.state / "pki"
    pki.mkdir(mode=0o700)
    authority = Authority("iot-backup test cluster", now)
    authority.pair.write(pki, "ca")
    # The aggregation layer needs an authority of its own: whoever holds its certificates may claim
    # to be any user, so the cluster's must not be good for that.
    front = Authority("iot-backup test front proxy", now)
    front.pair.write(pki, "front-ca")
    front.issue("front-proxy-client").write(pki, "front-client")
    signing_key().write(pki, "service-accounts")
    authority.issue("kube-apiserver", hosts=_api_hosts(layout)).write(pki, "apiserver")
    authority.issue("kube-apiserver", groups=["system:masters"]).write(pki, "apiserver-to-kubelet")
    authority.issue(NODE, hosts=[NODE, str(layout.node_ip)]).write(pki, "kubelet-serving")
    for file, (user, groups) in CLIENTS.items():
        pair = authority.issue(user, groups=groups)
        target = layout.kubeconfig if file == "admin" else pki / f"{file}.kubeconfig"
        target.touch(mode=0o600)
        target.write_text(json.dumps(kubeconfig(layout.api_url, authority.pair.certificate, user, pair), indent=2))
    _write_minio(layout, now)


def kubeconfig(server: str, ca: bytes, user: str, pair: Pair) -> dict[str, Any]:
    """Return a kubeconfig that carries everything within itself."""
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [
            {
                "name": "iot-backup-test",
                "cluster": {"server": server, "certificate-authority-data": _base64(ca)},
            }
        ],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": _base64(pair.certificate),
                    "client-key-data": _base64(pair.key),
                },
            }
        ],
        "contexts": [
            {"name": "iot-backup-test", "context": {"cluster": "iot-backup-test", "user": user}},
        ],
        "current-context": "iot-backup-test",
    }


def minio_certificates(node_ip: str, now: datetime) -> tuple[bytes, Pair]:
    """Return the CA's certificate and MinIO's own: a CA apart, as a store's CA is in the field."""
    authority = Authority("iot-backup test object store", now)
    hosts = [
        "minio",
        "minio.minio",
        "minio.minio.svc",
        "minio.minio.svc.cluster.local",
        "localhost",
        "127.0.0.1",
        node_ip,
    ]
    return authority.pair.certificate, authority.issue("minio", hosts=hosts)


def _write_minio(layout: Layout, now: datetime) -> None:
    ca, pair = minio_certificates(str(layout.node_ip), now)
    (layout.state / "minio-ca.pem").write_bytes(ca)
    pair.write(layout.state / "pki", "minio")


def _api_hosts(layout: Layout) -> list[str]:
    names = ["kubernetes", "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local"]
    return [*names, "localhost", "127.0.0.1", str(layout.node_ip), str(layout.kubernetes_ip)]


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
