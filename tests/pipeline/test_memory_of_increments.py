"""An increment's memory does not grow with the number of files, whether they are unchanged, new, or gone."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.worker_process import ROOT

FILES = 20_000
LIMIT_MB = 85
"""Imports and buffers; a path and its row are some 300 bytes, so that all of them would be 6 MB and, as Python's objects, 30 MB."""

CHILD = """
import os, sys, threading
sys.setswitchinterval(0.001)
from iot_backup.crypto.container import sealer, PassThroughReader
from iot_backup.crypto.identity import Identity
from iot_backup.repository.reading import Pull
from iot_backup.worker import packing
from iot_backup.worker.compression import Decompressed
from iot_backup.worker.earlier import Earlier
from iot_backup.worker.packing import Destination, pack

recipient = Identity(b"\\x42" * 32).recipient
source, store, number = sys.argv[1], sys.argv[2], int(sys.argv[3])
ahead = number * 10_000_000_000
real = packing.time.clock_gettime_ns
packing.time.clock_gettime_ns = lambda clock: real(clock) + ahead

def sink(name):
    def write(chunks):
        with open(os.path.join(store, f"{name}{number}"), "wb") as file:
            for chunk in chunks:
                file.write(chunk)
    return write

def stored(name):
    with open(os.path.join(store, name), "rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk

base = Earlier(Decompressed(PassThroughReader(Pull(stored(f"s{number - 1}"))))) if number else None
archives = [*(base.archives if base else ()), f"{number:016x}"]
pack(
    os.open(source, os.O_RDONLY),
    Destination(sealer(recipient, "Age"), sink("a")),
    Destination(sealer(recipient, "Age"), sink("i")),
    archives=archives,
    level=1,
    stop=threading.Event(),
    state=Destination(sealer(None, "None"), sink("s")),
    base=base,
)
# Not ru_maxrss: that one remembers the parent of before exec.
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")))
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    (tmp_path / "store").mkdir()
    for folder in range(20):
        (tmp_path / "source" / f"folder{folder:02d}").mkdir(parents=True)
        for number in range(FILES // 20):
            os.close(os.open(tmp_path / "source" / f"folder{folder:02d}" / f"file{number}", os.O_CREAT | os.O_WRONLY))
    return tmp_path


def backed_up(base: Path, number: int) -> tuple[float, int]:
    """Peak in MB, and bytes of the archive."""
    done = subprocess.run(
        [sys.executable, "-c", CHILD, base / "source", base / "store", str(number)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
    )
    assert done.returncode == 0, done.stderr
    peak: float = json.loads(done.stdout)
    return peak, (base / "store" / f"a{number}").stat().st_size


def test_many_files(base: Path) -> None:
    first, size = backed_up(base, 0)
    unchanged, stored = backed_up(base, 1)
    assert stored < 1000
    for folder in range(10):
        shutil.rmtree(base / "source" / f"folder{folder:02d}")
    gone, _ = backed_up(base, 2)
    for folder in range(10, 20):
        (base / "source" / f"folder{folder:02d}").rename(base / "source" / f"moved{folder:02d}")
    moved, stored = backed_up(base, 3)
    assert stored > size // 4
    peaks = first, unchanged, gone, moved
    print(f"peaks: {peaks}")
    assert max(peaks) < LIMIT_MB
