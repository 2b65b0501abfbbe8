"""What every reconciler is given: the API server, what was seen of it, the clock, and the few verbs they share."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from iot_backup.cluster import resources
from iot_backup.core import events, jobs
from iot_backup.core.conditions import Type, difference
from iot_backup.core.templates import Image
from iot_backup.handlers import routing
from iot_backup.handlers.cache import Cache

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from iot_backup.cluster.client import Json, KubeClient
    from iot_backup.cluster.resources import Resource
    from iot_backup.core.events import Event
    from iot_backup.handlers.queue import Key
    from iot_backup.monitoring import Metrics
    from iot_backup.settings import Settings

log = logging.getLogger(__name__)


def utc_now() -> datetime:
    return datetime.now(UTC)


@dataclass
class Context:
    """One operator."""

    client: KubeClient
    settings: Settings
    metrics: Metrics
    enqueue: Callable[[Key], Awaitable[None]]
    clock: Callable[[], datetime] = utc_now
    cache: Cache = field(default_factory=Cache)
    starting: defaultdict[Key, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    """Held while a run is started that no other may accompany."""
    told: set[str] = field(default_factory=set)
    """What was told once and need not be told again, such as foreign Jobs by uid."""

    @property
    def image(self) -> Image:
        return Image(self.settings.worker_image, self.settings.worker_pull_policy, self.settings.worker_pull_secrets)

    def now(self) -> str:
        return iso(self.clock())

    async def set_status(self, resource: Resource, body: Json, wanted: Json, about: Type) -> bool:
        """Write the status if it differs, and tell the transition of its leading condition. False if nothing differed."""
        current: Json = body.get("status") or {}
        patch = difference(current, wanted)
        if not patch:
            return False
        metadata = body["metadata"]
        fresh = await self.client.patch_status(resource, metadata["namespace"], metadata["name"], patch)
        if fresh is None:
            return False
        await self.remember(resource, fresh)
        for event in events.transition(current, wanted, about):
            await self.tell(body, event)
        return True

    async def tell(self, body: Mapping[str, Any], event: Event) -> None:
        level = logging.WARNING if event.type == "Warning" else logging.INFO
        log.log(
            level, "%s %s/%s: %s: %s", body["kind"], body["metadata"]["namespace"], body["metadata"]["name"], event.reason, event.message
        )
        await self.client.event(events.body(event, body, self.now()))

    def count_run(self, namespace: str, backup_job: str, *, failed: bool, seconds: float | None) -> None:
        """A run was seen to end; without its BackupJob there is no series to move."""
        if self.cache.get(resources.BACKUP_JOBS, namespace, backup_job) is not None:
            self.metrics.run_ended(namespace, backup_job, failed=failed, seconds=seconds)

    async def create(self, resource: Resource, body: Json) -> Json:
        """Create and remember at once: the watch brings it only later. Raises AlreadyExistsError."""
        made = await self.client.create(resource, body)
        await self.remember(resource, made)
        return made

    async def remember(self, resource: Resource, body: Json) -> None:
        """Take over what we wrote, and look at all it concerns: the watch will bring it as something known already."""
        if self.cache.put(resource, body):
            for key in routing.concerned(self.cache, resource, body):
                await self.enqueue(key)

    async def end_job(self, job: Mapping[str, Any], *, replaced_by: str | None = None) -> None:
        """Stop a Job's pods and let it fail; nothing if that was done before."""
        if job.get("spec", {}).get("activeDeadlineSeconds") == jobs.ending()["spec"]["activeDeadlineSeconds"]:
            return
        metadata = job["metadata"]
        fresh = await self.client.patch(resources.JOBS, metadata["namespace"], metadata["name"], jobs.ending(replaced_by))
        if fresh is not None:
            self.cache.put(resources.JOBS, fresh)

    async def job(self, namespace: str, name: str) -> Json | None:
        """The Job as it was seen, else as the server has it: a Job just made may not have been seen yet."""
        seen = self.cache.get(resources.JOBS, namespace, name)
        if seen is not None:
            return seen
        fresh = await self.client.get(resources.JOBS, namespace, name)
        if fresh is not None:
            self.cache.put(resources.JOBS, fresh)
        return fresh


def iso(moment: datetime) -> str:
    """RFC 3339 in whole seconds, as the API server writes times."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def soonest(*waits: timedelta | None) -> timedelta | None:
    """The shortest wait; None where none is needed."""
    return min((w for w in waits if w is not None), default=None)
