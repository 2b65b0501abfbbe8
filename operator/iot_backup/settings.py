"""The operator's settings: one frozen object from a mapping, the only reader of the environment."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Self

from iot_backup.errors import InvalidSpec

if TYPE_CHECKING:
    from collections.abc import Mapping

PREFIX = "IOT_BACKUP_"
_POLICIES = ("Always", "IfNotPresent", "Never")
_LEVELS = ("debug", "info", "warning", "error")
_FORMATS = ("text", "json")


@dataclass(frozen=True)
class Settings:
    """Of the operator process."""

    worker_image: str
    """IOT_BACKUP_WORKER_IMAGE, required: whole name of the image the workers run."""
    worker_pull_policy: str = "IfNotPresent"
    """IOT_BACKUP_WORKER_PULL_POLICY."""
    worker_pull_secrets: tuple[str, ...] = ()
    """IOT_BACKUP_WORKER_PULL_SECRETS: names, comma-separated; each must be in the namespace of the run."""
    namespace: str = "default"
    """IOT_BACKUP_NAMESPACE: where the operator is, for its heartbeat."""
    watch_namespaces: tuple[str, ...] = ()
    """IOT_BACKUP_WATCH_NAMESPACES, comma-separated; empty = all."""
    log_level: str = "info"
    """IOT_BACKUP_LOG_LEVEL."""
    log_format: str = "text"
    """IOT_BACKUP_LOG_FORMAT."""
    health_port: int = 8080
    """IOT_BACKUP_HEALTH_PORT: /healthz; 0 = none."""
    metrics_port: int = 9090
    """IOT_BACKUP_METRICS_PORT: /metrics; 0 = none."""
    resync: timedelta = timedelta(minutes=5)
    """IOT_BACKUP_RESYNC_SECONDS: how often everything is looked at, even if no change was seen."""

    @property
    def heartbeat_namespace(self) -> str:
        """One that is watched, so that the heartbeat's echo comes through the same watches."""
        watched = self.watch_namespaces
        return self.namespace if not watched or self.namespace in watched else watched[0]

    @classmethod
    def from_mapping(cls, environ: Mapping[str, str]) -> Self:
        """Read and check all. Raises InvalidSpec that names the variable."""
        values = {key.removeprefix(PREFIX): value.strip() for key, value in environ.items() if key.startswith(PREFIX) and value.strip()}
        if "WORKER_IMAGE" not in values:
            raise InvalidSpec(f"{PREFIX}WORKER_IMAGE is not set: name the image the workers run, usually the operator's own")
        return cls(
            worker_image=values["WORKER_IMAGE"],
            worker_pull_policy=_one_of(values, "WORKER_PULL_POLICY", _POLICIES, "IfNotPresent"),
            worker_pull_secrets=_names(values.get("WORKER_PULL_SECRETS", "")),
            namespace=values.get("NAMESPACE", "default"),
            watch_namespaces=_names(values.get("WATCH_NAMESPACES", "")),
            log_level=_one_of(values, "LOG_LEVEL", _LEVELS, "info"),
            log_format=_one_of(values, "LOG_FORMAT", _FORMATS, "text"),
            health_port=_number(values, "HEALTH_PORT", 8080, 0, 65535),
            metrics_port=_number(values, "METRICS_PORT", 9090, 0, 65535),
            resync=timedelta(seconds=_number(values, "RESYNC_SECONDS", 300, 1, 86400)),
        )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def _one_of(values: Mapping[str, str], key: str, allowed: tuple[str, ...], default: str) -> str:
    value = values.get(key, default)
    if value not in allowed:
        raise InvalidSpec(f"{PREFIX}{key}={value!r} is not one of {', '.join(allowed)}")
    return value


def _number(values: Mapping[str, str], key: str, default: int, low: int, high: int) -> int:
    text = values.get(key, str(default))
    if not text.isdecimal() or not low <= int(text) <= high:
        raise InvalidSpec(f"{PREFIX}{key}={text!r} is not a number from {low} to {high}")
    return int(text)
