"""`backup-manager run`, and `verify` where it has a schedule: services that go on until they are told to stop."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click

from iot_backup.cli.options import Setting, common

if TYPE_CHECKING:
    from iot_backup.standalone.records import Record


def _address(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    if text is None:
        return None
    from pydantic import TypeAdapter, ValidationError

    from iot_backup.standalone.config import Listen

    try:
        return str(TypeAdapter(Listen).validate_python(text))
    except ValidationError as error:
        raise click.BadParameter(str(error.errors()[0]["ctx"]["error"])) from error


listen_option = click.option(
    "--listen",
    callback=_address,
    metavar="HOST:PORT",
    help="Where a service serves /metrics and /healthz; '' for nowhere. [default: 127.0.0.1:9090, a verifier 127.0.0.1:9091]",
)


@click.command()
@listen_option
@common
def run(setting: Setting, listen: str | None) -> int:
    """Back up the config's jobs by their schedules, until SIGTERM. SIGHUP: read the config again."""
    from iot_backup.standalone import environment
    from iot_backup.standalone.journal import Journal
    from iot_backup.standalone.metrics import exposition
    from iot_backup.standalone.notifying import noticing
    from iot_backup.standalone.scheduling import retiring, service
    from iot_backup.standalone.scheduling.backups import Backups
    from iot_backup.standalone.scheduling.remembering import Memory

    _tell_more()
    state = environment.state_folder(setting.state_dir, os.environ)
    memory = Memory(state, "scheduler")
    with memory.alone():
        told: list[Callable[[Record], None]] = []
        work = Backups(setting.config_file, state, os.environ, memory, _shared(setting), told)
        told.append(lambda _record: noticing.noticed(work.config, work.file, state, work.zone))
        noticing.again_and_again(lambda: noticing.noticed(work.config, work.file, state, work.zone))
        told.append(lambda record: retiring.retired(work, state, dict(os.environ), _shared(setting), record))
        address = service.listening(listen, work.config.listen, service.BACKUPS)
        service.back_up(work, memory, Journal(state), address, os.environ, exposition)
    return 0


def verify_by(setting: Setting, schedule: str, listen: str | None, options: Sequence[str]) -> int:
    """Verify everything at each slot of the schedule, until SIGTERM. `options`: those of each `verify`. InvalidSpec for a bad schedule."""
    from iot_backup.core.schedule import five_fields
    from iot_backup.standalone import environment
    from iot_backup.standalone.notifying import noticing
    from iot_backup.standalone.scheduling import service
    from iot_backup.standalone.scheduling.remembering import Memory
    from iot_backup.standalone.scheduling.verifications import Verifications

    five_fields(schedule)
    _tell_more()
    state = environment.state_folder(setting.state_dir, os.environ)
    memory = Memory(state, "verifier")
    with memory.alone():
        places = ["--config", str(setting.config_file), "--state-dir", str(state)]
        told: list[Callable[[Mapping[str, Any]], None]] = []
        work = Verifications(setting.config_file, os.environ, memory, schedule, [*places, *_shared(setting), *options], told)
        told.append(lambda outcome: noticing.verified(work.config, work.file, state, outcome))
        noticing.again_and_again(lambda: noticing.noticed(work.config, work.file, state))
        service.verify(work, memory, service.listening(listen, None, service.VERIFIER), os.environ)
    return 0


def _shared(setting: Setting) -> list[str]:
    """Common options that the runs get, too."""
    return [*(["--trust", setting.trust] if setting.trust else []), *(["--verbose"] if setting.verbose else [])]


def _tell_more() -> None:
    """A service says what it does; what runs says it with a record."""
    logging.getLogger("iot_backup").setLevel(min(logging.getLogger().level, logging.INFO))
