"""The object store in the cluster."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING

from tests.cluster import cluster as clusters
from tests.cluster import manifests

if TYPE_CHECKING:
    from tests.cluster.certificates import Pair


def manifest(image: str, ca: bytes, pair: Pair) -> str:
    """Return all objects of the store."""
    return manifests.render(
        "minio",
        image=image,
        user=clusters.MINIO_USER,
        password=clusters.MINIO_PASSWORD,
        ca=_base64(ca),
        certificate=_base64(pair.certificate),
        key=_base64(pair.key),
        node_port=str(clusters.MINIO_NODE_PORT),
    )


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode()
