"""Waiting for a cluster under way: with a deadline, and with an eye on components that die."""

from __future__ import annotations

import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING

from tests.cluster import namespaces
from tests.cluster.errors import ClusterError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from tests.cluster.layout import Layout

LOOK_EVERY = 0.05
LOG_LINES = 15


class Watch:
    """Waits on behalf of one cluster."""

    def __init__(self, layout: Layout) -> None:
        """Remember where the cluster notes deaths."""
        self._layout = layout

    def until(self, what: str, met: Callable[[], bool], seconds: float = 60) -> None:
        """Return once met() holds; a component's death or the deadline is an error."""
        deadline = time.monotonic() + seconds
        while not met():
            self.check_deaths()
            if time.monotonic() > deadline:
                raise ClusterError(f"{what}: not after {seconds:.0f} s; see `python -m tests.cluster logs`, then `down` and `up` again")
            time.sleep(LOOK_EVERY)

    def command(self, what: str, command: Sequence[str | Path], seconds: float = 60, given: str = "") -> None:
        """Run a command to its successful end."""
        with subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process:
            assert process.stdin is not None
            assert process.stdout is not None
            process.stdin.write(given)
            process.stdin.close()
            try:
                self.until(what, lambda: process.poll() is not None, seconds)
            finally:
                process.kill()
                output = process.stdout.read()
        if process.returncode:
            raise ClusterError(f"{what} failed:\n{output.strip()}")

    def check_deaths(self) -> None:
        """Raise if a component died, or the first process, which ends them all."""
        if namespaces.find(self._layout.state) is None:
            raise ClusterError(f"the cluster's first process died:\n{self._tail('first-process')}")
        deaths = self._layout.state / "deaths"
        if not deaths.exists() or not (lines := deaths.read_text().splitlines()):
            return
        death = json.loads(lines[0])
        raise ClusterError(
            f"{death['name']} died with status {death['status']}:\n{self._tail(death['name'])}\n"
            "mend what it says, then run `up` again, which starts afresh"
        )

    def _tail(self, component: str) -> str:
        log = self._layout.logs / f"{component}.log"
        lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:]
        return "\n".join([f"the end of {log}:", *lines])

    def api_ready(self) -> bool:
        """Tell whether the API server says that it is ready."""
        trust = ssl.create_default_context(cafile=str(self._layout.state / "pki/ca.crt"))
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=trust))
        try:
            with direct.open(f"{self._layout.api_url}/readyz", timeout=2) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
