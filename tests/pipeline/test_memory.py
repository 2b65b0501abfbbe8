"""Memory does not grow with the data: measured in a child, against what the imports alone need."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.chains import with_rows
from tests.pipeline.roundtrip import back_up, rows

ROOT = Path(__file__).resolve().parents[2]
LIMIT_MB = 110
CHAIN_LIMIT_MB = 165
"""A frame of each archive stays in memory."""

CHILD = """
import json, os, sys, threading
sys.setswitchinterval(0.001)
from iot_backup.crypto.age import PlainReader
from iot_backup.crypto.container import sealer
from iot_backup.crypto.identity import Identity
from iot_backup.crypto.ranged import RangedReader
from iot_backup.repository.reading import Pull
from iot_backup.worker.compression import Decompressed
from iot_backup.worker.extract import Rules
from iot_backup.worker.index_reader import IndexReader
from iot_backup.worker.packing import Destination, pack
from iot_backup.worker.unpacking import Source, unpack

identity = Identity(b"\\x42" * 32)
what, source, store, target = sys.argv[1:]

def sink(name):
    def write(chunks):
        with open(os.path.join(store, name), "wb") as file:
            for chunk in chunks:
                file.write(chunk)
    return write

def stored(name):
    with open(os.path.join(store, name), "rb") as file:
        while chunk := file.read(1 << 20):
            yield chunk

def archive(id):
    descriptor = os.open(os.path.join(store, id), os.O_RDONLY)
    with open(os.path.join(store, id + ".header")) as file:
        header = file.read()
    def fetch(start, length):
        return os.pread(descriptor, length, start)
    return Source(lambda: RangedReader(fetch, os.fstat(descriptor).st_size, "Age", identity, header))

if what == "pack":
    root = os.open(source, os.O_RDONLY)
    id = "0" * 16
    sealers = sealer(identity.recipient, "Age"), sealer(identity.recipient, "Age")
    packed = pack(root, Destination(sealers[0], sink(id)), Destination(sealers[1], sink("index")), archives=[id], level=1, stop=threading.Event())
    with open(os.path.join(store, id + ".header"), "w") as file:
        file.write(packed.archive.header_sha256)
else:
    root = os.open(target, os.O_RDONLY)
    rows = IndexReader(Decompressed(PlainReader(Pull(stored("index")), identity)))
    unpack(rows, [archive(id) for id in rows.archives], root, Rules(), threading.Event())
# Not ru_maxrss: that one remembers the parent of before exec.
with open("/proc/self/status") as status:
    print(next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM")))
"""


def peak_mb(what: str, base: Path) -> float:
    done = subprocess.run(
        [sys.executable, "-c", CHILD, what, base / "source", base / "store", base / "target"],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT / "operator")},
    )
    assert done.returncode == 0, done.stderr
    peak: float = json.loads(done.stdout)
    print(what, peak)
    return peak


@pytest.fixture
def base(tmp_path: Path) -> Path:
    for name in ("source", "store", "target"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_a_file_that_compresses_a_thousandfold(base: Path) -> None:
    with open(base / "source" / "zeros", "wb") as file:
        file.writelines(bytes(1 << 20) for _ in range(300))
    assert peak_mb("pack", base) < LIMIT_MB
    assert (base / "store" / ("0" * 16)).stat().st_size < 1 << 20
    assert peak_mb("unpack", base) < LIMIT_MB
    assert (base / "target" / "zeros").stat().st_size == 300 << 20


def test_a_file_that_does_not_compress(base: Path) -> None:
    with open(base / "source" / "noise", "wb") as file:
        file.writelines(os.urandom(5 << 20) for _ in range(20))
    assert peak_mb("pack", base) < LIMIT_MB
    assert peak_mb("unpack", base) < LIMIT_MB


def test_many_files(base: Path) -> None:
    for folder in range(20):
        (base / "source" / f"folder{folder}").mkdir()
        for number in range(500):
            (base / "source" / f"folder{folder}" / f"file{number}").write_bytes(b"%d" % number)
    assert peak_mb("pack", base) < 80
    assert peak_mb("unpack", base) < 80
    assert sum(len(files) for _, _, files in os.walk(base / "target")) == 10_000


def test_the_size_of_an_archive_does_not_count(base: Path) -> None:
    peaks = []
    for count in (60, 240):
        with open(base / "source" / f"noise{count}", "wb") as file:
            file.writelines(os.urandom(1 << 20) for _ in range(count))
        peak_mb("pack", base)
        peaks.append(peak_mb("unpack", base))
    assert peaks[1] < peaks[0] + 10


def test_a_chain_of_thirty_whose_rows_need_each_archive_in_turn(base: Path) -> None:
    """Each of them has more frames than are kept, and each frame is read once all the same."""
    members, lines = [], {}
    for number in range(30):
        source = base / f"source{number}"
        source.mkdir()
        for at in range(300):
            (source / f"{at:04}-{number:02}").write_bytes(os.urandom(20_000))
        members.append(back_up(source))
        lines |= {row.path: row._replace(archive=number) for row in rows(members[-1])}
    chain = with_rows(members[-1], [lines[path] for path in sorted(lines)], 30)
    (base / "store" / "index").write_bytes(chain.index)
    for number, member in enumerate(members):
        (base / "store" / f"{number:016x}").write_bytes(member.archive)
        (base / "store" / f"{number:016x}.header").write_text(member.packed.archive.header_sha256)
    assert sum(len(member.archive) for member in members) > 150_000_000
    assert peak_mb("unpack", base) < CHAIN_LIMIT_MB
    assert len(os.listdir(base / "target")) == 9000
