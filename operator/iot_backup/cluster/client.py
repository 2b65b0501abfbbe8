"""What the operator asks of an API server: eight verbs over plain dicts.

Objects go and come as the JSON they are. Every call may be repeated. A missing object is None or False, never an error; what
the server refuses is an `ApiError` whose message is the server's own sentence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping

    from iot_backup.cluster.resources import Resource

Json = dict[str, Any]


class ApiError(Exception):
    """The API server did not do it. `status` is the HTTP status, 0 where no answer came."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class AlreadyExistsError(ApiError):
    """An object of that name exists; nothing was changed."""


class RejectedError(ApiError):
    """The server refuses the object as it is: admission, quota, validation. The same again is refused again."""


class KubeClient(Protocol):
    """One API server."""

    async def get(self, resource: Resource, namespace: str | None, name: str) -> Json | None:
        """The object, or None."""

    async def list(self, resource: Resource, namespace: str | None = None, labels: str | None = None) -> list[Json]:
        """All objects, of a namespace or of all; `labels` is a selector. Read in pages."""

    async def create(self, resource: Resource, body: Json) -> Json:
        """The created object. Raises AlreadyExistsError."""

    async def apply(self, resource: Resource, body: Json) -> Json:
        """Server-side apply of an own child, by the one field manager, with force. `body` holds owned fields only."""

    async def patch(self, resource: Resource, namespace: str, name: str, body: Json) -> Json | None:
        """A JSON merge patch; None if the object is gone."""

    async def patch_status(self, resource: Resource, namespace: str, name: str, status: Json) -> Json | None:
        """A JSON merge patch of the status alone; None if the object is gone."""

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str | None = None) -> bool:
        """Delete it with all it owns, in the background; with `uid` only that very object. False if it was not there."""

    async def event(self, body: Json) -> None:
        """Tell an Event (core/events.py). A server that refuses Events stops nothing: the failure is logged."""


def selector(labels: Mapping[str, str]) -> str:
    """Labels as a selector."""
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))
