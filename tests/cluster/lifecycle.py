"""`start` and `stop`: this checkout's cluster, or the one that KUBECONFIG names."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import bootstrap, external
from tests.cluster import layout as layouts

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster


def start(*, store: bool = True) -> Cluster:
    """Return a running cluster, with the object store in it unless store is False."""
    identity = layouts.identity()
    kubeconfig = _foreign(identity)
    return external.prepare(kubeconfig) if kubeconfig else bootstrap.up(identity, store=store)


def stop() -> None:
    """Take the cluster away; from a cluster of somebody else's, what `start` put there."""
    identity = layouts.identity()
    kubeconfig = _foreign(identity)
    if kubeconfig:
        external.clean(kubeconfig)
    else:
        bootstrap.down(identity)


def _foreign(identity: str) -> Path | None:
    """Return KUBECONFIG unless it names our own cluster's, as it does after `env`."""
    given = os.environ.get("KUBECONFIG")
    if not given or Path(given) == layouts.state_of(identity) / "kubeconfig":
        return None
    return Path(given)
