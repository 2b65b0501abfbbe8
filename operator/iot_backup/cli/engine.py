"""`backup-manager` without Kubernetes: what is asked for becomes a call into `standalone`, and its answer text."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from iot_backup.cli.options import Setting, accept, common, failed, identity

if TYPE_CHECKING:
    from iot_backup.standalone.records import Record

_TYPES = click.Choice(["full", "incremental", "differential"])


@click.command()
@click.argument("job")
@click.option("--type", "asked", type=_TYPES, help="Another type than the config's.")
@accept
@common
def execute(setting: Setting, job: str, asked: str | None, accept_newest: bool) -> int:
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
            record, code = running.attempted(config, wanted, asked, machine, cancel, done, accept_newest=accept_newest)
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


@click.command(name="list")
@click.argument("job", required=False)
@identity
@common
def list_(setting: Setting, job: str | None, identity_file: Path | None) -> int:
    """The backups that are stored, of JOB or of all, as the storage itself tells them."""
    from iot_backup.standalone import catalogue, output, records, sites
    from iot_backup.units import format_size

    config = setting.config()
    wanted = sites.job(config, job) if job else None
    found, losses = catalogue.listed(config, wanted, setting.machine(), catalogue.Key(identity_file))
    for loss in losses:
        click.echo(records.spoken(loss), err=True)
    code = losses[0].exit_code if losses else 0
    if setting.json:
        click.echo(output.as_json([record.plain() for record in found]))
        return code
    rows = [
        (r.id or "", r.job, r.type, r.status, records.time(r.start_time) or "", format_size(r.size_bytes), str(r.files), r.error or "")
        for r in found
    ]
    click.echo(output.table(("ID", "JOB", "TYPE", "STATUS", "STARTED", "SIZE", "FILES", ""), rows))
    return code


@click.command()
@click.argument("backup")
@identity
@common
def show(setting: Setting, backup: str, identity_file: Path | None) -> int:
    """One BACKUP: its record, what it builds on, and its files. Needs the key."""
    from iot_backup.standalone import catalogue, contents, output, records

    machine, key = setting.machine(), catalogue.Key(identity_file)
    there, manifest = catalogue.chosen(setting.config(), backup, None, machine, key)
    there = catalogue.unsealed(there, machine, key)
    record = records.of_manifest(there.root, manifest)
    chain = [records.of_manifest(there.root, parent) for parent in catalogue.parents(there, manifest)]
    rows = contents.rows(there, manifest)
    if setting.json:
        head = record.plain() | {"chain": [parent.plain() for parent in chain]}
        sys.stdout.writelines(output.with_items(head, "files", map(contents.plain, rows)))
        return 0
    click.echo(output.fields(record.plain()))
    for parent in chain:
        click.echo(f"builds on {parent.id} ({parent.type}, {records.time(parent.start_time)})")
    click.echo()
    for row in rows:
        click.echo(output.clean(contents.line(row)))
    return 0


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
@click.option("--plan", is_flag=True, help="Say what a restore would do, and write nothing.")
@click.option("--yes", is_flag=True, help="Do not ask before writing into a folder that is not empty.")
@accept
@identity
@common
def restore(setting: Setting, what: str, target: Path, at: str | None, **asked: Any) -> int:
    """Bring a backup back: the newest of a job, or a certain one. Everything is verified before the first byte is written."""
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
    there, manifest = catalogue.chosen(setting.config(), what, moment, machine, key, accept_newest=asked["accept_newest"])
    wish = restoring.Wish(key, asked["include"], asked["exclude"], asked["on_conflict"], asked["devices"])
    click.echo(restoring.announced(there, manifest, target), err=True)
    if asked["plan"] or asks:
        plan = restoring.planned(restoring.plan(there, manifest, target, wish, machine, cancel), target)
        if asked["plan"]:
            click.echo(output.as_json(plan) if setting.json else output.fields(plan))
            return 65 if plan["missing"] else 0
        click.echo(output.fields(plan), err=True)
        _confirm(f"{target} is not empty. Write into it?", "--yes")
        on_signals(cancel, lambda: None)
    sys.setswitchinterval(0.001)
    try:
        with progress.shown(done, sys.stderr, expected=0 if wish.selective else manifest.counts.source_bytes):
            restored = restoring.restore(there, manifest, target, wish, machine, cancel, done)
    except Cancelled as error:
        failed(setting, error)
        return 128 + cancel.signal
    for warning in restored.warnings:
        click.echo(f"warning: {warning.reason}: {warning.message}", err=True)
    click.echo(output.as_json(restored.plain()) if setting.json else output.fields(restored.plain()))
    return 0


@click.command()
@click.argument("what", metavar="[JOB|BACKUP]", required=False)
@click.option(
    "--level",
    type=click.IntRange(1, 4),
    default=3,
    show_default=True,
    help="1: metadata; 2: every stored byte; 3: every file; 4: restored into a scratch folder.",
)
@click.option(
    "--percent",
    type=click.FloatRange(0, 100, min_open=True),
    default=100.0,
    show_default=True,
    help="Level 3: this part of the files, chosen at random.",
)
@click.option(
    "--scratch", type=click.Path(path_type=Path, exists=True, file_okay=False), help="Level 4: where to restore into; else $TMPDIR."
)
@identity
@common
def verify(setting: Setting, what: str | None, level: int, percent: float, scratch: Path | None, identity_file: Path | None) -> int:
    """Find out whether what is stored can be restored: one BACKUP, those of a JOB, or all. Exit code 65: not all."""
    from iot_backup.standalone import catalogue, output, verifying
    from iot_backup.worker.cancelling import Cancel, on_signals

    cancel = Cancel()
    on_signals(cancel, lambda: None)
    asked = verifying.Asked(level, percent, catalogue.Key(identity_file), scratch)
    answer = verifying.verified(setting.config(), what, asked, setting.machine(), cancel.requested)
    for problem in answer.problems:
        click.echo(problem, err=True)
    click.echo(
        output.as_json(answer.plain()) if setting.json else output.table(("ID", "CHAIN", "TYPE", "RESULT", "FILES", ""), answer.rows())
    )
    return answer.exit_code


@click.command()
@click.argument("old")
@click.argument("new")
@click.option("--text", is_flag=True, help="Also what changed inside text files; always so for two configuration backups.")
@identity
@common
def diff(setting: Setting, old: str, new: str, text: bool, identity_file: Path | None) -> int:
    """What changed from backup OLD to backup NEW: added (+), removed (-) and changed (~) paths. Needs the key."""
    from iot_backup.standalone import catalogue, contents, output, texts
    from iot_backup.standalone.diff import differences

    config, machine, key = setting.config(), setting.machine(), catalogue.Key(identity_file)
    sides = []
    for name in (old, new):
        there, manifest = catalogue.chosen(config, name, None, machine, key)
        sides.append((catalogue.unsealed(there, machine, key), manifest))
    found = list(differences(*(contents.rows(*side) for side in sides)))
    wants_text = text or all(manifest.type == "Configuration" for _, manifest in sides)
    inside = texts.unified(sides[0], sides[1], found) if wants_text else {}
    if setting.json:
        items = (each.plain() | ({"diff": inside[each.path]} if each.path in inside else {}) for each in found)
        sys.stdout.writelines(output.items(items))
        return 0
    for each in found:
        click.echo(output.clean(each.line()))
    for change in inside.values():
        click.echo()
        for line in change.split("\n")[:-1]:
            click.echo(output.clean(line))
    return 0


def _confirm(question: str, option: str) -> None:
    """InvalidSpec unless a person says yes."""
    from iot_backup.errors import InvalidSpec

    if not sys.stdin.isatty():
        raise InvalidSpec(f"{question} Nobody can be asked here: say {option} if that is right")
    if not click.confirm(question, err=True):
        raise InvalidSpec("not confirmed: nothing was written")


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


COMMANDS = (execute, list_, show, restore, verify, diff, config)
