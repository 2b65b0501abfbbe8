"""The objects the operator has seen, by kind, namespace and name: what reconciling reads first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from iot_backup.cluster.client import Json
    from iot_backup.cluster.resources import Resource

Key = tuple[str, str]
"""Namespace and name."""


class Cache:
    """Never goes back in time: of two versions of an object the newer stays, whoever brings it."""

    def __init__(self) -> None:
        self._objects: dict[Resource, dict[Key, Json]] = {}

    def put(self, resource: Resource, body: Mapping[str, Any]) -> bool:
        """Remember an object; False if this very version, or a newer one, is known already."""
        kept = _slim(resource, body)
        known = self._of(resource)
        old = known.get(_key(kept))
        if old is not None and old["metadata"].get("uid") == kept["metadata"].get("uid") and _version(kept) <= _version(old):
            return False
        known[_key(kept)] = kept
        return True

    def drop(self, resource: Resource, body: Mapping[str, Any]) -> None:
        """Forget an object; another one of that name stays."""
        known = self._of(resource)
        old = known.get(_key(body))
        if old is not None and old["metadata"].get("uid") == body["metadata"].get("uid"):
            del known[_key(body)]

    def get(self, resource: Resource, namespace: str, name: str) -> Json | None:
        return self._of(resource).get((namespace, name))

    def select(self, resource: Resource, namespace: str | None = None, fits: Callable[[Json], bool] = lambda _: True) -> list[Json]:
        """All objects, of a namespace or of all, that fit; by name."""
        known = self._of(resource)
        return [known[key] for key in sorted(known) if namespace in {None, key[0]} and fits(known[key])]

    def snapshot(self, resource: Resource) -> dict[Key, Json]:
        """What is known now, to compare a fresh list with."""
        return dict(self._of(resource))

    def renew(self, resource: Resource, listed: Sequence[Mapping[str, Any]], before: Mapping[Key, Json]) -> list[Json]:
        """Take over a fresh list. What was known `before` it, is not in it and did not change since is gone: returned."""
        for body in listed:
            self.put(resource, body)
        names, known = {_key(body) for body in listed}, self._of(resource)
        gone = [old for key, old in before.items() if key not in names and known.get(key) is old]
        for old in gone:
            del known[_key(old)]
        return gone

    def _of(self, resource: Resource) -> dict[Key, Json]:
        return self._objects.setdefault(resource, {})


def _key(body: Mapping[str, Any]) -> Key:
    return str(body["metadata"].get("namespace", "")), str(body["metadata"]["name"])


def _version(body: Mapping[str, Any]) -> int:
    """Resource versions of one kind can be compared; what cannot be read counts as newest."""
    text = str(body["metadata"].get("resourceVersion", ""))
    return int(text) if text.isdecimal() else 1 << 63


def _slim(resource: Resource, body: Mapping[str, Any]) -> Json:
    """Without what nobody here reads, since it is kept for every object."""
    annotations = {
        k: v for k, v in (body["metadata"].get("annotations") or {}).items() if k != "kubectl.kubernetes.io/last-applied-configuration"
    }
    metadata = {k: v for k, v in body["metadata"].items() if k not in {"managedFields", "annotations"}}
    if annotations:
        metadata["annotations"] = annotations
    return {"apiVersion": resource.api_version, "kind": resource.kind, **body, "metadata": metadata}
