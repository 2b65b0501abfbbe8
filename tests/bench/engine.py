"""`make bench`: the engine beside what else people use, on the trees of corpora.py; docs/benchmarks.md says what the figures mean.

    python -m tests.bench.engine [--scale 1] [--rounds 3] [--only A,B,C,D,E] [--work FOLDER]

Prints two tables, the figures and the bars; what happens meanwhile goes to standard error. An interrupt ends it with what was measured so far.
The trees are kept in the cache, by name and scale, and so are the tools that had to be built; all else goes at the end.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.bench import bars, getting, object_store, peers
from tests.bench.places import Workshop
from tests.bench.tasks import Bench
from tests.cluster import cache
from tests.cluster.errors import ClusterError

PARTS = "ABCDE"
"""The trees A to D; E is A into S3."""


def main() -> None:
    asked = _asked()
    trees = cache.root() / "bench"
    trees.mkdir(exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what was measured is still told, and nothing left behind
    missing = getting.all_of_them()
    others = [tool for tool in peers.PEERS if tool.here]
    begun, load = time.monotonic(), os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="iot-bench-", dir=asked.work) as work:
        bench = Bench(Workshop(Path(work), trees, asked.scale), asked.rounds, others)
        try:
            run(bench, asked.only)
        finally:
            print(bench.table.text())
            print(f"\n{bars.text(bars.judged(bench.table.lines, bench.beyond))}")
            for tool in peers.PEERS:
                if tool not in others:
                    print(f"\n{tool.name} is not here: {missing.get(tool.name, missing.get('packages', 'it is not on the PATH'))}")
            own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 // 1_000_000
            print(f"\nThe benchmark itself has {own} MB: no smaller peak can be told.")
            took, loads = (time.monotonic() - begun) / 60, f"load {load:.1f} before and {os.getloadavg()[0]:.1f} after"
            print(f"\nScale {asked.scale:g}, best of {asked.rounds}, {os.cpu_count()} cores, {loads}, {took:.0f} min.", flush=True)


def run(bench: Bench, parts: Sequence[str]) -> None:
    """All tasks of these parts."""
    changing = [name for name in "AC" if name in parts]
    for name in changing:
        bench.shop.copy_early(name)
    bench.nothing()
    for name in "ABC":
        if name in parts:
            bench.tree(name)
    for name in changing:
        bench.changed(name)
    if "A" in parts:
        bench.one_file("A")
    if "B" in parts:
        bench.cold("B")
    if "E" in parts:
        _into_s3(bench)
    if "D" in parts:
        bench.empty_files()


def _into_s3(bench: Bench) -> None:
    try:
        with object_store.running(bench.shop.work / "minio") as store:
            bench.into_s3(store)
    except ClusterError as error:
        bench.table.say(f"Nothing was measured on S3: {error}")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--scale", type=float, default=1.0, help="of the trees")
    parser.add_argument("--rounds", type=int, default=3, help="of each task but those that say otherwise (docs/benchmarks.md)")
    parser.add_argument("--only", type=_parts, default=",".join(PARTS), help="some of A,B,C,D,E")
    parser.add_argument("--work", type=Path, default=Path("/var/tmp"), help="a folder of the disk that is written to")
    return parser.parse_args()


def _parts(text: str) -> list[str]:
    parts = text.split(",")
    if not set(parts) <= set(PARTS):
        raise argparse.ArgumentTypeError(f"takes some of {','.join(PARTS)}")
    return parts


if __name__ == "__main__":
    main()
