"""`backup-manager` list, show, verify, diff and config: what is there, and whether it is sound. Nothing in a storage is changed."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from iot_backup.cli import running
from iot_backup.cli.options import Setting, answered, common, identity, said, storage


@click.command(name="list")
@click.argument("job", required=False)
@identity
@storage
@common
def list_(setting: Setting, job: str | None, identity_file: Path | None, storage: str | None) -> int:
    """The backups that are stored, of JOB or of all, as the storage itself tells them."""
    from iot_backup.standalone import catalogue, output, records, sites
    from iot_backup.units import format_size

    config = setting.seen_from(storage)
    wanted = sites.job(config, job) if job else None
    found, losses = catalogue.listed(config, wanted, setting.machine(), catalogue.Key(identity_file))
    for loss in losses:
        said(records.spoken(loss))
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
@storage
@common
def show(setting: Setting, backup: str, identity_file: Path | None, storage: str | None) -> int:
    """One BACKUP: its record, what it builds on, and its files. Needs the key."""
    from iot_backup.standalone import catalogue, contents, output, records

    machine, key = setting.machine(), catalogue.Key(identity_file)
    there, manifest = catalogue.chosen(setting.seen_from(storage), backup, None, machine, key)
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
@click.option(
    "--schedule", metavar="CRON", help="Stay, and verify everything at these times; else $VERIFICATION_SCHEDULE, if nothing is named."
)
@running.listen_option
@identity
@storage
@common
def verify(setting: Setting, what: str | None, schedule: str | None, listen: str | None, **asked: Any) -> int:
    """Find out whether what is stored can be restored: one BACKUP, those of a JOB, or all. Exit code 65: not all."""
    if schedule and what:
        from iot_backup.errors import InvalidSpec

        raise InvalidSpec("--schedule verifies everything that is stored: leave JOB or BACKUP out")
    if schedule is None and what is None:
        schedule = os.environ.get("VERIFICATION_SCHEDULE")
    if schedule:
        return running.verify_by(setting, schedule, listen, _options(**asked))
    return _verify(setting, what, **asked)


def _options(level: int, percent: float, scratch: Path | None, identity_file: Path | None, storage: str | None) -> list[str]:
    """The same for a process of its own."""
    options = {"--scratch": scratch, "--identity": identity_file, "--storage": storage}
    given = [word for name, value in options.items() if value is not None for word in (name, str(value))]
    return ["--level", str(level), "--percent", str(percent), *given]


def _verify(
    setting: Setting, what: str | None, level: int, percent: float, scratch: Path | None, identity_file: Path | None, storage: str | None
) -> int:
    from iot_backup.standalone import catalogue, output, verifying
    from iot_backup.worker.cancelling import Cancel, on_signals

    cancel = Cancel()
    on_signals(cancel, lambda: None)
    asked = verifying.Asked(level, percent, catalogue.Key(identity_file), scratch)
    answer = verifying.verified(setting.seen_from(storage), what, asked, setting.machine(), cancel.requested)
    for line in (*answer.problems, *answer.notes):
        said(line)
    answered(
        output.as_json(answer.plain()) if setting.json else output.table(("ID", "CHAIN", "TYPE", "RESULT", "FILES", ""), answer.rows())
    )
    return answer.exit_code


@click.command()
@click.argument("old")
@click.argument("new")
@click.option("--text", is_flag=True, help="Also what changed inside text files; always so for two configuration backups.")
@identity
@storage
@common
def diff(setting: Setting, old: str, new: str, text: bool, identity_file: Path | None, storage: str | None) -> int:
    """What changed from backup OLD to backup NEW: added (+), removed (-) and changed (~) paths. Needs the key."""
    from iot_backup.standalone import catalogue, contents, output, texts
    from iot_backup.standalone.diff import differences

    config, machine, key = setting.seen_from(storage), setting.machine(), catalogue.Key(identity_file)
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
