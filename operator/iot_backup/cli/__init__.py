"""`backup-manager`: parse, wire, map errors to exit codes. Decides nothing; imports each half only when it is asked for.

`--help` and the commands' arguments need click alone; `operator` loads Kubernetes and no store, everything else the reverse.
"""

from __future__ import annotations

from pathlib import Path

import click

from iot_backup import __version__, vocabulary
from iot_backup.cli import configs, health, holding, keys, looks, notifying, retention, running, runs


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="backup-manager")
def main() -> None:
    """Backs up and restores the volumes of IoT platforms: signed, encrypted archives that stock tools can open."""


@main.command()
def operator() -> None:
    """Run the Kubernetes operator. Its settings come from the environment (docs/reference/operator.md)."""
    import os

    from iot_backup.handlers.main import run
    from iot_backup.settings import Settings

    run(Settings.from_mapping(os.environ))


# Nothing is checked here: what is missing, closed or no folder must reach the report, in words.
_folder = click.Path(path_type=Path, readable=False)


@main.command()
@click.argument("operation", type=click.Choice(["backup", "restore", "probe"]))
@click.option("--spec", "spec_file", type=click.Path(path_type=Path), required=True, help="The order, one JSON document.")
@click.option("--spec-sha256", required=True, help="SHA-256 of the order's text; anything else is refused with exit 64.")
@click.option(
    "--report",
    "report_file",
    type=click.Path(path_type=Path),
    default=vocabulary.REPORT_FILE,
    show_default=True,
    help="Where the report goes.",
)
@click.option("--secrets", type=_folder, default=vocabulary.SECRETS, show_default=True, help="Where Secrets are mounted.")
@click.option("--source", type=_folder, default=vocabulary.SOURCE, show_default=True, help="Where the claim to back up is mounted.")
@click.option("--target", type=_folder, default=vocabulary.TARGET, show_default=True, help="Where the claim to restore into is mounted.")
def worker(operation: str, spec_file: Path, spec_sha256: str, report_file: Path, secrets: Path, source: Path, target: Path) -> None:
    """Run one order of the operator in this pod and write the report. Exit codes: docs/reference/exit-codes.md."""
    import os

    from iot_backup.worker.main import Pod, run

    raise SystemExit(run(operation, spec_file, spec_sha256, Pod.of(os.environ, report_file, secrets, source, target)))


for _command in (
    runs.execute,
    running.run,
    runs.restore,
    looks.list_,
    looks.show,
    looks.verify,
    looks.diff,
    configs.config,
    health.doctor,
    retention.retention,
    keys.key,
    holding.hold,
    notifying.notify,
):
    main.add_command(_command)
