"""The definitions of crds/ as dicts, and ways to walk them."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

import yaml

from tests.packaging.rendering import ROOT

CRDS = ROOT / "crds"
KINDS = ("BackupStorage", "BackupJob", "Backup", "RestoreJob")

Schema = dict[str, Any]


def definitions() -> dict[str, dict[str, Any]]:
    """Each kind's whole definition."""
    loaded = [_load(path.read_text()) for path in sorted(CRDS.glob("*.yaml")) if path.name != "kustomization.yaml"]
    return {crd["spec"]["names"]["kind"]: crd for crd in loaded}


@cache
def _parsed(text: str) -> Any:
    return yaml.safe_load(text)


def _load(text: str) -> Any:
    return copy.deepcopy(_parsed(text))


def schema(kind: str) -> Schema:
    """The OpenAPI schema of the kind's one version."""
    (version,) = definitions()[kind]["spec"]["versions"]
    return dict(version["schema"]["openAPIV3Schema"])


def nodes(node: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    """Every schema below `node`, itself included, with its dotted path."""
    yield path, node
    for name, child in node.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}".lstrip("."))
    if "items" in node:
        yield from nodes(node["items"], f"{path}[]")
    if isinstance(node.get("additionalProperties"), dict):
        yield from nodes(node["additionalProperties"], f"{path}{{}}")


def every_node() -> list[tuple[str, Schema]]:
    """Every schema of every kind; `metadata` apart, which is Kubernetes' own."""
    return [(f"{kind}.{path}".rstrip("."), node) for kind in KINDS for path, node in nodes(schema(kind)) if path != "metadata"]
