"""Watches objects and notes when each fact was first seen, on this machine's clock: the server's own times are whole seconds."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable
from typing import Any

from tests.cluster import Cluster

Fact = Callable[[dict[str, Any]], str | None]
"""Names what is newly true of an object, None for nothing."""


class Observer:
    """`kubectl get KIND --watch` in a namespace; remembers when (kind, name, fact) was first seen, monotonic seconds."""

    def __init__(self, cluster: Cluster, namespace: str, kinds: dict[str, Fact]) -> None:
        self._seen: dict[tuple[str, str, str], float] = {}
        self._news = threading.Condition()
        self._processes: list[subprocess.Popen[str]] = []
        self._threads: list[threading.Thread] = []
        for kind, fact in kinds.items():
            command = [str(cluster.kubectl), f"--kubeconfig={cluster.kubeconfig}", "-n", namespace, "get", kind, "--watch", "-o", "json"]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
            self._processes.append(process)
            thread = threading.Thread(target=self._read, args=(kind, process, fact), daemon=True)
            thread.start()
            self._threads.append(thread)

    def _read(self, kind: str, process: subprocess.Popen[str], fact: Fact) -> None:
        decoder, pending = json.JSONDecoder(), ""
        assert process.stdout is not None
        for row in process.stdout:
            pending += row
            if row.rstrip() != "}":
                continue
            try:
                body, end = decoder.raw_decode(pending)
            except ValueError:
                continue
            pending = pending[end:].lstrip()
            self._note(kind, body, fact)

    def _note(self, kind: str, body: dict[str, Any], fact: Fact) -> None:
        name = body["metadata"]["name"]
        with self._news:
            now = time.monotonic()
            for found in ("seen", fact(body)):
                if found:
                    self._seen.setdefault((kind, name, found), now)
            self._news.notify_all()

    def when(self, kind: str, prefix: str, fact: str, deadline: float = 300) -> float:
        """When the fact was first seen of the object whose name begins so; waits for it."""
        with self._news:
            found = self._news.wait_for(lambda: self._find(kind, prefix, fact), timeout=deadline)
        if not found:
            raise TimeoutError(f"{kind} {prefix}*: {fact} was not seen within {deadline:.0f} s")
        return found

    def _find(self, kind: str, prefix: str, fact: str) -> float | None:
        return next((at for (k, name, what), at in self._seen.items() if k == kind and name.startswith(prefix) and what == fact), None)

    def close(self) -> None:
        for process in self._processes:
            process.terminate()
            process.wait()
        for thread in self._threads:
            thread.join()


def condition(name: str) -> Fact:
    """The fact `name=True` or `name=False` of a condition."""

    def fact(body: dict[str, Any]) -> str | None:
        for entry in body.get("status", {}).get("conditions") or ():
            if entry["type"] == name and entry["status"] != "Unknown":
                return f"{name}={entry['status']}"
        return None

    return fact


def ended(body: dict[str, Any]) -> str | None:
    """The fact `ended` of a pod whose first container has ended."""
    states = body.get("status", {}).get("containerStatuses") or ()
    return "ended" if states and "terminated" in states[0].get("state", {}) else None
