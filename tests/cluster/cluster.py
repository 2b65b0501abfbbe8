"""A running cluster as tests see it."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import tools
from tests.cluster.errors import ClusterError

MINIO_USER = "minio-test"
MINIO_PASSWORD = "minio-test-secret"
MINIO_BUCKET = "iot-backups"
MINIO_NODE_PORT = 30900
MINIO_ENDPOINT = "https://minio.minio.svc:9000"
"""The store as pods reach it."""


@dataclass(frozen=True)
class Cluster:
    """How to reach a cluster and the object store in it."""

    kubeconfig: Path
    state: Path
    """A directory for files of this cluster, outside the checkout; `stop` removes it."""
    node_ip: str
    minio_ca: Path
    """PEM of the CA that MinIO's certificate is from."""
    external: bool = False
    """Whether KUBECONFIG named it, so that it is not ours to start or stop."""

    @property
    def minio_endpoint_host(self) -> str:
        """Return the store's URL as this machine reaches it."""
        return f"https://{self.node_ip}:{MINIO_NODE_PORT}"

    @property
    def kubectl(self) -> Path:
        """Return the kubectl to use: the cluster's own, or for another's cluster the one installed."""
        return self._tool("kubectl")

    @property
    def helm(self) -> Path:
        """Return the helm to use, built on first need."""
        return self._tool("helm")

    def run(self, *arguments: str, given: str | None = None, check: bool = True, timeout: float = 120) -> str:
        """Run kubectl and return its standard output; with check=False a failure returns it too."""
        done = subprocess.run(
            [str(self.kubectl), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=given,
            capture_output=True,
            text=True,
            check=False,
            timeout=timeout,
        )
        if check and done.returncode:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout

    def _tool(self, name: str) -> Path:
        installed = shutil.which(name) if self.external else None
        return Path(installed) if installed else tools.binary(name)
