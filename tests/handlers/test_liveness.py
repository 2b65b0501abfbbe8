"""Liveness: /healthz answers 200 only while changes come back through the watches."""

from __future__ import annotations

import urllib.error
import urllib.request
from datetime import timedelta
from typing import TYPE_CHECKING

from iot_backup.handlers.heartbeat import NAME

if TYPE_CHECKING:
    from .conftest import World


def _healthz(world: World) -> int:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{world.settings.health_port}/healthz", timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:  # nobody listens yet, or answers in time
        return 0


def test_the_operator_is_alive_while_its_heartbeat_comes_back(idle: World, unused_port: int) -> None:
    idle.watch_over(unused_port)
    idle.start()
    idle.until(lambda: _healthz(idle) == 200)
    lease = idle.until(lambda: idle.cluster.get("leases", NAME))
    assert lease["metadata"]["labels"]["app.kubernetes.io/managed-by"] == "iot-backup-operator"


def test_without_an_echo_it_counts_as_dead(idle: World, unused_port: int) -> None:
    idle.watch_over(unused_port)
    idle.start()
    idle.until(lambda: idle.cluster.get("leases", NAME))
    idle.shift = timedelta(minutes=10)
    idle.until(lambda: _healthz(idle) == 500)
