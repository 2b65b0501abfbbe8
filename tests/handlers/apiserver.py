"""An API server in memory, in a thread of its own: enough of Kubernetes for the operator, and a log of all it is asked.

It knows versions, generations, status subresources, merge patch, server-side apply (simplified), selectors, watches,
owner garbage collection, 404/409/422, and holds our own kinds to the schemas in crds/. What a real API server decides (CEL,
defaults, admission, RBAC) is not decided here: tests/e2e asks a real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import copy
import itertools
import json
import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml
from aiohttp import web
from jsonschema import Draft7Validator

if TYPE_CHECKING:
    from collections.abc import Iterator

Json = dict[str, Any]
CRDS = Path(__file__).parents[2] / "crds"
OURS = "backup.iot-system.io"


@dataclass(frozen=True)
class Kind:
    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True
    status: bool = True

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version


KINDS = [
    Kind("", "v1", "namespaces", "Namespace", namespaced=False),
    Kind("", "v1", "pods", "Pod"),
    Kind("", "v1", "secrets", "Secret", status=False),
    Kind("", "v1", "events", "Event", status=False),
    Kind("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim"),
    Kind("", "v1", "persistentvolumes", "PersistentVolume", namespaced=False),
    Kind("batch", "v1", "jobs", "Job"),
    Kind("batch", "v1", "cronjobs", "CronJob"),
    Kind("coordination.k8s.io", "v1", "leases", "Lease", status=False),
    Kind("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False),
    *(
        Kind(OURS, "v1alpha1", p, k)
        for p, k in [("backupstorages", "BackupStorage"), ("backupjobs", "BackupJob"), ("backups", "Backup"), ("restorejobs", "RestoreJob")]
    ),
]
BY_PLURAL = {k.plural: k for k in KINDS}


class Refusal(Exception):
    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(message)
        self.status, self.reason, self.message = status, reason, message


@dataclass(frozen=True)
class Request:
    verb: str
    group: str
    resource: str
    subresource: str
    namespace: str
    name: str
    query: str


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _schemas() -> dict[str, Draft7Validator]:
    """Our kinds' schemas, closed: a field the schema lacks, which a real server would drop in silence, is an error here."""
    found = {}
    for file in CRDS.glob("*.yaml"):
        crd = yaml.safe_load(file.read_text())
        if crd.get("kind") == "CustomResourceDefinition":
            schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
            schema["properties"]["metadata"] = {"type": "object"}
            found[crd["spec"]["names"]["plural"]] = Draft7Validator(_closed(schema))
    return found


def _closed(schema: Any) -> Any:
    if isinstance(schema, dict):
        result = {k: _closed(v) for k, v in schema.items()}
        if (
            "properties" in result
            and "additionalProperties" not in result
            and result["properties"] != {}
            and result.get("type") == "object"
        ):
            result["additionalProperties"] = False
        return result
    return [_closed(v) for v in schema] if isinstance(schema, list) else schema


