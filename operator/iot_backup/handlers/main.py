"""Wires kopf to the operator: kopf logs in, watches, reconnects and serves /healthz; it never writes to an object."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import kopf

from iot_backup import logs, vocabulary
from iot_backup.cluster import connection, resources
from iot_backup.cluster.rest import RestClient
from iot_backup.handlers.context import utc_now
from iot_backup.handlers.heartbeat import DEAD_AFTER
from iot_backup.handlers.operator import MANAGED, WATCHED, Operator

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from iot_backup.cluster.resources import Resource
    from iot_backup.settings import Settings

log = logging.getLogger(__name__)

_NAME: Any = vocabulary.OPERATOR
"""kopf's word for this process. It would ask the system for the user's name, and in a container no user may have one."""


def run(settings: Settings) -> None:
    """Run the operator until it is told to stop."""
    logs.configure(settings.log_level, settings.log_format)
    asyncio.run(serve(settings))


async def serve(
    settings: Settings,
    *,
    stop: asyncio.Event | None = None,
    ready: asyncio.Event | None = None,
    clock: Callable[[], datetime] = utc_now,
) -> None:
    """The same, inside a loop; `ready` is set once it watches, `stop` ends it."""
    config = await connection.configuration()
    async with RestClient(config) as client:
        operator = Operator(client, settings, clock)
        registry = kopf.OperatorRegistry()
        _register_login(registry, config)
        _register_life(registry, operator, settings)
        for resource in (*WATCHED, resources.LEASES):
            _register_watch(registry, operator, resource)
        await kopf.operator(
            registry=registry,
            settings=kopf_settings(settings),
            standalone=True,
            identity=_NAME,
            clusterwide=not settings.watch_namespaces,
            namespaces=settings.watch_namespaces,
            liveness_endpoint=f"http://0.0.0.0:{settings.health_port}/healthz" if settings.health_port else None,
            stop_flag=stop,
            ready_flag=ready,
        )


def kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """kopf's own settings."""
    own = kopf.OperatorSettings()
    own.persistence.finalizer = f"kopf.{vocabulary.GROUP}/finalizer"
    own.peering.standalone = True
    own.posting.enabled = False  # Events go through KubeClient, on transitions only
    own.watching.connect_timeout = 10
    own.watching.server_timeout = 300
    own.watching.chunk_size = 500
    for resource, selector in {**WATCHED, resources.LEASES: MANAGED}.items():
        if selector:
            own.watching.label_selectors[resource.group, resource.version, resource.plural] = selector
    own.networking.request_timeout = 30
    own.networking.connect_timeout = 10
    # With a Role there is no right to list namespaces and definitions; the latter must be there before the operator.
    own.scanning.disabled = bool(settings.watch_namespaces)
    return own


def _register_login(registry: kopf.OperatorRegistry, config: Any) -> None:
    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        """Asked again whenever the server says 401: a service account's token is renewed by the kubelet."""
        told = await connection.login(config)
        return kopf.ConnectionInfo(
            server=told.server,
            ca_path=told.ca_file,
            insecure=told.insecure,
            scheme="Bearer" if told.token else None,
            token=told.token,
            certificate_path=told.certificate_file,
            private_key_path=told.key_file,
        )


def _register_life(registry: kopf.OperatorRegistry, operator: Operator, settings: Settings) -> None:
    tasks: list[asyncio.Task[None]] = []
    closing: list[Callable[[], None]] = []

    @kopf.on.startup(registry=registry)
    async def started(**_: Any) -> None:
        """See everything before anything is decided: a Job that was not seen yet must not look deleted."""
        if settings.metrics_port:
            closing.append(operator.context.metrics.serve(settings.metrics_port))
        await operator.sync()
        loops = (operator.queue.run(), operator.sync_forever(), operator.heartbeat.run())
        tasks.extend(asyncio.create_task(loop) for loop in loops)

    @kopf.on.cleanup(registry=registry)
    async def stopped(**_: Any) -> None:
        """kopf waits for every task made in its loop, and these never end by themselves."""
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for close in closing:
            await asyncio.to_thread(close)

    @kopf.on.probe(registry=registry, id="heartbeat-age-seconds", errors=kopf.ErrorsMode.PERMANENT)
    async def echo(**_: Any) -> float:
        """Seconds since the heartbeat's last echo; an error, and so HTTP 500, if that is too long."""
        age = operator.heartbeat.age
        if age > DEAD_AFTER or any(task.done() for task in tasks):
            raise kopf.PermanentError(f"no echo of the heartbeat for {age.total_seconds():.0f} s, or a loop has ended")
        return age.total_seconds()


def _register_watch(registry: kopf.OperatorRegistry, operator: Operator, resource: Resource) -> None:
    @kopf.on.event(resource.group, resource.version, resource.plural, registry=registry)
    async def seen(event: kopf.RawEvent, **_: Any) -> None:
        body = dict(event["object"])
        if resource == resources.LEASES:
            operator.heartbeat.heard(body)
        else:
            await operator.seen(resource, body, deleted=event["type"] == "DELETED")
