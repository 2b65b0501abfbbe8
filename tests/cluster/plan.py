"""What runs in the cluster's namespaces, and with which settings: pure functions of the layout.

`first_process.py` carries the plan out; `configuration` gives the files the components read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from string import Template
from typing import Any

import yaml

from tests.cluster import images
from tests.cluster.layout import NODE, Layout

CGROUPS = Path("/sys/fs/cgroup")
OWN_CGROUPS = ("memory", "pids", "freezer")
"""Hierarchies the components join, so that nothing that ends a caller's cgroup ends them. The others
have no need, and cpuset refuses members before it is set up."""

CONTAINERD = "/usr/bin/containerd"
CNI_PLUGINS = "/usr/lib/cni"
WIRE = "eth0"
"""The wire's name inside the namespaces."""

Tools = Mapping[str, str]


def plan(layout: Layout, tools: Tools) -> dict[str, Any]:
    """Return everything the first process needs to know."""
    return {
        "cgroups": [str(CGROUPS / hierarchy / layout.cgroup[1:] / "system") for hierarchy in OWN_CGROUPS],
        "setup": [*_mounts(layout), *_network(layout)],
        "sysctls": {"net.ipv4.ip_forward": "1"},
        "components": components(layout, tools),
        "logs": str(layout.logs),
        "deaths": str(layout.state / "deaths"),
    }


def _mounts(layout: Layout) -> list[list[str]]:
    """Hide the host's directories that components write to without asking.

    The state directory lies below one of them, so it is put aside and back again; all this before
    mounts are shared, as a shared one cannot be moved. /sys stays: a new one would lack the cgroups.
    """
    state = str(layout.state)
    aside = "/run/state"
    return [
        ["mount", "-t", "proc", "proc", "/proc"],
        ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/run"],
        ["mkdir", aside],
        ["mount", "--bind", state, aside],
        ["mount", "-t", "tmpfs", "-o", "mode=755", "tmpfs", "/var/lib"],
        ["mkdir", "-p", state],
        ["mount", "--bind", aside, state],
        ["umount", aside],
        ["mount", "--bind", f"{state}/var-log", "/var/log"],
        # Images in memory: containerd waits for the disk after every file of every layer, which on a
        # busy disk is most of the time a cluster takes to start. They need about 1 GB.
        ["mount", "-t", "tmpfs", "-o", "mode=711", "tmpfs", f"{state}/containerd"],
        ["mount", "--make-rshared", "/"],
    ]


def _network(layout: Layout) -> list[list[str]]:
    """Wire the node up, with no way out: no default route, and pods reach not even the host.

    The bridge without ports is a sink: processes of the node reach Service addresses only if some
    route covers them (there is no `dummy` device on every kernel).
    """
    chain = "inet isolation forward"
    return [
        ["ip", "link", "set", "lo", "up"],
        ["ip", "address", "add", f"{layout.node_ip}/30", "dev", WIRE],
        ["ip", "link", "set", WIRE, "up"],
        ["ip", "link", "add", "services", "type", "bridge"],
        ["ip", "link", "set", "services", "up"],
        ["ip", "route", "add", str(layout.services), "dev", "services", "src", str(layout.node_ip)],
        ["nft", "add table inet isolation"],
        ["nft", f"add chain {chain} {{ type filter hook forward priority -10; }}"],
        ["nft", f'add rule {chain} oifname "{WIRE}" ct state new drop'],
    ]


