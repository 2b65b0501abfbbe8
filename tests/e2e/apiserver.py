"""The API server as tests talk to it: plain dicts, any user by impersonation, refusals with their sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from iot_backup.vocabulary import GROUP, VERSION

PLURALS = {"BackupStorage": "backupstorages", "BackupJob": "backupjobs", "Backup": "backups", "RestoreJob": "restorejobs"}


class Refused(Exception):
    """The API server said no; the text is its sentence for people."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


class ApiServer:
    """Creates, changes, reads and deletes our four kinds, as an administrator or as `user`."""

    def __init__(self, kubeconfig: Path, user: str | None = None) -> None:
        self._kubeconfig = kubeconfig
        connection = config.new_client_from_config(config_file=str(kubeconfig), persist_config=False)
        if user:
            connection.set_default_header("Impersonate-User", user)
        self._objects = client.CustomObjectsApi(connection)

    def as_user(self, user: str) -> ApiServer:
        """The same server, seen by another user."""
        return ApiServer(self._kubeconfig, user)

    def close(self) -> None:
        """End the connection."""
        self._objects.api_client.close()
        self._objects.api_client.rest_client.pool_manager.clear()

    def create(self, body: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create an object of ours in its namespace; the answer is what the server made of it."""
        where = (GROUP, VERSION, body["metadata"]["namespace"], PLURALS[body["kind"]])
        return _call(self._objects.create_namespaced_custom_object, *where, body, **({"dry_run": "All"} if dry_run else {}))

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        return _call(self._objects.get_namespaced_custom_object, GROUP, VERSION, namespace, PLURALS[kind], name)

    def patch(self, kind: str, namespace: str, name: str, patch: dict[str, Any]) -> dict[str, Any]:
        """Merge `patch` into an object of ours."""
        return _call(self._objects.patch_namespaced_custom_object, GROUP, VERSION, namespace, PLURALS[kind], name, patch)

    def patch_status(self, kind: str, namespace: str, name: str, status: dict[str, Any]) -> dict[str, Any]:
        """Merge `status` into an object's status."""
        body = {"status": status}
        return _call(self._objects.patch_namespaced_custom_object_status, GROUP, VERSION, namespace, PLURALS[kind], name, body)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        """Ask for an object's deletion."""
        _call(self._objects.delete_namespaced_custom_object, GROUP, VERSION, namespace, PLURALS[kind], name)


def _call(verb: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = verb(*arguments, **options)
    except ApiException as error:
        try:
            message = json.loads(error.body)["message"]
        except (TypeError, ValueError, KeyError):
            message = str(error)
        raise Refused(error.status, message) from error
    return answer
