"""`backup-manager hold`: what retention must not take."""

from __future__ import annotations

from typing import Any

import click

from iot_backup.cli.options import Setting, common

_REASONS = click.Choice(["pinned", "frozen", "last-good", "damaged"])
_OF_PEOPLE = click.Choice(["pinned", "damaged"])


@click.group()
def hold() -> None:
    """Keep backups from retention, see what is kept so, and let it go."""


@hold.command(name="list")
@common
def list_(setting: Setting) -> int:
    """All holds: pins of people, and chains that were frozen because a run found its source suspicious."""
    from iot_backup.standalone import holding, output

    found = holding.listed(setting.config(), setting.machine())
    if setting.json:
        click.echo(output.as_json([each.plain() for each in found]))
    else:
        click.echo(output.table(("ID", "REASON", "CHAIN", "STORAGE", "SINCE", "WHY"), [each.row() for each in found]))
    return 0


@hold.command()
@click.argument("backup")
@click.option("--why", default="", help="A sentence for those who will wonder.")
@click.option(
    "--reason", type=_OF_PEOPLE, default="pinned", show_default=True, help="damaged: it counts in no rule, and nothing builds on it."
)
@common
def add(setting: Setting, backup: str, why: str, reason: Any) -> int:
    """Hold BACKUP: no retention takes it, nor what it builds on."""
    from datetime import UTC, datetime

    from iot_backup.standalone import holding, output

    made = holding.added(setting.config(), backup, why, setting.machine(), datetime.now(UTC), reason)
    click.echo(output.as_json(made.plain()) if setting.json else f"{made.id} is held in storage {made.storage}")
    return 0


@hold.command()
@click.argument("backup")
@click.option("--reason", type=_REASONS, default="pinned", show_default=True, help="Which hold of it.")
@common
def release(setting: Setting, backup: str, reason: str) -> int:
    """Release a hold on BACKUP; `--reason frozen`: let retention go on in its chain."""
    from iot_backup.standalone import holding, output

    storage = holding.released(setting.config(), backup, reason, setting.machine())
    click.echo(output.as_json({"id": backup, "reason": reason, "storage": storage}) if setting.json else f"{backup} is no longer {reason}")
    return 0