def components(layout: Layout, tools: Tools) -> list[dict[str, Any]]:
    """Return the components, each with its command line and what it waits for."""
    state, api = layout.state, [str(layout.node_ip), 6443]
    etc, pki = state / "etc", state / "pki"
    return [
        {"name": "etcd", "argv": [tools["etcd"], *_etcd(state)]},
        {"name": "containerd", "argv": [CONTAINERD, f"--config={etc / 'containerd.toml'}"]},
        {
            "name": "kube-apiserver",
            "argv": [tools["kube-apiserver"], *_apiserver(layout)],
            "wait_for": ["127.0.0.1", 2379],
        },
        {
            "name": "kube-controller-manager",
            "argv": [tools["kube-controller-manager"], *_controller_manager(pki)],
            "wait_for": api,
        },
        {
            "name": "kube-scheduler",
            "argv": [
                tools["kube-scheduler"],
                f"--kubeconfig={pki / 'scheduler.kubeconfig'}",
                "--bind-address=127.0.0.1",
                "--leader-elect=false",
            ],
            "wait_for": api,
        },
        {
            "name": "kubelet",
            "argv": [
                tools["kubelet"],
                f"--config={etc / 'kubelet.yaml'}",
                f"--kubeconfig={pki / 'kubelet.kubeconfig'}",
                f"--root-dir={state / 'kubelet'}",
                f"--hostname-override={NODE}",
                f"--node-ip={layout.node_ip}",
            ],
            "wait_for": str(state / "run/containerd.sock"),
        },
        {
            "name": "kube-proxy",
            "argv": [tools["kube-proxy"], f"--config={etc / 'kube-proxy.yaml'}"],
            "wait_for": api,
        },
        {
            "name": "provisioner",
            "argv": [
                tools["provisioner"],
                f"--kubeconfig={pki / 'provisioner.kubeconfig'}",
                f"--root={state / 'volumes'}",
            ],
            "wait_for": api,
        },
    ]


def _etcd(state: Path) -> list[str]:
    return [
        "--name=node",
        f"--data-dir={state / 'etcd'}",
        "--listen-client-urls=http://127.0.0.1:2379",
        "--advertise-client-urls=http://127.0.0.1:2379",
        "--listen-peer-urls=http://127.0.0.1:2380",
        "--initial-advertise-peer-urls=http://127.0.0.1:2380",
        "--initial-cluster=node=http://127.0.0.1:2380",
        # The data is worth nothing after a crash of the machine.
        "--unsafe-no-fsync",
        "--snapshot-count=5000",
        "--log-level=warn",
    ]


def _apiserver(layout: Layout) -> list[str]:
    pki = layout.state / "pki"
    return [
        f"--advertise-address={layout.node_ip}",
        "--secure-port=6443",
        "--etcd-servers=http://127.0.0.1:2379",
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--allow-privileged=true",
        f"--client-ca-file={pki / 'ca.crt'}",
        f"--tls-cert-file={pki / 'apiserver.crt'}",
        f"--tls-private-key-file={pki / 'apiserver.key'}",
        f"--kubelet-certificate-authority={pki / 'ca.crt'}",
        f"--kubelet-client-certificate={pki / 'apiserver-to-kubelet.crt'}",
        f"--kubelet-client-key={pki / 'apiserver-to-kubelet.key'}",
        # The node's name resolves nowhere.
        "--kubelet-preferred-address-types=InternalIP",
        "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
        f"--service-account-key-file={pki / 'service-accounts.crt'}",
        f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
        f"--service-cluster-ip-range={layout.services}",
        f"--requestheader-client-ca-file={pki / 'front-ca.crt'}",
        "--requestheader-allowed-names=front-proxy-client",
        "--requestheader-username-headers=X-Remote-User",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        f"--proxy-client-cert-file={pki / 'front-client.crt'}",
        f"--proxy-client-key-file={pki / 'front-client.key'}",
    ]


def _controller_manager(pki: Path) -> list[str]:
    return [
        f"--kubeconfig={pki / 'controller-manager.kubeconfig'}",
        "--bind-address=127.0.0.1",
        "--leader-elect=false",
        "--use-service-account-credentials=true",
        f"--root-ca-file={pki / 'ca.crt'}",
        f"--service-account-private-key-file={pki / 'service-accounts.key'}",
        f"--cluster-signing-cert-file={pki / 'ca.crt'}",
        f"--cluster-signing-key-file={pki / 'ca.key'}",
        "--kube-api-qps=200",
        "--kube-api-burst=400",
        # How long a missed event of a claim may take to be made up for; the default is 15 s.
        "--pvclaimbinder-sync-period=2s",
    ]


