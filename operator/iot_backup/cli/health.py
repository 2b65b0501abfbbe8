"""`backup-manager doctor`."""

from __future__ import annotations

from pathlib import Path

import click

from iot_backup.cli.options import Setting, answered, common, identity


@click.command()
@identity
@common
def doctor(setting: Setting, identity_file: Path | None) -> int:
    """Look at everything a backup and a restore need here: folders, keys, storages, clocks, the age of each job's newest backup."""
    from datetime import UTC, datetime

    from iot_backup.standalone import catalogue, output
    from iot_backup.standalone.doctor import examined

    report = examined(setting.config(), setting.machine(), catalogue.Key(identity_file), datetime.now(UTC))
    answered(output.as_json(report.plain()) if setting.json else output.table(report.HEADINGS, report.rows()))
    return report.exit_code
