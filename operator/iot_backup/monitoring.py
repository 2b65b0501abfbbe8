"""Every metric of the operator, and the verbs that move them.

Counters and the histogram move on transitions the operator saw; gauges are set from the objects. A BackupJob's series go with it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info, disable_created_metrics, start_http_server

from iot_backup.core.totals import BUCKETS

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable
    from wsgiref.simple_server import WSGIServer

_LABELS = ("namespace", "job")
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The operator's metrics, in a registry of their own."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        self._runs = Counter("backup_jobs_total", "Backup runs that ended, cancelled ones included.", _LABELS, registry=self.registry)
        self._failed = Counter("backup_jobs_failed_total", "Backup runs that failed.", _LABELS, registry=self.registry)
        self._duration = Histogram(
            "backup_duration_seconds",
            "How long completed runs took, from start to commit.",
            _LABELS,
            buckets=BUCKETS,
            registry=self.registry,
        )
        self._size = Gauge("backup_size_bytes", "Size in the store of the newest completed backup.", _LABELS, registry=self.registry)
        self._last = Gauge(
            "last_backup_timestamp",
            "When the newest completed backup was committed, in seconds since 1970.",
            _LABELS,
            registry=self.registry,
        )
        Info("iot_backup_build", "Version of the operator.", registry=self.registry).info({"version": version})

    def job_seen(self, namespace: str, job: str) -> None:
        """Counters begin at 0, so that the first failure is an increase."""
        self._runs.labels(namespace, job)
        self._failed.labels(namespace, job)

    def run_ended(self, namespace: str, job: str, *, failed: bool, seconds: float | None) -> None:
        """A run was seen to end; `seconds` only for completed ones."""
        self._runs.labels(namespace, job).inc()
        if failed:
            self._failed.labels(namespace, job).inc()
        if seconds is not None:
            self._duration.labels(namespace, job).observe(seconds)

    def last_backup(self, namespace: str, job: str, *, size: int, timestamp: float) -> None:
        """The newest completed backup, from its object."""
        self._size.labels(namespace, job).set(size)
        self._last.labels(namespace, job).set(timestamp)

    def job_gone(self, namespace: str, job: str) -> None:
        """The BackupJob was deleted."""
        for metric in (self._runs, self._failed, self._duration, self._size, self._last):
            metric.remove_by_labels({"namespace": namespace, "job": job})

    def serve(self, port: int) -> Callable[[], None]:
        """Serve /metrics in a thread of its own; call the answer to stop it."""
        server: WSGIServer
        thread: threading.Thread
        server, thread = start_http_server(port, registry=self.registry)

        def stop() -> None:
            server.shutdown()
            server.server_close()
            thread.join()

        return stop
