"""The project's image, built from its Dockerfile and given to the cluster, named by its content."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import bootstrap, cache, external, images, namespaces, package_index, progress
from tests.cluster import layout as layouts
from tests.cluster.errors import ClusterError
from tests.cluster.layout import CHECKOUT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.cluster.cluster import Cluster

REPOSITORY = "localhost/iot-backup-operator"
INPUTS = ("Dockerfile", "pyproject.toml", "requirements/build.txt", "requirements/runtime.txt")
KEPT = 3
"""Images kept in the cache; each has a few hundred megabytes."""
KEPT_LAYERS = 20
"""Images of single build steps kept for reuse; a build makes about seven."""


def deliver(cluster: Cluster) -> str:
    """Return the image's name, once the cluster can run it."""
    if cluster.external:
        return external.image("IOT_BACKUP_IMAGE")
    identity = layouts.identity()
    layout, first = bootstrap.find(identity), namespaces.find(cluster.state)
    if layout is None or first is None:
        raise ClusterError("the cluster just ended; run `python -m tests.cluster up`")
    name = f"{REPOSITORY}:{content_key(CHECKOUT)}"
    present = subprocess.run(
        namespaces.enter(first, [*bootstrap.ctr(layout), "images", "list", "--quiet"]),
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split()
    if name not in present:
        built = archive(CHECKOUT, name)
        with progress.step(f"import {name}"):
            bootstrap.import_archive(layout, first, built)
    return name


def content_key(checkout: Path) -> str:
    """Return the key of all that goes into the image."""
    return cache.files_key(checkout, _inputs(checkout), images.archive(images.PYTHON_BASE).parent.name)


def archive(checkout: Path, name: str) -> Path:
    """Return the archive of the image, built first if the cache does not hold it."""

    def build(target: Path) -> None:
        with progress.step(f"build {name}"), tempfile.TemporaryDirectory() as scratch:
            _pull_base()
            _buildah(
                "build",
                "--layers",
                "--network=host",
                f"--build-arg=BASE={images.PYTHON_BASE}",
                *(f"--volume={mount}" for mount in package_index.mounts(Path(scratch))),
                f"--tag={name}",
                str(checkout),
            )
            # Docker's archive format, as buildah compresses layers in OCI's, which takes longer than
            # all the rest, for an archive that is read once.
            _buildah("push", "--quiet", name, f"docker-archive:{target / 'image.tar'}:{name}")
        _prune_archives(target.parent)
        _prune_storage()

    return cache.directory("project-images", name.rpartition(":")[2], build) / "image.tar"


def _inputs(checkout: Path) -> Iterator[Path]:
    for name in INPUTS:
        if not (checkout / name).is_file():
            raise ClusterError(f"{name} is missing in {checkout}: the image is built from it")
        yield checkout / name
    for file in (checkout / "operator").rglob("*"):
        if file.is_file() and "__pycache__" not in file.parts:
            yield file


def _pull_base() -> None:
    archive = images.archive(images.PYTHON_BASE)
    pulled = f"{images.PYTHON_BASE.partition(':')[0]}:{archive.parent.name}"
    if not _buildah("images", "--quiet", f"--filter=reference={pulled}"):
        identifier = _buildah("pull", "--quiet", f"oci-archive:{archive}").split()[-1]
        _buildah("tag", identifier, images.PYTHON_BASE, pulled)


def _buildah(*arguments: str) -> str:
    storage = cache.root() / "buildah"
    done = subprocess.run(
        ["buildah", f"--root={storage / 'root'}", f"--runroot={storage / 'run'}", "--storage-driver=overlay", *arguments],
        env={**os.environ, "BUILDAH_ISOLATION": "chroot"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        output = "\n".join((done.stdout + done.stderr).splitlines()[-30:])
        raise ClusterError(f"buildah {arguments[0]} failed; its last lines:\n{output}")
    return done.stdout


def _prune_archives(directory: Path) -> None:
    complete = [path for path in directory.iterdir() if not path.name.startswith(".")]
    newest_first = sorted(complete, key=lambda path: path.stat().st_mtime, reverse=True)
    for old in newest_first[KEPT - 1 :]:
        shutil.rmtree(old, ignore_errors=True)


def _prune_storage() -> None:
    """Remove old images from buildah's storage, with as many layers as no newer build reuses."""
    for query, kept in (([f"--filter=reference={REPOSITORY}"], KEPT), (["--filter=dangling=true"], KEPT_LAYERS)):
        listed = _buildah("images", "--quiet", "--no-trunc", *query).split()  # newest first
        for old in dict.fromkeys(listed[kept:]):
            # An image that a newer one builds on stays; that is no failure.
            with contextlib.suppress(ClusterError):
                _buildah("rmi", "--force", old)
