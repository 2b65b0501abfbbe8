"""Runs in the demo's workload: a few hundred MB of what an IoT platform keeps, the same at every run."""

import json
import os
import random
import shutil
import sys
import sysconfig
from pathlib import Path

DAY = 86_400


def fill(root: Path) -> None:
    rng = random.Random(20261123)
    telemetry(root / "telemetry", rng)
    firmware(root / "firmware", rng)
    registry(root / "registry", rng)
    shutil.copytree(sysconfig.get_paths()["stdlib"], root / "gateway" / "runtime", symlinks=True, ignore_dangling_symlinks=True)
    odd_ones(root / "odd")


def telemetry(folder: Path, rng: random.Random) -> None:
    """Four weeks of measurements, one file a day."""
    folder.mkdir(parents=True)
    for day in range(28):
        file = folder / f"2026-10-{day + 1:02d}.jsonl"
        with file.open("w") as out:
            for i in range(60_000):
                row = {
                    "device": f"sensor-{rng.randrange(5000):05d}",
                    "at": 1_790_000_000 + day * DAY + i,
                    "celsius": round(rng.gauss(21, 4), 2),
                    "ok": True,
                }
                out.write(json.dumps(row) + "\n")
        os.utime(file, ns=(0, (1_790_000_000 + day * DAY) * 10**9 + 123_456_789))


def firmware(folder: Path, rng: random.Random) -> None:
    """Images that do not compress, and a link to the newest."""
    folder.mkdir()
    for version in range(1, 13):
        (folder / f"gateway-1.{version}.bin").write_bytes(rng.randbytes(8 << 20))
    (folder / "current").symlink_to("gateway-1.12.bin")


def registry(folder: Path, rng: random.Random) -> None:
    """Thousands of small files, as device registries have them."""
    for device in range(4000):
        place = folder / f"{device % 64:02x}"
        place.mkdir(parents=True, exist_ok=True)
        file = place / f"sensor-{device:05d}.json"
        file.write_text(json.dumps({"id": device, "key": rng.randbytes(24).hex(), "tags": rng.sample(["roof", "hall", "pump", "gate"], 2)}))
        file.chmod(0o640 if device % 3 else 0o600)


def odd_ones(folder: Path) -> None:
    """What tools like to lose."""
    folder.mkdir(mode=0o750)
    (folder / "empty").mkdir(mode=0o700)
    (folder / "Straße zum 传感器 🌡").write_text("names in any language\n")
    (folder / ("long-" + "x" * 200)).write_text("longer than a tar header\n")
    os.close(os.open(os.path.join(os.fsencode(folder), b"not \xff utf-8"), os.O_CREAT | os.O_WRONLY, 0o604))
    (folder / "zero").touch()
    (folder / "dangling").symlink_to("nowhere/at/all")
    (folder / "first").write_text("one file, two names\n")
    (folder / "second").hardlink_to(folder / "first")
    (folder / "tool").write_text("#!/bin/sh\n")
    (folder / "tool").chmod(0o2755)
    os.mkfifo(folder / "pipe")
    os.utime(folder / "zero", ns=(0, 981_173_106 * 10**9 + 1))


if __name__ == "__main__":
    target = Path(sys.argv[1])
    if not (target / "telemetry").exists():
        fill(target)
