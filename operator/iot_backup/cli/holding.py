"""`backup-manager hold`: what retention must not take."""

from __future__ import annotations

from typing import Any

import click

from iot_backup.cli.options import Setting, common, said

_REASONS = click.Choice(["pinned", "frozen", "last-good", "damaged"])
_OF_PEOPLE = click.Choice(["pinned", "damaged"])


@click.group()
def hold() -> None:
    """Keep backups from retention, see what is kept so, and let it go."""


@hold.command(name="list")
@common
def list_(setting: Setting) -> int:
    """All holds: pins of people, and chains that were frozen because a run found its source suspicious. Ends with 3 where a storage could not be asked."""
    from iot_backup.standalone import holding, output

    found = holding.listed(setting.config(), setting.machine())
    if setting.json:
        click.echo(output.as_json([each.plain() for each in found.lines]))
    else:
        click.echo(output.table(("ID", "REASON", "CHAIN", "STORAGE", "SINCE", "WHY"), [each.row() for each in found.lines]))
    return _told(found.problems)


@hold.command()
@click.argument("backup")
@click.option("--why", default="", help="A sentence for those who will wonder.")
@click.option(
    "--reason", type=_OF_PEOPLE, default="pinned", show_default=True, help="damaged: it counts in no rule, and nothing builds on it."
)
@common
def add(setting: Setting, backup: str, why: str, reason: Any) -> int:
    """Hold BACKUP in every storage that has it: no retention takes it, nor what it builds on. Ends with 3 where a storage could not be asked."""
    from datetime import UTC, datetime

    from iot_backup.standalone import holding, output

    done = holding.added(setting.config(), backup, why, setting.machine(), datetime.now(UTC), reason)
    for made in done.lines:
        click.echo(output.as_json(made.plain()) if setting.json else f"{made.id} is held in storage {', '.join(made.storages)}")
    return _told(done.problems)


@hold.command()
@click.argument("backup")
@click.option("--reason", type=_REASONS, default="pinned", show_default=True, help="Which hold of it.")
@common
def release(setting: Setting, backup: str, reason: str) -> int:
    """Release a hold on BACKUP wherever it lies; `--reason frozen`: let retention go on in its chain. Ends with 3 where a storage could not be asked."""
    from iot_backup.standalone import holding, output

    done = holding.released(setting.config(), backup, reason, setting.machine())
    answer = {"id": backup, "reason": reason, "storages": list(done.storages)}
    click.echo(output.as_json(answer) if setting.json else f"{backup} is no longer {reason} in storage {', '.join(done.storages)}")
    return _told(done.problems)


def _told(problems: tuple[str, ...]) -> int:
    """Say what a person must know; the exit code."""
    from iot_backup.standalone.records import EXIT_PARTIAL

    for line in problems:
        said(line)
    return EXIT_PARTIAL if problems else 0
