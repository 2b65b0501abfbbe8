"""What the commands of the stand-alone engine have in common: their options, and how an error ends them."""

from __future__ import annotations

import functools
import json
import logging
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from iot_backup.errors import Internal, IotBackupError

if TYPE_CHECKING:
    from iot_backup.standalone.config import Backup
    from iot_backup.standalone.machine import Machine

_PATH = click.Path(path_type=Path)
_INTERRUPTED = 130
"""After Ctrl-C, also instead of an answer."""


@dataclass(frozen=True)
class Setting:
    """The common options of one call."""

    config_file: Path
    output: str
    state_dir: Path | None
    trust: str | None
    verbose: bool

    @property
    def json(self) -> bool:
        return self.output == "json"

    def config(self) -> Backup:
        """The checked config file. InvalidSpec."""
        from iot_backup.standalone import configfile

        return configfile.loaded(self.config_file, os.environ)

    def seen_from(self, storage: str | None) -> Backup:
        """The config as one of its storages shows it, or as it is; tells where a copy is known to be behind. InvalidSpec."""
        from iot_backup.standalone import copies

        config = self.config()
        for sentence in copies.lags(config, storage, self.machine()):
            said(f"warning: {sentence}")
        return copies.viewed(config, storage, os.environ)

    def machine(self) -> Machine:
        """For commands that only read: nothing is made."""
        from iot_backup.standalone import environment
        from iot_backup.standalone.machine import Machine

        return Machine(environment.state_folder(self.state_dir, os.environ), os.environ, self.trust)


identity = click.option(
    "--identity",
    "identity_file",
    type=_PATH,
    metavar="FILE",
    help="An age identity that opens the backups, instead of BACKUP_ENCRYPTION_KEY.",
)

storage = click.option("--storage", metavar="NAME", help="Look at the copy in this storage of the config, instead of the primary.")

accept = click.option("--accept-newest", is_flag=True, help="Go on although this machine remembers newer backups than the storage shows.")


def _rate(_context: click.Context, _option: click.Parameter, text: str | None) -> int | None:
    from iot_backup.units import parse_rate

    try:
        return None if text is None else parse_rate(text)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error


def _fingerprint(_context: click.Context, _option: click.Parameter, text: str | None) -> str | None:
    if text is not None and (len(text) != 64 or set(text.lower()) - set("0123456789abcdef")):
        raise click.BadParameter("a fingerprint has 64 hex digits: `backup-manager key list` shows it where the repository is known")
    return text and text.lower()


def _lowered(_context: click.Context, _option: click.Parameter, wanted: bool) -> None:
    """Before the command begins: only threads that are started afterwards are meant."""
    if wanted:
        from iot_backup.standalone import priority

        priority.lower()


bandwidth_limit = click.option(
    "--bandwidth-limit",
    callback=_rate,
    metavar="RATE",
    help="Bytes per second to and from the storage, such as 20M or 10Mi. [default: no limit]",
)

low_priority = click.option(
    "--low-priority", is_flag=True, callback=_lowered, expose_value=False, help="Let other programs have processor and disks first."
)


def common(command: Callable[..., int]) -> Callable[..., NoReturn]:
    """Adds the common options; the command gets them as its first argument, and returns the exit code."""

    @click.option("--config", "config_file", type=_PATH, default="config/backup.yml", show_default=True, help="The config file.")
    @click.option("--output", type=click.Choice(["table", "json"]), default="table", show_default=True, help="For people, or for programs.")
    @click.option(
        "--state-dir",
        type=_PATH,
        help="Where this machine remembers; else $STATE_DIR, else /var/lib/iot-backup or ~/.local/state/iot-backup.",
    )
    @click.option(
        "--trust",
        metavar="FINGERPRINT",
        callback=_fingerprint,
        help="Trust the repository of this fingerprint, if this machine does not know it yet.",
    )
    @click.option("--verbose", is_flag=True, help="Tell on standard error what is done.")
    @functools.wraps(command)
    def wrapped(
        config_file: Path,
        output: str,
        state_dir: Path | None,
        trust: str | None,
        verbose: bool,
        **arguments: Any,
    ) -> NoReturn:
        setting = Setting(config_file, output, state_dir, trust, verbose)
        logging.basicConfig(stream=sys.stderr, level=logging.DEBUG if verbose else logging.WARNING, format="%(levelname)s %(message)s")
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, TextIOWrapper):  # none, where it was closed
                stream.reconfigure(errors="backslashreplace")  # a name that the terminal's encoding lacks
        os.umask(0o007)  # what a local storage holds is for its group, and for nobody else
        code = _ended(setting, lambda: command(setting, **arguments))
        _let_go()
        raise SystemExit(code)

    return wrapped


def _ended(setting: Setting, work: Callable[[], int]) -> int:
    try:
        return work()
    except IotBackupError as error:
        return failed(setting, error)
    except (KeyboardInterrupt, click.Abort):
        return _INTERRUPTED
    except BrokenPipeError:
        # Whoever read our answer has enough of it: standard error raises nothing (`said`); Python would complain once more when it flushes at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:
        logging.getLogger(__name__).debug("defect", exc_info=True)
        return failed(
            setting, Internal(f"{type(error).__name__}: {error}. This is a defect: please report it, with what --verbose prints.")
        )


def failed(setting: Setting, error: IotBackupError) -> int:
    """Tell an error, and give its exit code."""
    from iot_backup.standalone import wording

    told = f"{error.reason}: {wording.spoken(error.message)}"
    said(told)
    if setting.json:
        answered(json.dumps({"error": told}))
    return error.exit_code


def answered(text: str) -> None:
    """Give the answer on standard output, if anybody takes it: what was done, and the exit code that says so, does not hang on it."""
    try:
        click.echo(text)
    except OSError:
        # Python would try again at its end, and end with a code of its own for that.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def said(text: str) -> None:
    """Tell on standard error, if anybody takes it: a reader that is gone or a full disk below a log makes no failure of a backup."""
    with suppress(OSError):
        click.echo(text, err=True)


def _let_go() -> None:
    """Drop what standard error did not take: Python would try again at its end, and end with a code of its own for that."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
