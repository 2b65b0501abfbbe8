"""The API server as tests talk to it: plain dicts, any user by impersonation, refusals with their sentence."""

from __future__ import annotations

import json
from dataclasses import dataclass
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


@dataclass(frozen=True)
class ApiServer:
    """Creates, changes, reads and deletes our four kinds, as an administrator or as `user`."""

    kubeconfig: str
    user: str | None = None

    def as_user(self, user: str) -> ApiServer:
        """The same server, seen by another user."""
        return ApiServer(self.kubeconfig, user)

    def create(self, body: dict[str, Any], *, dry_run: bool = False) -> dict[str, Any]:
        """Create an object of ours in its namespace; the answer is what the server made of it."""
        with self._client() as api:
            arguments = (GROUP, VERSION, body["metadata"]["namespace"], PLURALS[body["kind"]], body)
            return _call(api.create_namespaced_custom_object, *arguments, **({"dry_run": "All"} if dry_run else {}))

    def get(self, kind: str, namespace: str, name: str) -> dict[str, Any]:
        with self._client() as api:
            return _call(api.get_namespaced_custom_object, GROUP, VERSION, namespace, PLURALS[kind], name)

    def patch(self, kind: str, namespace: str, name: str, patch: dict[str, Any]) -> dict[str, Any]:
        """Merge `patch` into an object of ours."""
        with self._client() as api:
            return _call(api.patch_namespaced_custom_object, GROUP, VERSION, namespace, PLURALS[kind], name, patch)

    def patch_status(self, kind: str, namespace: str, name: str, status: dict[str, Any]) -> dict[str, Any]:
        """Merge `status` into an object's status."""
        with self._client() as api:
            body = {"status": status}
            return _call(api.patch_namespaced_custom_object_status, GROUP, VERSION, namespace, PLURALS[kind], name, body)

    def delete(self, kind: str, namespace: str, name: str) -> None:
        with self._client() as api:
            _call(api.delete_namespaced_custom_object, GROUP, VERSION, namespace, PLURALS[kind], name)

    def _client(self) -> _Session:
        return _Session(self.kubeconfig, self.user)


class _Session:
    def __init__(self, kubeconfig: str, user: str | None) -> None:
        self._api = config.new_client_from_config(config_file=kubeconfig, persist_config=False)
        if user:
            self._api.set_default_header("Impersonate-User", user)

    def __enter__(self) -> client.CustomObjectsApi:
        return client.CustomObjectsApi(self._api)

    def __exit__(self, *_: object) -> None:
        self._api.close()


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
