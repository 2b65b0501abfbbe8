"""The first process of a cluster's namespaces: prepares them, runs the components, reaps orphans.

It runs as a plain script with only the standard library. Its end is the cluster's end: the kernel then
kills whatever is left in the namespaces and drops their mounts. It starts a component again that dies,
as a node's service manager would, and notes each death in `deaths`, which `up` looks at.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

RESTART_AFTER = 1.0
"""Seconds before a dead component starts again: a program that fails at once must not burn a core."""
TICK = 0.05
"""Seconds between looks at children and at ports that components wait for."""

Component = Mapping[str, Any]


def main() -> None:
    """Wait for the word that the wire is in place, prepare, then run until killed."""
    plan = json.loads(Path(sys.argv[1]).read_text())
    for directory in plan["cgroups"]:
        Path(directory, "cgroup.procs").write_text("0")
    if sys.stdin.readline() != "go\n":
        sys.exit("the starter ended before the namespaces were wired")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir("/")
    for command in plan["setup"]:
        _run(command)
    for name, value in plan["sysctls"].items():
        Path("/proc/sys", *name.split(".")).write_text(value)
    supervise(plan["components"], Path(plan["logs"]), Path(plan["deaths"]))


def supervise(components: Sequence[Component], logs: Path, deaths: Path) -> None:
    """Start each component when the port it waits for answers; start the dead ones again."""
    due: dict[str, float] = {component["name"]: 0.0 for component in components}
    running: dict[int, Component] = {}
    by_name = {component["name"]: component for component in components}
    while True:
        now = time.monotonic()
        for name in [name for name, when in due.items() if when <= now]:
            if _ready(by_name[name].get("wait_for")):
                running[_start(by_name[name], logs)] = by_name[name]
                del due[name]
        while (ended := _reap()) is not None:
            pid, status = ended
            component = running.pop(pid, None)
            if component is not None:
                with deaths.open("a") as file:
                    file.write(json.dumps({"name": component["name"], "status": status}) + "\n")
                due[component["name"]] = now + RESTART_AFTER
        time.sleep(TICK)


def _start(component: Component, logs: Path) -> int:
    with (logs / f"{component['name']}.log").open("ab") as log:
        # Not subprocess: its bookkeeping would compete with _reap for the exit statuses.
        pid = os.fork()
        if pid:
            return pid
        try:
            os.setsid()
            signal.signal(signal.SIGPIPE, signal.SIG_DFL)
            os.dup2(log.fileno(), 1)
            os.dup2(log.fileno(), 2)
            os.chdir("/")
            os.execve(component["argv"][0], component["argv"], {**os.environ, **component.get("environment", {})})
        except OSError as error:
            os.write(2, f"cannot start {component['argv'][0]}: {error}\n".encode())
        finally:
            os._exit(127)


def _reap() -> tuple[int, int] | None:
    try:
        pid, status = os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        return None
    return (pid, os.waitstatus_to_exitcode(status)) if pid else None


def _ready(wait_for: Sequence[Any] | str | None) -> bool:
    if wait_for is None:
        return True
    if isinstance(wait_for, str):
        return Path(wait_for).exists()
    try:
        socket.create_connection((wait_for[0], wait_for[1]), timeout=1).close()
    except OSError:
        return False
    return True


def _run(command: Sequence[str]) -> None:
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: {done.stdout.strip()}")


if __name__ == "__main__":
    main()
