"""`backup-manager config`: what the config file says, and what it may say."""

from __future__ import annotations

import os

import click

from iot_backup.cli.options import Setting, answered, common, said


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
            answered(output.as_json({"errors": [checking.plain(problem) for problem in problems]}))
        for problem in problems:
            said(str(problem))
        return 64
    found = checking.summary(backup, os.environ, setting.machine().state)
    if setting.json:
        answered(output.as_json(found.plain()))
    else:
        answered(output.table(found.HEADINGS, found.rows()))
    for warning in found.warnings:
        said(f"warning: {warning}")
    return 0


@config.command()
def schema() -> None:
    """Print the JSON Schema of the config file, for editors that complete and check it while it is written."""
    from iot_backup.standalone import output
    from iot_backup.standalone.schema import schema as made

    answered(output.as_json(made()))
