"""`backup-manager retention`: the only command that removes backups, and its forecast."""

from __future__ import annotations

import click

from iot_backup.cli.options import Setting, answered, common, said


@click.command()
@click.argument("job", required=False)
@click.option("--simulate", type=click.IntRange(1, 3660), metavar="DAYS", help="Show what the next days would bring; nothing is removed.")
@click.option("--accept-time", is_flag=True, help="The clocks are right, although the last retention was long ago, or is still to come.")
@common
def retention(setting: Setting, job: str | None, simulate: int | None, accept_time: bool) -> int:
    """Remove the backups that no rule keeps, of JOB or of all, and say of each why it stays or goes. Ends with 3 where a person must look at something."""
    from datetime import UTC, datetime

    from iot_backup.standalone import output, sites
    from iot_backup.standalone import retention as retaining

    config, machine = setting.config(), setting.machine()
    wanted = sites.job(config, job) if job else None
    if simulate is not None:
        found = retaining.foretold(config, wanted, machine, datetime.now(UTC), simulate)
        if setting.json:
            answered(output.as_json([day for each in found for day in each.plain()]))
            return 0
        for each in found:
            answered(output.table(("DAY", "THERE", "MADE", "REMOVED"), each.rows()))
        return 0
    outcome = retaining.applied(config, wanted, machine, datetime.now(UTC), accept_time=accept_time)
    for line in (*outcome.notes, *outcome.problems):
        said(line)
    if setting.json:
        answered(output.as_json(outcome.plain()))
    else:
        answered(output.table(("", "ID", "JOB", "CHAIN", "STARTED", "WHY"), outcome.rows()))
    return outcome.exit_code
