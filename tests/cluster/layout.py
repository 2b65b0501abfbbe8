"""Names, addresses and paths of one cluster: all follow from its identity and its slot.

Two checkouts, or two identities in one checkout, share none of them, so their clusters live side by side.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Collection

CHECKOUT = Path(__file__).resolve().parents[2]
DATA = Path("/var/lib/iot-backup-cluster")
"""Outside the checkout, and short: socket paths below it must stay under 108 bytes."""

NODE = "iot-backup-node"
SLOTS = 256


@dataclass(frozen=True)
class Layout:
    """One cluster's identity (8 hex digits) and slot (0 to 255)."""

    identity: str
    slot: int

    @property
    def state(self) -> Path:
        """Return the directory that holds all of the cluster."""
        return state_of(self.identity)

    @property
    def kubeconfig(self) -> Path:
        """Return the administrator's kubeconfig, for use from the host."""
        return self.state / "kubeconfig"

    @property
    def logs(self) -> Path:
        """Return the directory of the components' logs."""
        return self.state / "logs"

    @property
    def veth(self) -> str:
        """Return the host's end of the only wire into the cluster."""
        return veth_of(self.identity)

    @property
    def cgroup(self) -> str:
        """Return the cgroup, in every hierarchy, that holds all processes of the cluster."""
        return cgroup_of(self.identity)

    @property
    def host_ip(self) -> IPv4Address:
        """Return the address of the host's end of the wire."""
        return _wire(self.slot)[1]

    @property
    def node_ip(self) -> IPv4Address:
        """Return the address of the node: API server, kubelet and NodePorts."""
        return _wire(self.slot)[2]

    @property
    def pods(self) -> IPv4Network:
        """Return the range of pod addresses."""
        return IPv4Network(f"10.214.{self.slot}.0/24")

    @property
    def services(self) -> IPv4Network:
        """Return the range of Service addresses."""
        return IPv4Network(f"10.215.{self.slot}.0/24")

    @property
    def kubernetes_ip(self) -> IPv4Address:
        """Return the address of the Service `kubernetes`: always the first one."""
        return self.services[1]

    @property
    def dns_ip(self) -> IPv4Address:
        """Return the address of the Service `kube-dns`."""
        return self.services[10]

    @property
    def api_url(self) -> str:
        """Return the API server's URL, the same inside and outside."""
        return f"https://{self.node_ip}:6443"


def _wire(slot: int) -> IPv4Network:
    return IPv4Network(f"10.213.{slot}.0/30")


def identity() -> str:
    """Return the identity asked for in the environment, or this checkout's."""
    given = os.environ.get("IOT_BACKUP_CLUSTER_ID")
    if given is None:
        return hashlib.sha256(str(CHECKOUT).encode()).hexdigest()[:8]
    if not re.fullmatch(r"[0-9a-f]{8}", given):
        raise ClusterError(f"IOT_BACKUP_CLUSTER_ID={given!r}: give 8 hex digits, or unset it")
    return given


def state_of(identity: str) -> Path:
    """Return the data directory of an identity."""
    return DATA / identity


def veth_of(identity: str) -> str:
    """Return the interface name of an identity; 15 characters are the kernel's limit."""
    return f"iotb-{identity}"


def cgroup_of(identity: str) -> str:
    """Return the cgroup of an identity."""
    return f"/iot-backup-{identity}"


def choose_slot(identity: str, addresses: Collection[IPv4Address]) -> int:
    """Return the first slot, from the identity's own on, whose wire none of the host's addresses is on."""
    first = int(identity, 16)
    for step in range(SLOTS):
        slot: int = (first + step) % SLOTS
        if not any(address in _wire(slot) for address in addresses):
            return slot
    raise ClusterError(f"all {SLOTS} address slots are taken; `ip -brief address` shows by whom: end clusters no longer used")


def host_addresses(*, but: str) -> list[IPv4Address]:
    """Return the host's IPv4 addresses, without those of one interface."""
    shown = subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, text=True, check=True).stdout
    return [
        IPv4Address(address["local"]) for link in json.loads(shown) if link.get("ifname") != but for address in link.get("addr_info", [])
    ]
