"""Seeded trees for the engine's benchmarks, the same on every machine but for the binaries in A.

A  20 files of 100 MB: 8 random, 7 telemetry as JSON lines, 5 of this machine's programs and libraries     2.0 GB
B  100 000 JSON files of 1-16 KB in 500 folders                                                            870 MB
C  the data folder of a PostgreSQL server that was stopped, pgbench at scale 50                            1.05 GB
D  1 000 000 empty files in 1000 folders

`change` alters about 1 % of a tree in place. All sizes shrink with `scale`.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

FILE = 100_000_000
FILES_B = 100_000
FILES_D = 1_000_000
SCALE_C = 50
BLOCK = 4 << 20
POSTGRES_USER = "postgres"


def make(name: str, folder: Path, scale: float = 1.0) -> None:
    """Make the tree in an empty folder."""
    folder.mkdir(parents=True)
    {"A": _mixed, "B": _small_files, "C": _database, "D": _empty_files}[name](folder, scale)


def change(name: str, folder: Path, scale: float = 1.0) -> None:
    """Change about 1 %: regions of files (A), whole files (B), rows (C). D has nothing to change."""
    {"A": _change_regions, "B": _change_files, "C": _change_rows}[name](folder, scale)


def _telemetry(rng: random.Random, size: int) -> bytes:
    devices = [f"{rng.getrandbits(32):08x}" for _ in range(500)]
    lines: list[str] = []
    have, at = 0, 1_700_000_000_000
    while have < size:
        at += rng.randrange(1, 900)
        values = {
            "ts": at,
            "device": rng.choice(devices),
            "temperature": round(rng.gauss(21, 4), 2),
            "humidity": round(rng.uniform(20, 95), 1),
            "battery": rng.randrange(100),
            "rssi": -rng.randrange(30, 110),
            "seq": rng.getrandbits(24),
        }
        lines.append(json.dumps(values) + "\n")
        have += len(lines[-1])
    return "".join(lines).encode()[:size]


def _mixed(folder: Path, scale: float) -> None:
    rng = random.Random(1)
    size = int(FILE * scale)
    pool = _telemetry(rng, min(24_000_000, max(size, 1 << 17)))
    programs = _programs()
    for number in range(20):
        with (folder / f"file{number:02d}.bin").open("wb") as file:
            left = size
            while left:
                if number < 8:
                    block = rng.randbytes(min(left, BLOCK))
                elif number < 15:
                    block = _slice(rng, pool, left) if left <= size * 0.8 else _telemetry(rng, min(left, BLOCK))
                else:
                    block = next(programs)[:left]
                file.write(block)
                left -= len(block)


def _slice(rng: random.Random, pool: bytes, most: int) -> bytes:
    at = rng.randrange(len(pool) - (1 << 16))
    return pool[at : at + (1 << 16)][:most]


def _programs() -> Iterator[bytes]:
    """This machine's programs, over and over."""
    paths = [path for path in sorted(Path("/usr/bin").iterdir()) if path.is_file() and not path.is_symlink() and path.stat().st_size]
    while True:
        for path in paths:
            yield path.read_bytes()


def _small_files(folder: Path, scale: float) -> None:
    rng = random.Random(2)
    pool = _telemetry(rng, 16_000_000)
    for number in range(int(FILES_B * scale)):
        below = folder / f"tenant{number % 50:02d}" / f"grp{number // 50 % 10}"
        below.mkdir(parents=True, exist_ok=True)
        size = rng.randrange(1024, 16384)
        at = rng.randrange(len(pool) - size)
        (below / f"device-{number:06d}.json").write_bytes(pool[at : at + size])


def _empty_files(folder: Path, scale: float) -> None:
    for outer in range(1000):
        below = folder / f"folder-{outer:03d}"
        below.mkdir()
        for number in range(int(FILES_D * scale) // 1000):
            os.close(os.open(below / f"sensor-{number:04d}", os.O_CREAT | os.O_WRONLY, 0o644))


def _database(folder: Path, scale: float) -> None:
    shutil.chown(folder, POSTGRES_USER)
    folder.chmod(0o700)
    _as_postgres("initdb", "-D", str(folder), "-k", "-A", "trust", "-U", "postgres")
    _pgbench(folder, "-U", "postgres", "-i", "-q", "-s", str(max(1, int(SCALE_C * scale))))


def _pgbench(folder: Path, *arguments: str) -> None:
    """Start the folder's server on a socket of its own, run pgbench, stop it."""
    with tempfile.TemporaryDirectory(prefix="pgsock") as sockets:
        shutil.chown(sockets, POSTGRES_USER)
        options = f"-c listen_addresses='' -c unix_socket_directories={sockets} -c port=54329 -c max_wal_size=256MB -c fsync=off"
        _as_postgres("pg_ctl", "-D", str(folder), "-w", "-o", options, "-l", f"{sockets}/log", "start")
        try:
            _as_postgres("pgbench", "-h", sockets, "-p", "54329", *arguments, "postgres")
        finally:
            _as_postgres("pg_ctl", "-D", str(folder), "-w", "-m", "fast", "stop")


def _as_postgres(program: str, *arguments: str) -> None:
    found = [*sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{program}"), reverse=True)]
    command = ["runuser", "-u", POSTGRES_USER, "--", str(found[0]) if found else program, *arguments]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd="/")


def _change_regions(folder: Path, _scale: float) -> None:
    """Five regions of four files: 1 % of the bytes, 20 % of the files."""
    rng = random.Random(11)
    paths = sorted(folder.iterdir())
    for path in (paths[1], paths[9], paths[12], paths[16]):
        size = path.stat().st_size
        region = min(1 << 20, max(1, size // 100))
        with path.open("r+b") as file:
            for _ in range(5):
                file.seek(rng.randrange(size - region))
                file.write(rng.randbytes(region))


def _change_files(folder: Path, _scale: float) -> None:
    """1 % of the files: of ten, eight are rewritten, one is new, one goes."""
    rng = random.Random(12)
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    for number, path in enumerate(rng.sample(paths, max(10, len(paths) // 100))):
        if number % 10 < 8:
            path.write_bytes(_telemetry(rng, rng.randrange(1024, 16384)))
        elif number % 10 == 8:
            path.with_suffix(".new").write_bytes(_telemetry(rng, 4096))
        else:
            path.unlink()


def _change_rows(folder: Path, scale: float) -> None:
    """820 random rows: about 1 % of the pages of the largest table."""
    _pgbench(folder, "-U", "postgres", "-n", "-N", "-t", str(max(1, int(820 * scale))), "--random-seed=5")
