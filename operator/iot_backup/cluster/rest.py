"""KubeClient over the REST layer of the Kubernetes client: dicts both ways, none of its models."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import urlencode

import aiohttp
from kubernetes.aio.client.rest import RESTClientObject

from iot_backup import vocabulary
from iot_backup.cluster import connection
from iot_backup.cluster.client import AlreadyExistsError, ApiError, Json, RejectedError
from iot_backup.cluster.resources import EVENTS, Resource

if TYPE_CHECKING:
    from kubernetes.aio.client.configuration import Configuration

PAGE = 500
TIMEOUT_SECONDS = 30
_REJECTIONS = {400, 403, 413, 422}
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"

log = logging.getLogger(__name__)


class RestClient:
    """One API server over HTTP; an async context manager."""

    def __init__(self, config: Configuration) -> None:
        self._config = config
        self._rest = RESTClientObject(config)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._rest.close()

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Json | None:
        return await self._found("GET", resource.path(namespace, name))

    async def list(self, resource: Resource, namespace: str | None = None, labels: str | None = None) -> list[Json]:
        query: dict[str, str] = {"limit": str(PAGE), **({"labelSelector": labels} if labels else {})}
        items: list[Json] = []
        while True:
            page = await self._request("GET", f"{resource.path(namespace)}?{urlencode(query)}")
            # Objects in a list come without the two fields that say what they are.
            items += [{"apiVersion": resource.api_version, "kind": resource.kind, **item} for item in page.get("items") or ()]
            following = page.get("metadata", {}).get("continue")
            if not following:
                return items
            query["continue"] = following

    async def create(self, resource: Resource, body: Json) -> Json:
        namespace = body["metadata"].get("namespace")
        return await self._request("POST", f"{resource.path(namespace)}?fieldManager={vocabulary.OPERATOR}", body)

    async def apply(self, resource: Resource, body: Json) -> Json:
        path = resource.path(body["metadata"].get("namespace"), body["metadata"]["name"])
        return await self._request("PATCH", f"{path}?fieldManager={vocabulary.OPERATOR}&force=true", body, _APPLY)

    async def patch(self, resource: Resource, namespace: str, name: str, body: Json) -> Json | None:
        return await self._found("PATCH", f"{resource.path(namespace, name)}?fieldManager={vocabulary.OPERATOR}", body, _MERGE)

    async def patch_status(self, resource: Resource, namespace: str, name: str, status: Json) -> Json | None:
        path = resource.path(namespace, name, "status")
        return await self._found("PATCH", f"{path}?fieldManager={vocabulary.OPERATOR}", {"status": status}, _MERGE)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str | None = None) -> bool:
        options: Json = {"propagationPolicy": "Background"}
        if uid:
            options["preconditions"] = {"uid": uid}
        try:
            return await self._found("DELETE", resource.path(namespace, name), options) is not None
        except ApiError as error:
            if uid and error.status == 409:
                return False
            raise

    async def event(self, body: Json) -> None:
        try:
            await self.create(EVENTS, body)
        except ApiError as error:
            log.warning("event %s on %s was not taken: %s", body["reason"], body["involvedObject"]["name"], error)

    async def _found(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Json | None:
        try:
            return await self._request(method, path, body, content_type)
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def _request(self, method: str, path: str, body: Any = None, content_type: str = "application/json") -> Json:
        headers = {
            "Accept": "application/json",
            "Content-Type": content_type,
            "User-Agent": vocabulary.OPERATOR,
            **await self._authorization(),
        }
        try:
            url = self._config.host + path
            answer = await self._rest.request(  # type: ignore[no-untyped-call]
                method, url, headers=headers, body=body, _request_timeout=TIMEOUT_SECONDS
            )
            text = (await answer.read()).decode()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            raise ApiError(0, "NoAnswer", f"{method} {path}: {str(error) or type(error).__name__}") from error
        if answer.status >= 400:
            raise _error(answer.status, text)
        loaded: Json = json.loads(text) if text else {}
        return loaded

    async def _authorization(self) -> dict[str, str]:
        login = await connection.login(self._config)
        return {"Authorization": f"Bearer {login.token}"} if login.token else {}


def _error(status: int, text: str) -> ApiError:
    """The server's Status object as an exception; its message is cut, since it may repeat the whole object."""
    try:
        told = json.loads(text)
        reason, message = str(told.get("reason") or ""), str(told.get("message") or "")
    except (ValueError, AttributeError):
        reason, message = "", text
    message = message if len(message) <= 1000 else message[:999] + "…"
    if status == 409 and reason == "AlreadyExists":
        return AlreadyExistsError(status, reason, message)
    return (RejectedError if status in _REJECTIONS else ApiError)(status, reason, message)
