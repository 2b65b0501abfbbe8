"""`python -m tests.cluster VERB`; README.md describes the verbs."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.cluster import bootstrap, chart, namespaces, packages, progress, project_image, tools
from tests.cluster import cluster as clusters
from tests.cluster import layout as layouts
from tests.cluster.errors import ClusterError
from tests.cluster.lifecycle import start, stop

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tests.cluster.layout import Layout

TAIL = 20


def main() -> int:
    """Run one verb; a failure prints what to do next and no traceback."""
    parser = argparse.ArgumentParser(prog="python -m tests.cluster", description="A real Kubernetes for the tests.")
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    verbs.add_parser("packages", help="install the Debian packages the cluster needs")
    verbs.add_parser("tools", help="build programs and print their paths").add_argument(
        "names", nargs="+", choices=tools.NAMES, metavar="NAME"
    )
    verbs.add_parser("up", help="start the cluster with MinIO in it, or find it running")
    verbs.add_parser("image", help="build the project's image into the running cluster and print its name")
    verbs.add_parser("install", help="up, image, and the Helm chart")
    verbs.add_parser("status", help="show addresses, credentials and files of the cluster")
    verbs.add_parser("env", help="print what to eval for kubectl")
    verbs.add_parser("exec", help="run a command in the cluster's namespaces").add_argument("command", nargs=argparse.REMAINDER)
    verbs.add_parser("logs", help="show the ends of the components' logs").add_argument("components", nargs="*", metavar="COMPONENT")
    verbs.add_parser("down", help="take the cluster away")
    verbs.add_parser("leftovers", help="list what is on this machine of the cluster")
    arguments = parser.parse_args()
    try:
        return run(arguments)
    except ClusterError as error:
        progress.say(f"error: {error}")
        return 1


def run(arguments: argparse.Namespace) -> int:
    """Carry out one verb and return the exit status."""
    match arguments.verb:
        case "tools":
            for name in arguments.names:
                print(tools.binary(name))
        case "exec":
            return execute(arguments.command)
        case "logs":
            logs(arguments.components)
        case "leftovers":
            print("\n".join(namespaces.leftovers(layouts.identity())) or "nothing")
        case verb:
            PLAIN_VERBS[verb]()
    return 0


def up() -> None:
    """Start the cluster and say how to use it."""
    cluster = start()
    print(f"  KUBECONFIG         {cluster.kubeconfig}" if cluster.external else status())


def environment() -> None:
    """Print what a shell can eval."""
    print(f"export KUBECONFIG={_running().kubeconfig}")
    print(f"export PATH={tools.binary('kubectl').parent}:$PATH")


def install() -> None:
    """Start everything and say how to use it."""
    cluster = start()
    chart.install(cluster)
    print(f"  KUBECONFIG         {cluster.kubeconfig}" if cluster.external else status())


def status() -> str:
    """Return what one needs to know to use the cluster."""
    if os.environ.get("KUBECONFIG"):
        progress.say("KUBECONFIG is set; this is about the checkout's own cluster")
    layout = _running()
    cluster = bootstrap.describe(layout)
    rows = {
        "cluster": f"{layout.identity} (slot {layout.slot})",
        "API server": layout.api_url,
        "KUBECONFIG": cluster.kubeconfig,
        "kubectl": cluster.kubectl,
        "node": f"{layouts.NODE}, {cluster.node_ip}",
        "MinIO, from here": cluster.minio_endpoint_host,
        "MinIO, from pods": clusters.MINIO_ENDPOINT,
        "MinIO CA": cluster.minio_ca,
        "MinIO credentials": f"{clusters.MINIO_USER} / {clusters.MINIO_PASSWORD}",
        "MinIO bucket": clusters.MINIO_BUCKET,
        "storage classes": "local (default), tiny (a tmpfs of the claim's size)",
        "state and logs": cluster.state,
    }
    return "\n".join(f"  {name:<18} {value}" for name, value in rows.items())


def execute(command: list[str]) -> int:
    """Run a command in the namespaces and return its exit status."""
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        raise ClusterError("say what to run: python -m tests.cluster exec -- ip address")
    first = namespaces.find(_running().state)
    if first is None:
        raise ClusterError("the cluster just ended; run `python -m tests.cluster up`")
    return subprocess.run(namespaces.enter(first, command), check=False).returncode


def logs(components: list[str]) -> None:
    """Print the end of each log, whether or not the cluster still runs."""
    directory = layouts.state_of(layouts.identity()) / "logs"
    files = sorted(directory.glob("*.log"))
    if not files:
        raise ClusterError(f"no logs below {directory}; run `python -m tests.cluster up`")
    for file in files:
        if not components or file.stem in components:
            print(f"==> {file} <==")
            print("\n".join(file.read_text(errors="replace").splitlines()[-TAIL:]))


def _running() -> Layout:
    found = bootstrap.find(layouts.identity())
    if found is None:
        raise ClusterError("the cluster does not run; start it with `python -m tests.cluster up`")
    return found


PLAIN_VERBS: Mapping[str, Callable[[], None]] = {
    "down": stop,
    "env": environment,
    "image": lambda: print(project_image.deliver(start())),
    "install": install,
    "packages": packages.install,
    "status": lambda: print(status()),
    "up": up,
}

if __name__ == "__main__":
    sys.exit(main())
