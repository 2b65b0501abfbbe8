"""Everything that happened to the objects of a cluster, as watches bring it: each version, and when it was seen.

Failures pass: what a status said while a retry was still to come is gone a moment later. A test reads it here afterwards,
and waits without asking again and again.
"""

from __future__ import annotations

import json
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlencode

from kubernetes import config

Json = dict[str, Any]

PATHS = {
    "BackupStorage": "/apis/backup.iot-system.io/v1alpha1/backupstorages",
    "BackupJob": "/apis/backup.iot-system.io/v1alpha1/backupjobs",
    "Backup": "/apis/backup.iot-system.io/v1alpha1/backups",
    "RestoreJob": "/apis/backup.iot-system.io/v1alpha1/restorejobs",
    "Job": "/apis/batch/v1/jobs",
    "Pod": "/api/v1/pods",
    "Event": "/api/v1/events",
}
WATCH_SECONDS = 2
"""A watch ends by itself after this long and goes on where it was: so a thread notices that it shall stop."""


class Version(NamedTuple):
    """An object as it was seen."""

    at: float
    """On time.monotonic()."""
    body: Json


class History:
    """Watches all namespaces from its making to `close`."""

    def __init__(self, kubeconfig: Path) -> None:
        self._api = config.new_client_from_config(config_file=str(kubeconfig), persist_config=False)
        self._versions: defaultdict[tuple[str, str, str], list[Version]] = defaultdict(list)
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._failure: Exception | None = None
        started = {kind: self._list(kind) for kind in PATHS}
        self._threads = [threading.Thread(target=self._follow, args=item, daemon=True) for item in started.items()]
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._api.close()
        self._api.rest_client.pool_manager.clear()

    def versions(self, kind: str, namespace: str, name: str) -> list[Version]:
        """All versions seen of an object, oldest first."""
        with self._changed:
            return list(self._versions[kind, namespace, name])

    def of_kind(self, kind: str, namespace: str) -> list[list[Version]]:
        """The same for every object of that kind in the namespace."""
        with self._changed:
            return [list(found) for (k, n, _), found in self._versions.items() if (k, n) == (kind, namespace) and found]

    def wait(self, met: Callable[[], Any], deadline: float, what: Callable[[], str]) -> Any:
        """The first true answer of `met`, asked whenever something changed; after `deadline` seconds fail with `what`."""
        end = time.monotonic() + deadline
        with self._changed:
            while not (answer := met()):
                if self._failure:
                    raise AssertionError("a watch broke") from self._failure
                left = end - time.monotonic()
                if left <= 0:
                    raise AssertionError(f"not after {deadline:g} s: {what()}")
                self._changed.wait(left)
            return answer

    def _list(self, kind: str) -> str:
        """The resourceVersion from which to watch."""
        return str(json.loads(self._get(PATHS[kind], limit="1").data)["metadata"]["resourceVersion"])

    def _follow(self, kind: str, version: str) -> None:
        try:
            while not self._stop.is_set():
                version = self._watch(kind, version)
        except Exception as error:  # noqa: BLE001 - a thread's failure belongs to whoever waits
            with self._changed:
                self._failure = error
                self._changed.notify_all()

    def _watch(self, kind: str, version: str) -> str:
        answer = self._get(PATHS[kind], watch="1", resourceVersion=version, timeoutSeconds=str(WATCH_SECONDS), allowWatchBookmarks="true")
        pending = b""
        for chunk in answer.stream(1 << 16):
            *lines, pending = (pending + chunk).split(b"\n")
            for line in lines:
                event = json.loads(line)
                if event["type"] == "ERROR":
                    raise RuntimeError(f"watch of {kind}: {event['object'].get('message')}")
                body = event["object"]
                version = body["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    self._note(kind, body)
        answer.release_conn()
        return version

    def _note(self, kind: str, body: Json) -> None:
        metadata = body["metadata"]
        with self._changed:
            self._versions[kind, metadata.get("namespace", ""), metadata["name"]].append(Version(time.monotonic(), body))
            self._changed.notify_all()

    def _get(self, path: str, **query: str) -> Any:
        serialized = self._api.param_serialize("GET", f"{path}?{urlencode(query)}", auth_settings=["BearerToken"])
        answer = self._api.call_api(*serialized, _request_timeout=30).response
        if answer.status != 200:
            raise RuntimeError(f"{path}: {answer.status} {answer.data[:500]!r}")
        return answer
