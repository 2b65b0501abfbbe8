"""Objects of any kind on the API server, as plain dicts: what tests do without kubectl, because they do it often."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from kubernetes import config
from kubernetes.client.exceptions import ApiException

from iot_backup.vocabulary import API_VERSION

Json = dict[str, Any]

OURS = {"BackupStorage": "backupstorages", "BackupJob": "backupjobs", "Backup": "backups", "RestoreJob": "restorejobs"}
PATHS = {
    **{kind: (API_VERSION, plural) for kind, plural in OURS.items()},
    "Job": ("batch/v1", "jobs"),
    "CronJob": ("batch/v1", "cronjobs"),
    "Deployment": ("apps/v1", "deployments"),
    "Event": ("v1", "events"),
    "Namespace": ("v1", "namespaces"),
    "PersistentVolumeClaim": ("v1", "persistentvolumeclaims"),
    "Pod": ("v1", "pods"),
    "Secret": ("v1", "secrets"),
    "Service": ("v1", "services"),
}
SECONDS = 30


class Objects:
    """Create, apply, read, patch and delete. A missing object is None, every other refusal an ApiException."""

    def __init__(self, kubeconfig: Path) -> None:
        self._api = config.new_client_from_config(config_file=str(kubeconfig), persist_config=False)

    def close(self) -> None:
        """End the connection."""
        self._api.close()
        self._api.rest_client.pool_manager.clear()

    def get(self, kind: str, namespace: str | None, name: str) -> Json | None:
        try:
            return self._request("GET", _path(kind, namespace, name))
        except ApiException as error:
            if error.status == 404:
                return None
            raise

    def list(self, kind: str, namespace: str | None = None, labels: str = "") -> list[Json]:
        query = f"?{urlencode({'labelSelector': labels})}" if labels else ""
        return list(self._request("GET", _path(kind, namespace) + query)["items"])

    def create(self, body: Json, *, dry_run: bool = False) -> Json:
        query = "?dryRun=All" if dry_run else ""
        return self._request("POST", _path(body["kind"], body["metadata"].get("namespace")) + query, body)

    def apply(self, body: Json) -> Json:
        """Server-side apply, as a GitOps tool does it."""
        path = _path(body["kind"], body["metadata"].get("namespace"), body["metadata"]["name"])
        return self._request("PATCH", f"{path}?fieldManager=e2e&force=true", body, "application/apply-patch+yaml")

    def patch(self, kind: str, namespace: str | None, name: str, patch: Json) -> Json:
        """Merge `patch` into the object."""
        return self._request("PATCH", _path(kind, namespace, name), patch, "application/merge-patch+json")

    def delete(self, kind: str, namespace: str | None, name: str, *, grace_seconds: int | None = None) -> None:
        """Ask for the deletion; nothing if it is gone already."""
        options: Json = {"propagationPolicy": "Background"}
        if grace_seconds is not None:
            options["gracePeriodSeconds"] = grace_seconds
        try:
            self._request("DELETE", _path(kind, namespace, name), options)
        except ApiException as error:
            if error.status != 404:
                raise

    def text(self, path: str) -> str:
        """What the server answers to a GET of the path, as text: logs, and what pods serve through its proxy."""
        return self._raw("GET", path).decode()

    def text_if_there(self, path: str) -> str:
        """The same; nothing of what is gone, as the log of a pod may be that was listed a moment ago."""
        try:
            return self.text(path)
        except ApiException as error:
            if error.status == 404:
                return ""
            raise

    def _request(self, method: str, path: str, body: Json | None = None, content_type: str = "application/json") -> Json:
        loaded: Json = json.loads(self._raw(method, path, body, content_type))
        return loaded

    def _raw(self, method: str, path: str, body: Json | None = None, content_type: str = "application/json") -> bytes:
        headers = {"Accept": "application/json, */*", "Content-Type": content_type}
        serialized = self._api.param_serialize(method, path, header_params=headers, body=body, auth_settings=["BearerToken"])
        answer = self._api.call_api(*serialized, _request_timeout=SECONDS)
        data: bytes = answer.read()
        if not 200 <= answer.status < 300:
            raise ApiException(status=answer.status, reason=data.decode(errors="replace")[:500])
        return data


def _path(kind: str, namespace: str | None, name: str = "") -> str:
    version, plural = PATHS[kind]
    scope = f"/namespaces/{namespace}" if namespace and kind != "Namespace" else ""
    return f"/{'apis' if '/' in version else 'api'}/{version}{scope}/{plural}" + (f"/{name}" if name else "")
