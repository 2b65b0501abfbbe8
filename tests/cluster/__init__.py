"""A real single-node Kubernetes for the tests, in namespaces of its own. README.md says how to use it.

What lives here: building the programs (`tools`) and images (`images`, `project_image`), the cluster's
shape (`layout`, `plan`, `credentials`, `manifests`), its life (`bootstrap`, `namespaces`). What may not:
anything that knows the operator beyond its Dockerfile and its chart.
"""

from __future__ import annotations

from tests.cluster.cluster import Cluster
from tests.cluster.errors import ClusterError
from tests.cluster.lifecycle import start, stop

__all__ = ["Cluster", "ClusterError", "start", "stop"]
