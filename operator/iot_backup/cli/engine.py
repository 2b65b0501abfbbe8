"""`backup-manager` without Kubernetes: what is asked for becomes a call into `standalone`, and its answer text."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING

import click

from iot_backup.cli.options import Setting, common

if TYPE_CHECKING:
    from iot_backup.standalone.records import Record

_TYPES = click.Choice(["full", "incremental", "differential"])


@click.command()
@click.argument("job")
@click.option("--type", "asked", type=_TYPES, help="Another type than the config's.")
@common
def execute(setting: Setting, job: str, asked: str | None) -> int:
    """Run JOB of the config now and print its record. Exit code 3: stored, without some files that could not be read."""
    from datetime import UTC, datetime

    from iot_backup.errors import Cancelled
    from iot_backup.standalone import execute as running
    from iot_backup.standalone import progress, records, sites
    from iot_backup.standalone.machine import Machine, remembering
    from iot_backup.worker.cancelling import Cancel, on_signals
    from iot_backup.worker.progress import Progress

    config = setting.config()
    wanted = sites.job(config, job)
    cancel, done, start = Cancel(), Progress(), datetime.now(UTC)

    def give_up() -> None:
        stopped = Cancelled("the run was stopped while it waited for the store; nothing was published. Start it again when you want it.")
        _print_record(setting, records.of_failure(job, asked or wanted.type, stopped, start, datetime.now(UTC)))

    on_signals(cancel, give_up)
    sys.setswitchinterval(0.001)  # as in a worker: the pipeline's threads hand buffers over every few milliseconds
    with remembering(setting.state_dir, os.environ) as (folder, warning):
        if warning:
            click.echo(f"warning: {warning}", err=True)
        machine = Machine(folder, os.environ, setting.trust)
        last = running.expected(config, wanted, machine)
        with progress.shown(done, sys.stderr, expected=last.source_bytes if last else 0):
            record, code = running.attempted(config, wanted, asked, machine, cancel, done)
    _print_record(setting, record)
    return 128 + cancel.signal if record.status == records.CANCELLED else code


def _print_record(setting: Setting, record: Record) -> None:
    from iot_backup.standalone import output

    if record.error:
        click.echo(record.error, err=True)
    for warning in record.warnings if setting.json else ():
        click.echo(f"warning: {warning}", err=True)
    click.echo(output.as_json(record.plain()) if setting.json else output.fields(record.plain()))
    sys.stdout.flush()


@click.group()
def config() -> None:
    """Look at the config file."""


@config.command()
@common
def check(setting: Setting) -> int:
    """Check the config file: everything that is wrong, with file, line and the nearest right name."""
    from iot_backup.standalone import checking, configfile, output

    backup, problems = configfile.examined(setting.config_file, os.environ)
    if backup is None:
        if setting.json:
            click.echo(output.as_json({"errors": [checking.plain(problem) for problem in problems]}))
        for problem in problems:
            click.echo(str(problem), err=True)
        return 64
    found = checking.summary(backup, os.environ)
    if setting.json:
        click.echo(output.as_json(found.plain()))
    else:
        click.echo(output.table(found.HEADINGS, found.rows()))
    for warning in found.warnings:
        click.echo(f"warning: {warning}", err=True)
    return 0


COMMANDS = (execute, config)