@dataclass
class Cluster:
    """The state. Thread-safe; tests call it directly, the server on behalf of the operator."""

    objects: dict[tuple[str, str, str], Json] = field(default_factory=dict)
    log: list[Request] = field(default_factory=list)
    refuse: list[tuple[str, str, Refusal]] = field(default_factory=list)
    """(verb, resource, answer): given once each, in order, instead of what was asked."""

    def __post_init__(self) -> None:
        self._versions = itertools.count(1000)
        self._lock = threading.RLock()
        self._history: list[tuple[int, str, str, Json]] = []
        self._listeners: list[Any] = []
        self._schemas = _schemas()
        self.create("namespaces", {"metadata": {"name": "default"}})

    # -- what tests and server share

    def get(self, plural: str, name: str, namespace: str = "default") -> Json | None:
        with self._lock:
            found = self.objects.get((plural, namespace if BY_PLURAL[plural].namespaced else "", name))
            return copy.deepcopy(found)

    def list(self, plural: str, namespace: str | None = None, selector: str = "") -> list[Json]:
        with self._lock:
            keys = [k for k in sorted(self.objects) if k[0] == plural and (not namespace or k[1] == namespace)]
            return [copy.deepcopy(self.objects[k]) for k in keys if _selected(self.objects[k], selector)]

    def create(self, plural: str, body: Json, namespace: str = "default") -> Json:
        kind = BY_PLURAL[plural]
        body = copy.deepcopy(body)
        metadata = body.setdefault("metadata", {})
        if "generateName" in metadata and "name" not in metadata:
            metadata["name"] = metadata["generateName"] + uuid.uuid4().hex[:5]
        if kind.namespaced:
            metadata.setdefault("namespace", namespace)
        body.update(apiVersion=kind.api_version, kind=kind.kind)
        with self._lock:
            key = (plural, metadata.get("namespace", ""), metadata["name"])
            if key in self.objects:
                raise Refusal(409, "AlreadyExists", f'{plural} "{metadata["name"]}" already exists')
            if kind.status and kind.plural in {"jobs", "cronjobs", *self._schemas}:
                body.pop("status", None)
            metadata.update(uid=str(uuid.uuid4()), creationTimestamp=now(), generation=1)
            if plural == "jobs":
                _label_job(body)
            self._valid(plural, body)
            self._store(key, body, "ADDED")
            return copy.deepcopy(body)

    def patch(self, plural: str, name: str, patch: Json, namespace: str = "default", *, status: bool = False) -> Json:
        """A merge patch, of the object or of its status."""
        with self._lock:
            key = (plural, namespace if BY_PLURAL[plural].namespaced else "", name)
            old = self.objects.get(key)
            if old is None:
                raise Refusal(404, "NotFound", f'{plural} "{name}" not found')
            part = {k: v for k, v in patch.items() if (k == "status") == status} if BY_PLURAL[plural].status else patch
            return self._update(key, old, _merged(old, part))

    def apply(self, plural: str, body: Json, namespace: str) -> Json:
        """Server-side apply, as if nobody else ever owned a field: what was applied before and is not now goes."""
        with self._lock:
            key = (plural, namespace, body["metadata"]["name"])
            old = self.objects.get(key)
            if old is None:
                return self.create(plural, body, namespace)
            fresh = copy.deepcopy(old)
            for part in ("labels", "annotations", "ownerReferences"):
                if part in body["metadata"]:
                    fresh["metadata"][part] = body["metadata"][part]
            fresh["spec"] = copy.deepcopy(body["spec"])
            return self._update(key, old, fresh)

    def delete(self, plural: str, name: str, namespace: str = "default", uid: str | None = None) -> Json:
        """Delete it, and then what it owned alone."""
        with self._lock:
            key = (plural, namespace if BY_PLURAL[plural].namespaced else "", name)
            old = self.objects.get(key)
            if old is None:
                raise Refusal(404, "NotFound", f'{plural} "{name}" not found')
            if uid and old["metadata"]["uid"] != uid:
                raise Refusal(409, "Conflict", "the UID in the precondition does not match")
            del self.objects[key]
            self._tell("DELETED", key[0], {**old, "metadata": {**old["metadata"], "resourceVersion": str(next(self._versions))}})
            gone = old["metadata"]["uid"]
            for other in [o for o in self.objects.values() if any(r["uid"] == gone for r in o["metadata"].get("ownerReferences", ()))]:
                self.delete(BY_KIND[other["kind"]].plural, other["metadata"]["name"], other["metadata"].get("namespace", "default"))
            return old

    def events(self, name: str) -> list[Json]:
        return [e for e in self.list("events") if e["involvedObject"]["name"] == name]

    # -- inside

    def _update(self, key: tuple[str, str, str], old: Json, fresh: Json) -> Json:
        if fresh == old:
            return copy.deepcopy(old)
        if key[0] == "jobs" and fresh["spec"].get("template") != old["spec"].get("template"):
            raise Refusal(422, "Invalid", "spec.template: field is immutable")
        if fresh.get("spec") != old.get("spec"):
            fresh["metadata"]["generation"] = old["metadata"]["generation"] + 1
        self._valid(key[0], fresh)
        self._store(key, fresh, "MODIFIED")
        return copy.deepcopy(fresh)

    def _valid(self, plural: str, body: Json) -> None:
        schema = self._schemas.get(plural)
        error = next(schema.iter_errors(body), None) if schema else None
        if error is not None:
            where = ".".join(str(p) for p in error.absolute_path)
            raise Refusal(422, "Invalid", f"{where}: {error.message[:300]}")

    def _store(self, key: tuple[str, str, str], body: Json, event: str) -> None:
        body["metadata"]["resourceVersion"] = str(next(self._versions))
        self.objects[key] = body
        self._tell(event, key[0], body)

    def _tell(self, event: str, plural: str, body: Json) -> None:
        entry = (int(body["metadata"]["resourceVersion"]), event, plural, copy.deepcopy(body))
        self._history.append(entry)
        for listener in list(self._listeners):
            listener(entry)

    def version(self) -> int:
        with self._lock:
            return next(self._versions)

    @contextlib.contextmanager
    def listening(self, since: int, listener: Any) -> Iterator[None]:
        """Everything after `since`, then everything new, in order."""
        with self._lock:
            for entry in self._history:
                if entry[0] > since:
                    listener(entry)
            self._listeners.append(listener)
        try:
            yield
        finally:
            with self._lock:
                self._listeners.remove(listener)

    def refusal(self, verb: str, plural: str) -> Refusal | None:
        with self._lock:
            for entry in self.refuse:
                if entry[:2] == (verb, plural):
                    self.refuse.remove(entry)
                    return entry[2]
        return None