def configuration(layout: Layout) -> dict[str, str]:
    """Return the components' configuration files, name below `etc` to content."""
    return {
        "containerd.toml": containerd(layout),
        "cni/10-pods.conflist": json.dumps(cni(layout), indent=2),
        "kubelet.yaml": yaml.safe_dump(kubelet(layout)),
        "kube-proxy.yaml": yaml.safe_dump(kube_proxy(layout)),
        "resolv.conf": "",
    }


def containerd(layout: Layout) -> str:
    """Return containerd's configuration: everything below the state directory."""
    return Template(
        """\
version = 2
root = "$state/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]

[grpc]
address = "$state/run/containerd.sock"

[plugins."io.containerd.internal.v1.opt"]
path = "$state/containerd-opt"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "$pause"
# Without CAP_SYS_RESOURCE every pod sandbox dies with "can't get final child's PID from pipe: EOF".
restrict_oom_score_adj = true
tolerate_missing_hugetlb_controller = true
stream_server_address = "127.0.0.1"

[plugins."io.containerd.grpc.v1.cri".containerd]
snapshotter = "overlayfs"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
SystemdCgroup = false

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "$plugins"
conf_dir = "$state/etc/cni"
"""
    ).substitute(state=layout.state, pause=images.PAUSE, plugins=CNI_PLUGINS)


def cni(layout: Layout) -> dict[str, Any]:
    """Return the pod network: routed pairs rather than a bridge.

    On a bridge, answers between two pods bypass the translation of Service addresses unless the
    kernel has br_netfilter; routed, they cannot.
    """
    return {
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [
            {
                "type": "ptp",
                "ipMasq": False,
                "ipam": {
                    "type": "host-local",
                    "ranges": [[{"subnet": str(layout.pods)}]],
                    "routes": [{"dst": "0.0.0.0/0"}],
                    "dataDir": "/run/cni",
                },
            },
        ],
    }


def kubelet(layout: Layout) -> dict[str, Any]:
    """Return the kubelet's configuration: production behaviour but for reaction speed and thresholds."""
    pki = layout.state / "pki"
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": str(layout.node_ip),
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / "kubelet-serving.crt"),
        "tlsPrivateKeyFile": str(pki / "kubelet-serving.key"),
        "containerRuntimeEndpoint": f"unix://{layout.state}/run/containerd.sock",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": layout.cgroup,
        "failCgroupV1": False,
        "failSwapOn": False,
        "clusterDNS": [str(layout.dns_ip)],
        "clusterDomain": "cluster.local",
        "resolvConf": str(layout.state / "etc/resolv.conf"),
        "volumePluginDir": str(layout.state / "kubelet-plugins"),
        "oomScoreAdj": 0,
        "maxPods": 200,
        # A full disk of the machine is no concern of the tests; images cannot be pulled again.
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
            "imagefs.inodesFree": "1%",
        },
        "imageGCHighThresholdPercent": 100,
        "imageGCLowThresholdPercent": 99,
        # Reaction speed: the defaults are made for nodes by the thousand.
        "syncFrequency": "10s",
        "serializeImagePulls": False,
        "registryPullQPS": 0,
        "eventRecordQPS": 0,
        "kubeAPIQPS": 200,
        "kubeAPIBurst": 400,
        "configMapAndSecretChangeDetectionStrategy": "Watch",
    }


def kube_proxy(layout: Layout) -> dict[str, Any]:
    """Return kube-proxy's configuration."""
    return {
        "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
        "kind": "KubeProxyConfiguration",
        "bindAddress": "127.0.0.1",
        "clientConnection": {"kubeconfig": str(layout.state / "pki/proxy.kubeconfig")},
        "clusterCIDR": str(layout.pods),
        "hostnameOverride": NODE,
        "mode": "nftables",
        "oomScoreAdj": 0,
        # Zero leaves the kernel's limits alone, which belong to the whole machine.
        "conntrack": {"maxPerCore": 0, "min": 0},
        "nftables": {"minSyncPeriod": "100ms"},
    }
