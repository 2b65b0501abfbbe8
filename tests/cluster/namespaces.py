"""The kernel's part of a cluster: namespaces, wire, cgroups; made, found again, and taken away.

Everything is found by name, address or inode from the layout, never by what an earlier run remembered
alone: a run that crashed leaves no note that can be trusted.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.cluster import layout as layouts
from tests.cluster.errors import ClusterError
from tests.cluster.plan import CGROUPS, OWN_CGROUPS, WIRE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from tests.cluster.layout import Layout

FIRST_PROCESS = Path(__file__).with_name("first_process.py")
PATIENCE = 20.0
"""Seconds for the kernel to do what takes it milliseconds on an idle machine."""


@dataclass(frozen=True)
class FirstProcess:
    """The namespaces' first process; the start time tells it from a later process with its pid."""

    pid: int
    started: str

    @property
    def alive(self) -> bool:
        """Tell whether this very process still runs."""
        return _started(self.pid) == self.started


def start(layout: Layout) -> FirstProcess:
    """Make namespaces and wire, and let the first process carry out `plan.json`."""
    for name in OWN_CGROUPS:
        (CGROUPS / name / layout.cgroup[1:] / "system").mkdir(parents=True, exist_ok=True)
    for hierarchy in _hierarchies():
        (hierarchy / layout.cgroup[1:]).mkdir(exist_ok=True)  # the kubelet wants its root to exist
    log = layout.logs / "first-process.log"
    unshare, go = _spawn(
        ["unshare", "--net", "--mount", "--pid", "--fork", sys.executable, str(FIRST_PROCESS), str(layout.state / "plan.json")],
        log,
    )
    with os.fdopen(go, "wb", buffering=0) as pipe:
        try:
            pid = _child(unshare)
            first = FirstProcess(pid, _started(pid) or "")
            (layout.state / "first-process.json").write_text(json.dumps(vars(first)))
            _wire(layout, pid)
            pipe.write(b"go\n")
        except (ClusterError, OSError) as error:
            # Without the word on the pipe the first process ends by itself.
            raise ClusterError(f"cannot make the cluster's namespaces: {error}\n{log.read_text()}") from error
    return first


def _spawn(command: list[str], log: Path) -> tuple[int, int]:
    """Start a process that outlives this one; return its pid and the writing end of its standard input.

    Not with subprocess, which warns of processes that nobody waits for.
    """
    reading, writing = os.pipe()
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    pid = os.posix_spawnp(
        command[0],
        command,
        os.environ,
        file_actions=[
            (os.POSIX_SPAWN_DUP2, reading, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), append, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )
    os.close(reading)
    return pid, writing


def find(state: Path) -> FirstProcess | None:
    """Return the living first process of a cluster, if there is one."""
    try:
        first = FirstProcess(**json.loads((state / "first-process.json").read_text()))
    except (OSError, ValueError, TypeError):
        return None
    return first if first.alive else None


def enter(first: FirstProcess, command: Sequence[str]) -> list[str]:
    """Return the command line that runs a command inside the namespaces."""
    return ["nsenter", f"--target={first.pid}", "--net", "--mount", "--pid", *command]


def remove(identity: str) -> None:
    """Take everything of a cluster away, whatever state it is in."""
    state = layouts.state_of(identity)
    first = find(state)
    if first is not None:
        _kill(first.pid)
    for pid in _members(identity):
        _kill(pid)
    _wait(lambda: not _members(identity), f"the cluster's processes do not end; see `{_ps(identity)}`")
    _unwire(layouts.veth_of(identity))
    for hierarchy in _hierarchies():
        _remove_cgroup(hierarchy / layouts.cgroup_of(identity)[1:])
    if state.exists():
        shutil.rmtree(state)
    with contextlib.suppress(OSError):  # other clusters' directories are beside ours
        layouts.DATA.rmdir()


def leftovers(identity: str) -> list[str]:
    """Return what is on this machine of a cluster: processes, mounts, wire, cgroups, data."""
    found = [f"process {pid}: {_command(pid)}" for pid in _members(identity)]
    state = layouts.state_of(identity)
    found += [f"mount {line.split()[4]}" for line in _mountinfo() if str(state) in line]
    if Path("/sys/class/net", layouts.veth_of(identity)).exists():
        found.append(f"interface {layouts.veth_of(identity)}")
    cgroups = [hierarchy / layouts.cgroup_of(identity)[1:] for hierarchy in _hierarchies()]
    found += [f"cgroup {cgroup}" for cgroup in cgroups if cgroup.exists()]
    if state.exists():
        found.append(f"directory {state}")
    return found


def _child(unshare: int) -> int:
    children = Path(f"/proc/{unshare}/task/{unshare}/children")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if _started(unshare) is None:
            raise ClusterError("unshare ended at once; are you root, with CAP_SYS_ADMIN?")
        if pids := children.read_text().split():
            return int(pids[0])
        time.sleep(0.005)
    raise ClusterError("unshare started nothing")


def _wire(layout: Layout, pid: int) -> None:
    _ip("link", "add", layout.veth, "type", "veth", "peer", "name", WIRE, "netns", str(pid))
    _ip("address", "add", f"{layout.host_ip}/30", "dev", layout.veth)
    _ip("link", "set", layout.veth, "up")


def _unwire(veth: str) -> None:
    if Path("/sys/class/net", veth).exists():
        # The kernel takes it away by itself, but later, once the namespace is gone.
        with contextlib.suppress(ClusterError):
            _ip("link", "delete", veth)
    _wait(lambda: not Path("/sys/class/net", veth).exists(), f"cannot delete interface {veth}")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise ClusterError(f"ip {' '.join(arguments)}: {done.stderr.strip()}")


def _hierarchies() -> list[Path]:
    """Return the mounted cgroup hierarchies: of version 1, and the unified one beside them."""
    return [path for path in CGROUPS.iterdir() if path.is_dir() and (path / "cgroup.procs").exists()]


def _members(identity: str) -> list[int]:
    """Return all processes in the cluster's cgroups, of any hierarchy, as pids of this namespace."""
    pids: set[int] = set()
    for hierarchy in _hierarchies():
        for procs in (hierarchy / layouts.cgroup_of(identity)[1:]).rglob("cgroup.procs"):
            with contextlib.suppress(OSError):
                pids.update(map(int, procs.read_text().split()))
    return sorted(pids - {0})


def _remove_cgroup(cgroup: Path) -> None:
    """Remove bottom up; a cgroup stays busy for a moment after its last process."""

    def gone() -> bool:
        for directory in sorted(_directories(cgroup), key=lambda path: -len(path.parts)):
            with contextlib.suppress(OSError):
                directory.rmdir()
        return not cgroup.exists()

    _wait(gone, f"cannot remove cgroup {cgroup}")


def _directories(top: Path) -> Iterator[Path]:
    for directory, _, _ in os.walk(top):
        yield Path(directory)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _wait(done: Callable[[], bool], failure: str) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        if time.monotonic() > deadline:
            raise ClusterError(failure)
        time.sleep(0.02)


def _started(pid: int) -> str | None:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else fields[19]


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return "gone"


def _mountinfo() -> list[str]:
    return Path("/proc/self/mountinfo").read_text().splitlines()


def _ps(identity: str) -> str:
    return f"ps -o pid,stat,args -p {','.join(map(str, _members(identity)))}"