BY_KIND = {k.kind: k for k in KINDS}


def _merged(old: Any, patch: Any) -> Any:
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    result = copy.deepcopy(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = _merged(result.get(key), value)
    return result


def _selected(body: Json, selector: str) -> bool:
    labels = body["metadata"].get("labels") or {}
    return all(labels.get(part.partition("=")[0]) == part.partition("=")[2] for part in selector.split(",") if part)


def _label_job(body: Json) -> None:
    """What the API server writes into a Job's pod template."""
    name, uid = body["metadata"]["name"], body["metadata"]["uid"]
    own = {"batch.kubernetes.io/job-name": name, "job-name": name, "batch.kubernetes.io/controller-uid": uid, "controller-uid": uid}
    template = body["spec"]["template"].setdefault("metadata", {})
    template["labels"] = {**template.get("labels", {}), **own}
    pod = body["spec"]["template"]["spec"]
    pod.setdefault("dnsPolicy", "ClusterFirst")
    pod.setdefault("schedulerName", "default-scheduler")
    pod.setdefault("terminationGracePeriodSeconds", 30)
    for container in pod["containers"]:
        container.setdefault("terminationMessagePath", "/dev/termination-log")
        for env in container.get("env", ()):
            env.get("valueFrom", {}).get("fieldRef", {}).setdefault("apiVersion", "v1")


class Server:
    """HTTP in front of a Cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.port = 0
        self._loop = asyncio.new_event_loop()
        self._started = threading.Event()
        self._stopping: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        self._thread.start()
        assert self._started.wait(10)

    def stop(self) -> None:
        assert self._stopping is not None
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())
        self._loop.close()

    async def _serve(self) -> None:
        self._stopping = asyncio.Event()
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, shutdown_timeout=0.2)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self._started.set()
        await self._stopping.wait()
        await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        parts = [p for p in request.path.split("/") if p]
        discovered = _discovery(parts)
        if discovered is not None:
            return web.json_response(discovered)
        try:
            return await self._resource(request, parts)
        except Refusal as error:
            body = {
                "kind": "Status",
                "apiVersion": "v1",
                "status": "Failure",
                "code": error.status,
                "reason": error.reason,
                "message": error.message,
            }
            return web.json_response(body, status=error.status)

    async def _resource(self, request: web.Request, parts: list[str]) -> web.StreamResponse:
        group, parts = (parts[1], parts[3:]) if parts[0] == "apis" else ("", parts[2:])
        namespace = ""
        if parts[0] == "namespaces" and len(parts) > 2:
            namespace, parts = parts[1], parts[2:]
        plural, name, subresource = (*parts, "", "")[:3]
        if plural not in BY_PLURAL:
            raise Refusal(404, "NotFound", "the server could not find the requested resource")
        watching = request.query.get("watch") in {"true", "1"}
        verb = {"POST": "create", "PATCH": "patch", "DELETE": "delete", "PUT": "update"}.get(request.method) or (
            "get" if name else "watch" if watching else "list"
        )
        self.cluster.log.append(Request(verb, group, plural, subresource, namespace, name, request.query_string))
        if (refusal := self.cluster.refusal(verb, plural)) is not None:
            raise refusal
        if verb == "watch":
            return await self._watch(request, plural, namespace)
        return web.json_response(await self._answer(request, verb, plural, namespace, name, subresource))

    async def _answer(self, request: web.Request, verb: str, plural: str, namespace: str, name: str, subresource: str) -> Json:
        cluster, kind = self.cluster, BY_PLURAL[plural]
        if verb == "get":
            found = cluster.get(plural, name, namespace)
            if found is None:
                raise Refusal(404, "NotFound", f'{plural} "{name}" not found')
            return found
        if verb == "list":
            items = cluster.list(plural, namespace, request.query.get("labelSelector", ""))
            bare = [{k: v for k, v in item.items() if k not in {"kind", "apiVersion"}} for item in items]
            return {
                "kind": f"{kind.kind}List",
                "apiVersion": kind.api_version,
                "metadata": {"resourceVersion": str(cluster.version())},
                "items": bare,
            }
        body = json.loads(await request.text() or "{}")
        if verb == "create":
            return cluster.create(plural, body, namespace)
        if verb == "delete":
            return cluster.delete(plural, name, namespace, body.get("preconditions", {}).get("uid"))
        if request.content_type == "application/apply-patch+yaml":
            if cluster.get(plural, name, namespace) is None:  # a real server then asks for the right to create, too
                self.cluster.log.append(Request("create", kind.group, plural, "", namespace, name, ""))
            return cluster.apply(plural, body, namespace)
        if request.content_type != "application/merge-patch+json":
            raise Refusal(415, "UnsupportedMediaType", request.content_type)
        return cluster.patch(plural, name, body, namespace, status=subresource == "status")

    async def _watch(self, request: web.Request, plural: str, namespace: str) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/json"})
        await response.prepare(request)
        entries: asyncio.Queue[tuple[int, str, str, Json]] = asyncio.Queue()
        selector = request.query.get("labelSelector", "")

        def heard(entry: tuple[int, str, str, Json]) -> None:
            self._loop.call_soon_threadsafe(entries.put_nowait, entry)

        with self.cluster.listening(int(request.query.get("resourceVersion") or 0), heard):
            while not (self._stopping and self._stopping.is_set()):
                try:
                    async with asyncio.timeout(0.1):
                        _, event, about, body = await entries.get()
                except TimeoutError:
                    continue
                if about != plural or (namespace and body["metadata"].get("namespace") != namespace) or not _selected(body, selector):
                    continue
                try:
                    await response.write(json.dumps({"type": event, "object": body}).encode() + b"\n")
                except ConnectionError:
                    break
        return response


def _discovery(parts: list[str]) -> Json | None:
    if parts == ["version"]:
        return {"major": "1", "minor": "35", "gitVersion": "v1.35.0"}
    if parts == ["api"]:
        return {"kind": "APIVersions", "versions": ["v1"]}
    groups = sorted({k.group for k in KINDS if k.group})
    if parts == ["apis"]:
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [_group(g) for g in groups]}
    if len(parts) == 2 and parts[0] == "apis" and parts[1] in groups:
        return _group(parts[1])
    wanted = (
        (parts[1], parts[2])
        if parts[:1] == ["apis"] and len(parts) == 3
        else ("", parts[1])
        if parts[:1] == ["api"] and len(parts) == 2
        else None
    )
    if wanted is None:
        return None
    verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
    found: list[Json] = []
    for kind in KINDS:
        if (kind.group, kind.version) == wanted:
            found.append(
                {"name": kind.plural, "singularName": kind.kind.lower(), "namespaced": kind.namespaced, "kind": kind.kind, "verbs": verbs}
            )
            if kind.status:
                found.append(
                    {
                        "name": f"{kind.plural}/status",
                        "singularName": "",
                        "namespaced": kind.namespaced,
                        "kind": kind.kind,
                        "verbs": ["get", "patch", "update"],
                    }
                )
    return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": "/".join(p for p in wanted if p), "resources": found}


def _group(name: str) -> Json:
    version = next(k.version for k in KINDS if k.group == name)
    entry = {"groupVersion": f"{name}/{version}", "version": version}
    return {"name": name, "versions": [entry], "preferredVersion": entry}
