"""A loop as a service: its lock, its signals, its address."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime

from iot_backup.standalone.config import Backup
from iot_backup.standalone.journal import Journal
from iot_backup.standalone.scheduling import metrics, serving, signals
from iot_backup.standalone.scheduling.backups import Backups
from iot_backup.standalone.scheduling.loop import Loop
from iot_backup.standalone.scheduling.remembering import Memory
from iot_backup.standalone.scheduling.systemd import Notifier
from iot_backup.standalone.scheduling.verifications import JOB, Verifications

BACKUPS, VERIFIER = "127.0.0.1:9090", "127.0.0.1:9091"
"""Where they listen if nobody says otherwise."""
Exposition = Callable[[Backup, Journal, datetime], bytes]


def back_up(work: Backups, memory: Memory, journal: Journal, listen: str, environ: Mapping[str, str], further: Exposition | None) -> None:
    """`run`, until it is told to stop; `further`: metrics beside the scheduler's own. The caller holds `memory.alone()`. InvalidSpec, AccessDenied."""
    loop = Loop(work, memory, Notifier(environ))

    def exposition() -> bytes:
        own = metrics.of_schedule(dict(loop.next_slots), dict(loop.running), work.parallel)
        return own + (further(work.config, journal, datetime.now(UTC)) if further else b"")

    _serve(loop, listen, exposition)


def verify(work: Verifications, memory: Memory, listen: str, environ: Mapping[str, str]) -> None:
    """`verify --schedule`, until it is told to stop. The same."""
    loop = Loop(work, memory, Notifier(environ))
    _serve(loop, listen, lambda: metrics.of_verifications(dict(loop.next_slots), dict(loop.running), loop.last.get(JOB)))


def _serve(loop: Loop, listen: str, exposition: Callable[[], bytes]) -> None:
    with ExitStack() as ends:
        ends.enter_context(signals.heard(loop.events.put))
        if listen:
            server = serving.served(listen, lambda: loop.is_alive, exposition)
            ends.callback(server.server_close)
            ends.callback(server.shutdown)
        loop.run()


def listening(option: str | None, configured: str | None, default: str) -> str:
    """The command's word, else the config's, else the default; empty for none."""
    return next(each for each in (option, configured, default) if each is not None)
