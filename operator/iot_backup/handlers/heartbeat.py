"""Proof that changes still reach us: a Lease of our own is touched each minute, and its echo must come through kopf's watches.

A timer proves nothing about watches; a watch of its own would prove nothing about kopf's.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from iot_backup import vocabulary
from iot_backup.cluster import resources
from iot_backup.cluster.client import ApiError, Json

if TYPE_CHECKING:
    from iot_backup.handlers.context import Context

NAME = f"{vocabulary.OPERATOR}-heartbeat"
EVERY = timedelta(minutes=1)
DEAD_AFTER = timedelta(minutes=3, seconds=30)
"""Three beats without an echo."""

log = logging.getLogger(__name__)


class Heartbeat:
    """The last echo, and whether it is too long ago."""

    def __init__(self, ctx: Context) -> None:
        self._ctx = ctx
        self._echo: datetime = ctx.clock()

    def heard(self, lease: Json) -> None:
        """The Lease came through the watch."""
        if lease["metadata"]["name"] == NAME:
            self._echo = self._ctx.clock()

    @property
    def age(self) -> timedelta:
        return self._ctx.clock() - self._echo

    async def run(self) -> None:
        """Beat until cancelled. A beat that fails is no reason to stop: the age tells."""
        while True:
            try:
                await self._ctx.client.apply(resources.LEASES, self._lease())
            except ApiError as error:
                log.warning("heartbeat was not taken: %s", error)
            await asyncio.sleep(EVERY.total_seconds())

    def _lease(self) -> Json:
        return {
            "apiVersion": resources.LEASES.api_version,
            "kind": resources.LEASES.kind,
            "metadata": {
                "name": NAME,
                "namespace": self._ctx.settings.heartbeat_namespace,
                "labels": {vocabulary.MANAGED_BY: vocabulary.OPERATOR},
            },
            "spec": {
                "holderIdentity": vocabulary.OPERATOR,
                "leaseDurationSeconds": int(DEAD_AFTER.total_seconds()),
                "renewTime": self._ctx.clock().strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
            },
        }
