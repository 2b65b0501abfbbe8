"""Writes OCI image archives without a registry or a container tool: one uncompressed layer, one config.

Uncompressed, because what is saved on disk in the cache would be paid in time at every import.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar"
CHUNK = 1 << 20


@dataclass(frozen=True)
class Runtime:
    """What a container of the image runs, and how."""

    entrypoint: Sequence[str] = ()
    command: Sequence[str] = ()
    environment: Mapping[str, str] = field(default_factory=lambda: {"PATH": "/usr/local/bin:/usr/bin:/bin"})

    def as_dict(self) -> dict[str, Any]:
        """Return the `config` object of the image config."""
        return {
            "Entrypoint": list(self.entrypoint),
            "Cmd": list(self.command),
            "Env": [f"{name}={value}" for name, value in self.environment.items()],
            "WorkingDir": "/",
        }


def layer_of_files(target: Path, files: Mapping[str, Path]) -> None:
    """Write a layer of executables, path in the image to file, and a /tmp."""
    with tarfile.open(target, "w") as tar:
        tmp = tarfile.TarInfo("tmp")
        tmp.type, tmp.mode = tarfile.DIRTYPE, 0o1777
        tar.addfile(tmp)
        for name, file in files.items():
            member = tarfile.TarInfo(name.lstrip("/"))
            member.size, member.mode = file.stat().st_size, 0o755
            with file.open("rb") as source:
                tar.addfile(member, source)


def write_archive(target: Path, name: str, layer: Path, runtime: Runtime) -> None:
    """Write an archive of the image called name."""
    digest = _digest(layer)
    config = _json(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": runtime.as_dict(),
            "rootfs": {"type": "layers", "diff_ids": [digest]},
            # buildah counts layers by it.
            "history": [{"created_by": "tests.cluster"}],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": _descriptor(CONFIG, config),
            "layers": [{"mediaType": LAYER, "digest": digest, "size": layer.stat().st_size}],
        }
    )
    names = {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": name}
    index = _json(
        {
            "schemaVersion": 2,
            "manifests": [{**_descriptor(MANIFEST, manifest), "annotations": names}],
        }
    )
    with tarfile.open(target, "w") as tar:
        _add(tar, "oci-layout", _json({"imageLayoutVersion": "1.0.0"}))
        _add(tar, "index.json", index)
        for blob in (config, manifest):
            _add(tar, _blob(_sha256(blob)), blob)
        member = tarfile.TarInfo(_blob(digest))
        member.size = layer.stat().st_size
        with layer.open("rb") as source:
            tar.addfile(member, source)


def _descriptor(media_type: str, data: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _sha256(data), "size": len(data)}


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _sha256(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def _digest(file: Path) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as source:
        while chunk := source.read(CHUNK):
            digest.update(chunk)
    return f"sha256:{digest.hexdigest()}"
