"""`backup-manager execute` and `restore`: what is asked for becomes a call into `standalone`, and its answer text."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iot_backup.cli.options import Setting, accept, answered, bandwidth_limit, common, failed, identity, low_priority, said, storage

if TYPE_CHECKING:
    from iot_backup.standalone.config import Backup
    from iot_backup.standalone.records import Record

_TYPES = click.Choice(["full", "incremental", "differential"])


@click.command()
@click.argument("job")
@click.option("--type", "asked", type=_TYPES, help="Another type than the config's.")
@bandwidth_limit
@low_priority
@accept
@common
def execute(setting: Setting, job: str, asked: str | None, bandwidth_limit: int | None, accept_newest: bool) -> int:
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
            said(f"warning: {warning}")
        machine = Machine(folder, os.environ, setting.trust)
        last = running.expected(config, wanted, machine)
        with progress.shown(done, sys.stderr, expected=last.source_bytes if last else 0):
            wish = running.Wish(asked, accept_newest, bandwidth_limit)
            record, code = running.attempted(config, wanted, wish, machine, cancel, done)
        _print_record(setting, record)
        if not warning:  # else nothing outlives this process
            _tell(config, setting.config_file, folder)
    return 128 + cancel.signal if record.status == records.CANCELLED else code


def _tell(config: Backup, config_file: Path, folder: Path) -> None:
    if config.notifications is not None:
        from iot_backup.standalone.notifying import noticing

        noticing.noticed(config, config_file.resolve(), folder)


def _print_record(setting: Setting, record: Record) -> None:
    from iot_backup.standalone import output

    if record.error:
        said(record.error)
    for warning in record.warnings if setting.json else ():
        said(f"warning: {warning}")
    answered(output.as_json(record.plain()) if setting.json else output.fields(record.plain()))


_CONFLICTS = click.Choice(["overwrite", "keep-newer", "skip-existing", "mirror"])
_PATTERN = "gitignore's syntax, relative to the backed-up folder; can be repeated"


@click.command()
@click.argument("what", metavar="JOB|BACKUP")
@click.option("--target", type=click.Path(path_type=Path), required=True, help="The folder to restore into; made if it is not there.")
@click.option(
    "--at", metavar="TIME", help="The job's newest backup of this moment or before, as 2026-01-31T12:00; local time if no zone is said."
)
@click.option("--include", multiple=True, metavar="GLOB", help=f"Only what matches: {_PATTERN}.")
@click.option("--exclude", multiple=True, metavar="GLOB", help=f"Not what matches: {_PATTERN}.")
@click.option(
    "--on-conflict",
    type=_CONFLICTS,
    default="overwrite",
    show_default=True,
    help="Where a path is there already; only mirror deletes what is not in the backup.",
)
@click.option("--devices", is_flag=True, help="Make device nodes, too; needs root.")
@click.option(
    "--no-verify",
    is_flag=True,
    help="Do not read a whole backup before its restore. Each file is still checked before it takes its place; damage is only found on the way.",
)
@click.option("--plan", is_flag=True, help="Say what a restore would do, and write nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before writing into a folder that is not empty.")
@bandwidth_limit
@low_priority
@accept
@identity
@storage
@common
def restore(setting: Setting, what: str, target: Path, at: str | None, **asked: Any) -> int:
    """Bring a backup back: the newest of a job, or a certain one. A whole one is verified before the first byte is written."""
    from iot_backup.errors import Cancelled
    from iot_backup.standalone import catalogue, output, progress, times
    from iot_backup.standalone import restore as restoring
    from iot_backup.worker.cancelling import Cancel, on_signals
    from iot_backup.worker.progress import Progress

    machine, key, cancel, done = setting.machine(), catalogue.Key(asked["identity_file"]), Cancel(), Progress()
    moment = times.parsed(at) if at else None
    asks = not (asked["plan"] or asked["yes"] or restoring.is_empty(target))
    if not asks:  # a person who is asked may also say Ctrl-C
        on_signals(cancel, lambda: None)
    there, manifest = catalogue.chosen(
        setting.seen_from(asked["storage"]), what, moment, machine, key, accept_newest=asked["accept_newest"]
    )
    wish = restoring.Wish(
        key,
        asked["include"],
        asked["exclude"],
        asked["on_conflict"],
        asked["devices"],
        asked["bandwidth_limit"],
        verify=not asked["no_verify"],
    )
    said(restoring.announced(there, manifest, target))
    if asked["plan"] or asks:
        result = restoring.plan(setting.config(), there, manifest, target, wish, machine, cancel)
        plan = restoring.planned(result, target)
        if asked["plan"]:
            answered(output.as_json(plan) if setting.json else output.fields(plan))
            return restoring.exit_code(result)
        said(output.fields(plan))
        _confirm(f"{target} is not empty. Write into it?", "--yes")
        on_signals(cancel, lambda: None)
    sys.setswitchinterval(0.001)
    try:
        with progress.shown(done, sys.stderr, expected=0 if wish.selective else manifest.counts.source_bytes):
            restored = restoring.restore(setting.config(), there, manifest, target, wish, machine, cancel, done)
    except Cancelled as error:
        failed(setting, error)
        return 128 + cancel.signal
    for warning in restored.warnings:
        said(f"warning: {warning.reason}: {warning.message}")
    answered(output.as_json(restored.plain()) if setting.json else output.fields(restored.plain()))
    return 0


def _confirm(question: str, option: str) -> None:
    """InvalidSpec unless a person says yes."""
    from iot_backup.errors import InvalidSpec

    if sys.stdin is None or not sys.stdin.isatty():
        raise InvalidSpec(f"{question} Nobody can be asked here: say {option} if that is right")
    try:
        confirmed = click.confirm(question, err=True)
    except OSError:
        confirmed = False  # nobody sees the question
    if not confirmed:
        raise InvalidSpec("not confirmed: nothing was written")
