"""The images pods run in the cluster, each an OCI archive in the cache."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import cache, oci, progress, tools
from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "localhost/iot-backup"
PAUSE = f"{PREFIX}/pause:test"
COREDNS = f"{PREFIX}/coredns:test"
MINIO = f"{PREFIX}/minio:test"
TOOLBOX = f"{PREFIX}/toolbox:test"
PYTHON_BASE = f"{PREFIX}/python-base:test"

DEBIAN_PATH = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}


@dataclass(frozen=True)
class FromTool:
    """An image that holds one static program and nothing else."""

    tool: str
    arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class FromDebian:
    """An image of Debian's minimal base with some packages."""

    packages: tuple[str, ...]
    command: tuple[str, ...]


IMAGES: Mapping[str, FromTool | FromDebian] = {
    PAUSE: FromTool("pause"),
    COREDNS: FromTool("coredns"),
    MINIO: FromTool("minio"),
    TOOLBOX: FromDebian(
        ("acl", "attr", "ca-certificates", "curl", "iproute2", "openssl", "procps", "python3-minimal", "zstd"),
        ("sleep", "infinity"),
    ),
    PYTHON_BASE: FromDebian(("ca-certificates", "python3", "python3-venv", "tini"), ("python3",)),
}

RELEASE = "bookworm"


def archive(name: str) -> Path:
    """Return the archive of an image, built first if the cache does not hold it."""
    recipe = IMAGES[name]
    short = name.rpartition("/")[2].partition(":")[0]
    source = tools.binary(recipe.tool) if isinstance(recipe, FromTool) else None
    version = source.parent.name if source else RELEASE
    directory = f"{short}-{cache.key([name, version, repr(recipe), Path(oci.__file__).read_bytes()])}"

    def build(target: Path) -> None:
        layer = target / "layer.tar"
        with progress.step(f"build image {name}"):
            if isinstance(recipe, FromTool):
                assert source is not None
                oci.layer_of_files(layer, {f"/usr/bin/{recipe.tool}": source})
                runtime = oci.Runtime(entrypoint=[f"/usr/bin/{recipe.tool}", *recipe.arguments])
            else:
                _bootstrap(layer, recipe.packages)
                runtime = oci.Runtime(command=recipe.command, environment=DEBIAN_PATH)
            oci.write_archive(target / "image.tar", name, layer, runtime)
        layer.unlink()

    return cache.directory("images", directory, build) / "image.tar"


def _bootstrap(layer: Path, packages: tuple[str, ...]) -> None:
    done = subprocess.run(
        [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={','.join(packages)}",
            # Documentation and package lists are of no use in a container.
            "--dpkgopt=path-exclude=/usr/share/doc/*",
            "--dpkgopt=path-exclude=/usr/share/man/*",
            "--dpkgopt=path-exclude=/usr/share/locale/*",
            RELEASE,
            str(layer),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ClusterError(f"mmdebstrap failed; is Debian's archive reachable?\n{done.stderr[-2000:]}")
