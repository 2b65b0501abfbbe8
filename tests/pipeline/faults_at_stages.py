"""Runs inside a worker process: its store fails once, at one stage of a backup, in one way."""

from __future__ import annotations

import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from iot_backup.errors import StorageFull, StorageUnavailable

STAGES = {
    "announce": ("create", "announce/"),
    "archive": ("create_stream", ".tar.zst"),
    "index": ("create_stream", ".index"),
    "state": ("create_stream", ".state"),
    "manifest": ("create", ".manifest.json"),
    "look again": ("head", ".tar.zst"),
    "withdraw": ("delete", "announce/"),
}
"""Stage to the call of the store that makes it, and what its key contains. `look again` counts only once the manifest is there."""
FAULTS = ("killed before", "killed midway", "killed after", "stopped", "refused", "answer lost", "full", "lied to")

BEFORE = {"killed before": signal.SIGKILL}
DURING = {"killed midway": signal.SIGKILL, "stopped": signal.SIGTERM}
"""In the middle of a stream; calls without one are struck before they are made."""

_PATIENCE = 60.0
_heard = threading.Event()
"""The run knows that it is to stop: a thread of its own takes the signal, and could be later than the stage's end."""


class FaultyStore:
    """Everything else goes to the real store as it is."""

    def __init__(self, inner: Any, stage: str, fault: str) -> None:
        self._inner, self._fault = inner, fault
        self._stage = stage
        self._method, self._part = STAGES[stage]
        self._committed = self._struck = False

    def __getattr__(self, name: str) -> Any:
        act = getattr(self._inner, name)
        if name not in ("create", "create_stream", "head", "delete", "read"):
            return act

        def call(key: str, *arguments: Any, **options: Any) -> Any:
            if self._hits(name, key):
                self._struck = True
                return self._fail(name, act, key, *arguments, **options)
            if name == "create" and ".manifest.json" in key:
                self._committed = True
            return act(key, *arguments, **options)

        return call

    def _hits(self, name: str, key: str) -> bool:
        if self._struck or name != self._method or self._part not in key:
            return False
        return self._stage != "look again" or self._committed

    def _fail(self, name: str, act: Callable[..., Any], key: str, *arguments: Any, **options: Any) -> Any:
        fault, streams = self._fault, name == "create_stream"
        if fault == "refused":
            raise StorageUnavailable(f"503 at {key}: try again later")
        if fault == "full":
            raise StorageFull(f"no room for {key}: add some")
        if fault == "lied to" and name in ("create", "create_stream"):
            return deque(arguments[0], maxlen=0) if streams else None
        if number := BEFORE.get(fault) or (DURING.get(fault) if not streams else None):
            _strike(number)
        if streams and fault in DURING:
            arguments = (_struck_midway(arguments[0], DURING[fault]), *arguments[1:])
        answer = act(key, *arguments, **options)
        if fault == "killed after":
            _strike(signal.SIGKILL)
        if fault == "answer lost":
            raise StorageUnavailable(f"the connection was cut after {key}")
        return answer


def _struck_midway(chunks: Iterable[bytes], number: signal.Signals) -> Iterator[bytes]:
    """The first half of what comes first, then the signal, then the rest."""
    for at, chunk in enumerate(chunks):
        if at == 0:
            yield chunk[: len(chunk) // 2]
            _strike(number)
            yield chunk[len(chunk) // 2 :]
        else:
            yield chunk


def _strike(number: signal.Signals) -> None:
    os.kill(os.getpid(), number)
    assert _heard.wait(_PATIENCE), f"nobody took signal {number}"


def install(stage: str, fault: str) -> None:
    """From now on backups in this process meet the fault."""
    from iot_backup.worker import backup
    from iot_backup.worker.cancelling import Cancel

    request = Cancel.request

    def requested(cancel: Cancel) -> bool:
        answer = request(cancel)
        _heard.set()
        return answer

    Cancel.request = requested  # type: ignore[method-assign]
    opened = backup.open_store
    backup.open_store = lambda *given: FaultyStore(opened(*given), stage, fault)  # type: ignore[assignment]
