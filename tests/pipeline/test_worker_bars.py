"""What a worker costs: memory that does not grow with the data, and a start that does not keep anybody waiting."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path
from statistics import median

import pytest

from tests.pipeline.sites import Bucket, Site
from tests.pipeline.worker_process import ROOT

PEAK_MB = {"volume": (125, 100), "s3": (150, 115)}
"""Of a backup and of a restore: what holds today with some room. A release wants 120 for each; an upload's parts under way, and what
malloc keeps between them, are what is above it."""
START_CPU_SECONDS = 0.7
"""Of the processor, which a busy machine does not stretch as it does the clock."""


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """600 MB: noise, text that compresses well, zeros, and 2000 small files."""
    root = tmp_path_factory.mktemp("mixed")
    line = b'{"device": "boiler-7", "celsius": 71.25, "at": "2026-11-23T12:00:00Z"}\n'
    chance = random.Random(7)
    for number in range(4):
        (root / f"noise{number}").write_bytes(os.urandom(50 << 20))
        (root / f"telemetry{number}").write_bytes(line * ((40 << 20) // len(line)))
    with open(root / "zeros", "wb") as file:
        file.writelines(bytes(1 << 20) for _ in range(240))
    for number in range(2000):
        folder = root / f"folder{number % 50}"
        folder.mkdir(exist_ok=True)
        (folder / f"file{number}").write_bytes(chance.randbytes(chance.randrange(16_000)))
    return root


@pytest.mark.parametrize("bandwidth_limit", [None, 200_000_000])
def test_memory_does_not_grow_with_the_data(site: Site, mixed: Path, bandwidth_limit: int | None) -> None:
    done = site.backup(mixed, bandwidth_limit=bandwidth_limit)
    target = site.folder("target")
    back = site.restore(done.archive, target, bandwidth_limit=bandwidth_limit)
    assert back.restore.bytes == done.backup.source_bytes > 600_000_000
    print(f"peak: backup {done.peak_mb} MB, restore {back.peak_mb} MB; source reached after {done.seconds_to_source:.2f} s")
    backup, restore = PEAK_MB["s3" if isinstance(site.place, Bucket) else "volume"]
    assert 20 < done.peak_mb <= backup
    assert 20 < back.peak_mb <= restore
    subprocess.run(["diff", "-r", "--no-dereference", mixed, target], check=True)


def test_a_passphrase_does_not_cost_the_worker_memory(volume_site: Site, plant: Path) -> None:
    done = volume_site.backup(plant)
    back = volume_site.restore(done.archive, volume_site.folder("target"), identity=None)
    assert back.restore.files == 2
    assert back.peak_mb <= PEAK_MB["volume"][1]


def test_the_start_is_short_and_loads_nothing_heavy() -> None:
    program = (
        "import resource, sys, iot_backup.cli, iot_backup.worker.main, iot_backup.worker.backup, iot_backup.storage.s3\n"
        "used = resource.getrusage(resource.RUSAGE_SELF)\n"
        "heavy = {'boto3', 'botocore', 'kopf', 'kubernetes', 'aiohttp', 'asyncio', 'requests', 'rich', 'prometheus_client'} & set(sys.modules)\n"
        "print(used.ru_utime + used.ru_stime, *heavy)\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "operator"), "PYTHONPYCACHEPREFIX": "/tmp/iot-backup-operator-pycache"}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)
    answers = [
        subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(4)
    ]
    assert {tuple(answer[1:]) for answer in answers} == {()}
    assert median(float(answer[0]) for answer in answers[1:]) <= START_CPU_SECONDS
