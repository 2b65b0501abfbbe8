"""The operator as one object: what is seen goes into the cache and the queue, the queue goes to the reconcilers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from iot_backup import __version__, vocabulary
from iot_backup.cluster import resources
from iot_backup.cluster.client import ApiError, Json, KubeClient
from iot_backup.handlers import adopting, backupjobs, backups, restorejobs, routing, storages
from iot_backup.handlers.context import Context, utc_now
from iot_backup.handlers.heartbeat import Heartbeat
from iot_backup.handlers.queue import Key, WorkQueue
from iot_backup.monitoring import Metrics

if TYPE_CHECKING:
    from iot_backup.cluster.resources import Resource
    from iot_backup.settings import Settings

log = logging.getLogger(__name__)

MANAGED = f"{vocabulary.MANAGED_BY}={vocabulary.OPERATOR}"
WATCHED: dict[Resource, str | None] = {
    **dict.fromkeys(resources.OWN),
    resources.JOBS: MANAGED,
    resources.PODS: MANAGED,
    resources.CRON_JOBS: MANAGED,
    resources.CLAIMS: None,
}
"""What is watched and listed, and the label selector for it."""

Reconciler = Callable[[Context, Key], Awaitable[timedelta | None]]
_RECONCILERS: dict[str, Reconciler] = {
    "BackupStorage": storages.reconcile,
    "BackupJob": backupjobs.reconcile,
    "Backup": backups.reconcile,
    "RestoreJob": restorejobs.reconcile,
    routing.JOB: adopting.reconcile,
}


class Operator:
    """Knows nothing of kopf: it is told of objects, and asks the client for the rest."""

    def __init__(self, client: KubeClient, settings: Settings, clock: Callable[[], datetime] = utc_now) -> None:
        self.queue = WorkQueue(self._reconcile)
        self.context = Context(client, settings, Metrics(__version__), self.queue.add, clock)
        self.heartbeat = Heartbeat(self.context)

    async def seen(self, resource: Resource, body: Json, *, deleted: bool) -> None:
        """An object is new, changed or gone."""
        cache = self.context.cache
        if deleted:
            cache.drop(resource, body)
            await self._gone(resource, body)
        elif not cache.put(resource, body):
            return
        for key in routing.concerned(cache, resource, body):
            await self.queue.add(key)

    async def sync(self) -> None:
        """List everything and look at all of it: at the start, and now and then, whatever the watches said."""
        for resource, selector in WATCHED.items():
            before = self.context.cache.snapshot(resource)
            listed = [item for namespace in self._namespaces for item in await self.context.client.list(resource, namespace, selector)]
            for body in self.context.cache.renew(resource, listed, before):
                await self._gone(resource, body)
        for resource in (*resources.OWN, resources.JOBS):
            for body in self.context.cache.select(resource):
                for key in routing.concerned(self.context.cache, resource, body):
                    await self.queue.add(key)

    async def sync_forever(self) -> None:
        """Sync every `settings.resync`, until cancelled."""
        while True:
            await asyncio.sleep(self.context.settings.resync.total_seconds())
            try:
                await self.sync()
            except ApiError as error:
                log.warning("resync: %s; the next one comes in %s", error, self.context.settings.resync)

    @property
    def _namespaces(self) -> tuple[str | None, ...]:
        return self.context.settings.watch_namespaces or (None,)

    async def _reconcile(self, key: Key) -> timedelta | None:
        return await _RECONCILERS[key.kind](self.context, key)

    async def _gone(self, resource: Resource, body: Json) -> None:
        """A deleted Backup takes its Job along, never its archive."""
        namespace = body["metadata"]["namespace"]
        run = body.get("spec", {}).get("run") if resource == resources.BACKUPS else None
        if run:
            job = self.context.cache.get(resources.JOBS, namespace, run.get("jobName", ""))
            if job is not None:
                self.context.cache.drop(resources.JOBS, job)
            await self.context.client.delete(resources.JOBS, namespace, run["jobName"], run["jobUID"])
