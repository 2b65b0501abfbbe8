"""Settings: one mapping in, every mistake named by its variable."""

from __future__ import annotations

from datetime import timedelta

import pytest

from iot_backup.errors import InvalidSpec
from iot_backup.settings import Settings

IMAGE = {"IOT_BACKUP_WORKER_IMAGE": "worker:1"}


def test_the_image_is_enough() -> None:
    assert Settings.from_mapping({**IMAGE, "HOME": "/", "IOT_BACKUP_WATCH_NAMESPACES": " "}) == Settings(worker_image="worker:1")


def test_everything_can_be_set() -> None:
    names = {
        "WORKER_PULL_POLICY": "Never",
        "WORKER_PULL_SECRETS": "a, b",
        "NAMESPACE": "here",
        "WATCH_NAMESPACES": "x,y",
        "LOG_LEVEL": "debug",
        "LOG_FORMAT": "json",
        "HEALTH_PORT": "0",
        "METRICS_PORT": "9",
        "RESYNC_SECONDS": "60",
    }
    found = Settings.from_mapping({**IMAGE, **{f"IOT_BACKUP_{key}": value for key, value in names.items()}})
    assert found == Settings("worker:1", "Never", ("a", "b"), "here", ("x", "y"), "debug", "json", 0, 9, timedelta(minutes=1))


@pytest.mark.parametrize(
    ("watched", "namespace", "expected"), [((), "here", "here"), (("x", "here"), "here", "here"), (("x", "y"), "here", "x")]
)
def test_the_heartbeat_is_where_it_is_watched(watched: tuple[str, ...], namespace: str, expected: str) -> None:
    assert Settings("i", watch_namespaces=watched, namespace=namespace).heartbeat_namespace == expected


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("WORKER_IMAGE", ""),
        ("WORKER_PULL_POLICY", "always"),
        ("LOG_LEVEL", "loud"),
        ("LOG_FORMAT", "xml"),
        ("HEALTH_PORT", "70000"),
        ("METRICS_PORT", "-1"),
        ("RESYNC_SECONDS", "5m"),
        ("RESYNC_SECONDS", "0"),
    ],
)
def test_a_mistake_is_named(name: str, value: str) -> None:
    with pytest.raises(InvalidSpec, match=f"IOT_BACKUP_{name}"):
        Settings.from_mapping({**IMAGE, f"IOT_BACKUP_{name}": value})
