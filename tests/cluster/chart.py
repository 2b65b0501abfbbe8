"""The operator, installed from the project's chart the way a user installs it."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from tests.cluster import cache, progress, project_image
from tests.cluster.errors import ClusterError
from tests.cluster.layout import CHECKOUT

if TYPE_CHECKING:
    from tests.cluster.cluster import Cluster

NAME = "iot-backup-operator"
NAMESPACE = "iot-backup-system"


def install(cluster: Cluster, *values: str) -> None:
    """Install or upgrade the chart with this checkout's image, and wait for it; values as for --set."""
    chart = CHECKOUT / "charts" / NAME
    if not (chart / "Chart.yaml").is_file():
        raise ClusterError(f"{chart} holds no chart yet")
    repository, _, tag = project_image.deliver(cluster).rpartition(":")
    settings = (f"image.repository={repository}", f"image.tag={tag}", "image.pullPolicy=IfNotPresent", *values)
    command = [
        str(cluster.helm),
        *("upgrade", NAME, str(chart), "--install", "--wait", "--timeout=120s"),
        *(f"--kubeconfig={cluster.kubeconfig}", f"--namespace={NAMESPACE}", "--create-namespace"),
        *(f"--set-string={setting}" for setting in settings),
    ]
    with cache.lock(f"install-{cache.key([str(cluster.kubeconfig)])}"), progress.step(f"install {NAME}:{tag} into {NAMESPACE}"):
        _forget_interrupted(cluster)
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            evidence = [
                cluster.run(*query, f"--namespace={NAMESPACE}", check=False)
                for query in (("get", "pods,events"), ("logs", f"deployment/{NAME}", "--tail=30"))
            ]
            raise ClusterError("\n".join([f"helm: {done.stderr.strip()}", *evidence]))


def _forget_interrupted(cluster: Cluster) -> None:
    """Remove the note of an install that was killed: Helm would wait for its end for ever.

    With the lock held nobody of ours is at it; in somebody else's cluster that is theirs to judge.
    """
    if not cluster.external:
        pending = f"owner=helm,name={NAME},status in (pending-install,pending-upgrade,pending-rollback)"
        cluster.run("delete", "secrets", f"--namespace={NAMESPACE}", f"--selector={pending}", check=False)
