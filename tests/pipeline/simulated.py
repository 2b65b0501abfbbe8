"""`backup-manager` on another day: `python -m tests.pipeline.simulated <seconds ahead> <command> ...`, a process of its own like any other.

Clocks are SECONDS ahead, and what a local storage says of an object written meanwhile, too. What was written by an earlier day's process
has that day's time, once `dated` gave it to it. Sources keep their real times.
"""

from __future__ import annotations

import os
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import time_machine

_MINUTE = 60.0


def dated(store: Path, moment: datetime) -> None:
    """Give every object that is younger than a simulated day's ones this time. `moment`: before the next day's."""
    for folder, _, names in os.walk(store):
        for name in names:
            path = Path(folder, name)
            if abs(path.stat().st_mtime - time.time()) < 10 * _MINUTE:
                os.utime(path, (moment.timestamp(),) * 2)


def _install(ahead: timedelta, real: float) -> None:
    from iot_backup.storage import volume

    told = volume._time

    def simulated(found: os.stat_result) -> datetime:
        written = told(found)
        return written + ahead if abs(written.timestamp() - real) < 10 * _MINUTE else written

    volume._time = simulated


def main() -> None:
    """Command line and exit codes are backup-manager's."""
    ahead, real = timedelta(seconds=float(sys.argv[1])), time.time()
    sys.argv[1:2] = []
    with time_machine.travel(datetime.now(UTC) + ahead, tick=True):
        from iot_backup.cli import main as command

        _install(ahead, real)
        command(prog_name="backup-manager")


if __name__ == "__main__":
    main()
