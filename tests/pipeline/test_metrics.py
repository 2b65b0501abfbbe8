"""What `run` tells Prometheus: right by promtool, scraped by a real Prometheus, and never going back."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from iot_backup.standalone import configfile, metrics
from iot_backup.standalone import journal as keeping
from iot_backup.standalone.journal import Journal
from iot_backup.standalone.records import Record
from iot_backup.standalone.scheduling import metrics as scheduling
from tests.pipeline.manager import Manager, wait_until
from tests.pipeline.worker_process import PATIENCE
from tests.ports import free_port

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEEDS = {"backup_jobs_total", "backup_jobs_failed_total", "backup_duration_seconds", "backup_size_bytes", "last_backup_timestamp"}
CONFIG = """
backup:
  site: plant-7
  storage: {local: {path: /backups}}
  jobs:
    - {id: db, type: full, source: /data}
    - {id: never, type: full, source: /other}
    - {id: "off", type: full, source: /other, enabled: false}
"""


def record(status: str, number: int = 0, size: int = 10) -> Record:
    start = NOON + timedelta(hours=number)
    stored = status in ("completed", "partial")
    return Record(
        "db",
        "full",
        status,
        f"{number:016x}" if stored else None,
        start_time=start,
        end_time=start + timedelta(seconds=4),
        size_bytes=size if stored else 0,
        source_bytes=30,
        files=3,
        warnings=("A: b",) if status == "partial" else (),
    )


def exposition(tmp_path: Path, *records: Record) -> bytes:
    config, problems = configfile.checked(CONFIG, "backup.yml", {})
    assert config is not None, problems
    journal = Journal(tmp_path)
    for each in records:
        journal.add(each)
    return metrics.exposition(config, journal, NOON)


def samples(text: bytes, job: str = "db") -> dict[str, float]:
    families = text_string_to_metric_families(text.decode())
    return {
        sample.name + "".join(f" {name}={value}" for name, value in sample.labels.items() if name not in ("namespace", "job")): sample.value
        for family in families
        for sample in family.samples
        if sample.labels.get("job") == job
    }


def test_every_job_has_its_series_from_the_start(tmp_path: Path) -> None:
    found = samples(exposition(tmp_path), "never")
    assert (found["backup_jobs_total"], found["backup_jobs_failed_total"], found["backup_duration_seconds_count"]) == (0, 0, 0)
    assert "last_backup_timestamp" not in found, "a time that there is none of is not 1970"


SUCCESS = "iot_backup_backup_last_success_timestamp_seconds"


def test_an_alert_by_age_sees_the_job_that_never_worked(tmp_path: Path) -> None:
    text = exposition(tmp_path, record("failed", 1), record("partial", 2))
    assert [samples(text, job).get(SUCCESS) for job in ("db", "never", "off")] == [0, 0, None], "a job that is off owes no backup"
    assert samples(exposition(tmp_path, record("completed", 3)))[SUCCESS] == (NOON + timedelta(hours=3, seconds=4)).timestamp()


def test_an_alert_by_age_does_not_end_by_failing_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeping, "KEPT", 5)
    names = (SUCCESS, "last_backup_timestamp", "backup_size_bytes", "iot_backup_backup_last_source_size_bytes")
    before = samples(exposition(tmp_path, record("completed", 0), record("partial", 1, size=20)))
    after = samples(exposition(tmp_path, *(record("failed", number) for number in range(2, 40))))
    assert [after[name] for name in names] == [before[name] for name in names]
    assert (after["backup_jobs_total"], after["backup_jobs_failed_total"], after["backup_duration_seconds_count"]) == (40, 38, 2)


def test_a_line_of_the_journal_that_is_no_record_does_not_end_the_metrics(tmp_path: Path) -> None:
    exposition(tmp_path, record("completed"))
    with (tmp_path / "records/db.jsonl").open("a") as file:
        file.write("0\nnull\n[1]\n")
    assert samples(exposition(tmp_path))["backup_jobs_total"] == 1


def test_runs_are_counted_by_how_they_ended(tmp_path: Path) -> None:
    runs = [record("completed", 0), record("failed", 1), record("partial", 2, size=20), record("cancelled", 3), record("failed", 4)]
    found = samples(exposition(tmp_path, *runs))
    assert (found["backup_jobs_total"], found["backup_jobs_failed_total"]) == (5, 2)
    assert (found["backup_duration_seconds_count"], found["backup_duration_seconds_sum"]) == (2, 8)
    assert (found["backup_duration_seconds_bucket le=2.5"], found["backup_duration_seconds_bucket le=5.0"]) == (0, 2)
    assert (found["backup_size_bytes"], found["last_backup_timestamp"]) == (20, (NOON + timedelta(hours=2, seconds=4)).timestamp())
    assert found["iot_backup_backup_last_success_timestamp_seconds"] == (NOON + timedelta(seconds=4)).timestamp()
    assert found["iot_backup_backups_total result=failed"] == 2


def test_the_seeds_names_are_there_and_all_others_begin_with_ours(tmp_path: Path) -> None:
    text = exposition(tmp_path, record("completed")).decode()
    names = {line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")}
    assert names >= SEEDS
    assert {name for name in names - SEEDS if not name.startswith("iot_backup_")} == set()
    assert 'backup_size_bytes{job="db",namespace="plant-7"} 10.0' in text or 'backup_size_bytes{namespace="plant-7",job="db"} 10.0' in text


def checked(text: bytes) -> str:
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    return done.stdout.decode() + done.stderr.decode()


def test_promtool_finds_nothing_wrong(tmp_path: Path) -> None:
    last = {
        "start_time": "2026-03-01T12:00:00Z",
        "end_time": "2026-03-01T12:01:00Z",
        "ok": True,
        "backups": 2,
        "failed": [],
        "files": 3,
        "bytes": 4,
    }
    own = scheduling.of_schedule({"db": NOON}, {}, 1)
    verifier = scheduling.of_verifications({"verification": NOON}, {}, last)
    for text in (own + exposition(tmp_path, record("completed")), verifier):
        # What a name of the seed lacks by promtool's taste stays: dashboards know it so.
        assert [line for line in checked(text).splitlines() if line.split()[0] not in SEEDS] == []


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    source = tmp_path / "source"
    source.mkdir()
    (source / "reading").write_text("21.5")
    return Manager(
        tmp_path,
        f"{{local: {{path: {tmp_path / 'store'}}}}}",
        [{"id": "db", "type": "full", "source": str(source), "schedule": "0 3 1 1 *"}, {"id": "broken", "source": str(tmp_path / "gone")}],
    )


@contextmanager
def prometheus(tmp_path: Path, target: int) -> Iterator[int]:
    """A server that scrapes the target each second; its port."""
    port, folder = free_port(), tmp_path / "prometheus"
    folder.mkdir()
    scrape = {"job_name": "site", "honor_labels": True, "static_configs": [{"targets": [f"127.0.0.1:{target}"]}]}
    (folder / "prometheus.yml").write_text(json.dumps({"global": {"scrape_interval": "1s"}, "scrape_configs": [scrape]}))
    program = shutil.which("prometheus")
    assert program, "the packages of tests/cluster/packages.txt have it"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                program,
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
            ],
            stdout=log,
            stderr=log,
        )
        try:
            yield port
        finally:
            process.terminate()
            process.wait(PATIENCE)


def asked(port: int, query: str) -> list[dict[str, Any]]:
    url = f"http://127.0.0.1:{port}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return list(json.load(answer)["data"]["result"])
    except OSError:
        return []


def test_a_real_prometheus_scrapes_a_real_scheduler(manager: Manager, tmp_path: Path) -> None:
    completed = manager.record("db")
    manager.record("broken", code=66)
    listen = free_port()
    process = manager.start("run", "--listen", f"127.0.0.1:{listen}")
    try:
        with prometheus(tmp_path, listen) as port:
            wait_until("it is scraped", lambda: asked(port, 'backup_jobs_total{job="db"}'), process)

            def value(query: str) -> float:
                """After a scrape that took longer than its second, as on a busy machine, there is none until the next one."""
                answers: list[list[dict[str, Any]]] = []
                wait_until(query, lambda: answers.append(asked(port, query)) or answers[-1], process)
                (found,) = answers[-1]
                return float(found["value"][1])

            assert value('backup_jobs_total{namespace="default",job="db"}') == 1
            assert value('backup_jobs_failed_total{job="broken"}') == 1
            assert value('backup_size_bytes{job="db"}') == completed["size_bytes"]
            assert abs(time.time() - value('last_backup_timestamp{job="db"}')) < 600
            assert value('iot_backup_schedule_next_timestamp_seconds{job="db"}') > time.time()
            assert value('histogram_quantile(0.9, backup_duration_seconds_bucket{job="db"})') > 0
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)
