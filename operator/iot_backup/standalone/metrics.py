"""What a site's runs tell Prometheus, from the journal alone: made anew at each scrape, so nothing has to be kept in step.

The first five names are those that dashboards of the field have; everything else begins with `iot_backup_`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from datetime import datetime
from itertools import accumulate

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from iot_backup import __version__
from iot_backup.core.totals import BUCKETS, RESULTS, Totals
from iot_backup.standalone.config import Backup
from iot_backup.standalone.journal import Journal
from iot_backup.standalone.records import COMPLETED, PARTIAL, Record

_LABELS = ("namespace", "job")
_SUCCESS = "iot_backup_backup_last_success_timestamp_seconds"


def exposition(config: Backup, journal: Journal, now: datetime) -> bytes:  # noqa: ARG001 - times are told, not ages
    """In Prometheus' text format. Every job of the config has its series from the start; the namespace is the site."""
    registry = CollectorRegistry()
    jobs = list(dict.fromkeys([*(job.id for job in config.jobs), *journal.jobs()]))
    expected = {job.id for job in config.jobs if job.enabled}
    registry.register(_Journal(config.site, [(job, journal.totals(job), journal.of(job)) for job in jobs], expected))
    return generate_latest(registry)


class _Journal(Collector):
    def __init__(self, site: str, jobs: Sequence[tuple[str, Totals, Sequence[Record]]], expected: Collection[str]) -> None:
        """`expected`: ids of the jobs that should have backups."""
        self._site, self._jobs, self._expected = site, jobs, expected

    def collect(self) -> Iterator[Metric]:
        yield from self._of_all_runs()
        yield from self._of_the_newest()
        info = GaugeMetricFamily("iot_backup_build_info", "1, for its label: the version that runs.", labels=["version"])
        info.add_metric([__version__], 1)
        yield info

    def _of_all_runs(self) -> Iterator[Metric]:
        runs = CounterMetricFamily("backup_jobs", "Backup runs that ended, cancelled ones included.", labels=_LABELS)
        failed = CounterMetricFamily("backup_jobs_failed", "Backup runs that failed.", labels=_LABELS)
        took = HistogramMetricFamily("backup_duration_seconds", "How long runs took that left a backup.", labels=_LABELS)
        results = CounterMetricFamily("iot_backup_backups", "Backup runs by how they ended.", labels=[*_LABELS, "result"])
        for job, totals, _ in self._jobs:
            labels = [self._site, job]
            runs.add_metric(labels, totals.runs)
            failed.add_metric(labels, totals.failed)
            counts = list(accumulate(totals.durations))
            bounds = [*map(str, BUCKETS), "+Inf"]
            took.add_metric(labels, list(zip(bounds, counts, strict=True)), totals.seconds)
            for result in RESULTS:
                results.add_metric([*labels, result], totals.results.get(result, 0))
        yield from (runs, failed, took, results)

    def _of_the_newest(self) -> Iterator[Metric]:
        gauges = {
            name: GaugeMetricFamily(name, text, labels=_LABELS)
            for name, text in (
                ("backup_size_bytes", "Size in the storage of the newest backup."),
                ("last_backup_timestamp", "When the newest backup was complete, in seconds since 1970."),
                ("iot_backup_backup_last_completion_timestamp_seconds", "When the last run ended, however it did."),
                (_SUCCESS, "When the newest complete backup was complete; 0 for an enabled job that this machine knows none of."),
                ("iot_backup_backup_last_duration_seconds", "How long the run of the newest backup took."),
                ("iot_backup_backup_last_size_bytes", "Size in the storage of the newest backup."),
                ("iot_backup_backup_last_source_size_bytes", "What the newest backup holds."),
                ("iot_backup_backup_last_files", "Files that the newest backup holds."),
                ("iot_backup_backup_last_warnings", "Warnings of the last run."),
            )
        }
        for job, _, records in self._jobs:
            # An alert by age must not be blind to the job that has never worked: its backup is older than any.
            never = {_SUCCESS: 0.0} if job in self._expected else {}
            for name, value in (never | _newest(records)).items():
                gauges[name].add_metric([self._site, job], value)
        yield from gauges.values()


def _newest(records: Sequence[Record]) -> dict[str, float]:
    """What there is to say of a job's last run and of its newest backup."""
    if not records:
        return {}
    last = records[-1]
    found: dict[str, float] = {"iot_backup_backup_last_warnings": len(last.warnings)}
    if last.end_time:
        found["iot_backup_backup_last_completion_timestamp_seconds"] = last.end_time.timestamp()
    if whole := next((record for record in reversed(records) if record.status == COMPLETED and record.end_time), None):
        assert whole.end_time is not None, "it was asked for"
        found[_SUCCESS] = whole.end_time.timestamp()
    newest = next((record for record in reversed(records) if record.status in (COMPLETED, PARTIAL)), None)
    if newest is None or newest.end_time is None or newest.start_time is None:
        return found
    return found | {
        "backup_size_bytes": newest.size_bytes,
        "last_backup_timestamp": newest.end_time.timestamp(),
        "iot_backup_backup_last_duration_seconds": (newest.end_time - newest.start_time).total_seconds(),
        "iot_backup_backup_last_size_bytes": newest.size_bytes,
        "iot_backup_backup_last_source_size_bytes": newest.source_bytes,
        "iot_backup_backup_last_files": newest.files,
    }
