"""The programs the tests need, built from pinned Go modules into the cache on first use.

`python -m tests.cluster tools NAME...` builds some and prints their paths.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import cache, progress
from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping

GO_MODULE = Path(__file__).parent / "go"
KUBERNETES_VERSION = "1.35.4"
"""Also in go.mod, which the build compares: the version is stamped into the binary."""


@dataclass(frozen=True)
class GoTool:
    """One program of a published Go module."""

    module: str
    version: str
    package: str = ""
    estimate: str = "1.5 min"


TOOLS: Mapping[str, GoTool] = {
    "coredns": GoTool("github.com/coredns/coredns", "v1.15.0"),
    "helm": GoTool("helm.sh/helm/v4", "v4.3.1", "cmd/helm"),
    "kubeconform": GoTool("github.com/yannh/kubeconform", "v0.8.0", "cmd/kubeconform", "10 s"),
    "minio": GoTool("github.com/minio/minio", "v0.0.0-20260212201848-7aac2a2c5b7c"),
}

KUBERNETES = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-proxy",
    "kube-scheduler",
    "kubectl",
    "kubelet",
    "provisioner",
)
"""Names of the one multi-call binary, see go/main.go."""

NAMES = (*KUBERNETES, *TOOLS, "pause")


def binary(name: str) -> Path:
    """Return the path of a tool, built first if the cache does not hold it."""
    if name in KUBERNETES:
        return _kubernetes() / name
    if name in TOOLS:
        return _published(name, TOOLS[name]) / name
    if name == "pause":
        return _pause() / name
    raise ClusterError(f"no tool {name!r}; there are: {', '.join(sorted(NAMES))}")


def _published(name: str, tool: GoTool) -> Path:
    def build(target: Path) -> None:
        package = "/".join(filter(None, (tool.module, tool.package)))
        arguments = ["install", "-trimpath", "-ldflags=-s -w", f"{package}@{tool.version}"]
        with progress.step(f"build {name} {tool.version} (about {tool.estimate})"):
            _go(arguments, cwd=target, GOBIN=str(target), CGO_ENABLED="0", GOFLAGS="-buildvcs=false")

    # GOBIN keeps the last path element of the package as the name, which is the tool's name for all.
    return cache.directory("tools", f"{name}-{tool.version}", build)


def _kubernetes() -> Path:
    if f"k8s.io/kubernetes v{KUBERNETES_VERSION}\n" not in (GO_MODULE / "go.mod").read_text():
        raise ClusterError(f"go.mod and tools.py disagree about Kubernetes {KUBERNETES_VERSION}; change both")
    major, minor, _ = KUBERNETES_VERSION.split(".")
    version = "k8s.io/component-base/version"
    stamp = {"gitVersion": f"v{KUBERNETES_VERSION}", "gitMajor": major, "gitMinor": minor}
    flags = " ".join(["-s -w", *(f"-X {version}.{name}={value}" for name, value in stamp.items())])

    def build(target: Path) -> None:
        with progress.step(f"build Kubernetes {KUBERNETES_VERSION} (about 4 min, later ones 15 s)"):
            _go(["build", "-trimpath", f"-ldflags={flags}", "-o", str(target / "kube"), "."], cwd=GO_MODULE)
        for name in KUBERNETES:
            (target / name).symlink_to("kube")

    sources = [file for file in _go_files() if "pause" not in file.parts]
    return cache.directory("tools", f"kubernetes-{cache.files_key(GO_MODULE, sources, flags)}", build)


def _pause() -> Path:
    def build(target: Path) -> None:
        with progress.step("build pause"):
            _go(
                ["build", "-trimpath", "-ldflags=-s -w", "-o", str(target / "pause"), "./pause"],
                cwd=GO_MODULE,
                CGO_ENABLED="0",
            )

    return cache.directory("tools", f"pause-{cache.files_key(GO_MODULE, (GO_MODULE / 'pause').glob('*.go'))}", build)


def _go_files() -> list[Path]:
    return [GO_MODULE / "go.mod", GO_MODULE / "go.sum", *GO_MODULE.rglob("*.go")]


def _go(arguments: list[str], *, cwd: Path, **environment: str) -> None:
    go = shutil.which("go")
    if go is None:
        raise ClusterError("go is not on the PATH; install Go 1.25 or newer")
    done = subprocess.run(
        [go, *arguments],
        cwd=cwd,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"go {' '.join(arguments)} failed; its last lines:\n{done.stderr[-3000:]}")
