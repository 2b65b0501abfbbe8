"""`backup-manager notify`: try the channels, and deliver what waits."""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING

import click

from iot_backup.cli.options import Setting, answered, common, said

if TYPE_CHECKING:
    from iot_backup.core.alerts import Message


@click.group()
def notify() -> None:
    """Tell people: see whether messages reach them."""


@notify.command(name="test")
@common
def test_(setting: Setting) -> int:
    """Send a test message to every channel of backup.notifications, and say what became of it. Exit code 69: not all took it."""
    from datetime import UTC, datetime

    from iot_backup.errors import InvalidSpec, StorageUnavailable
    from iot_backup.standalone import output
    from iot_backup.standalone.notifying import delivering

    found = delivering.tested(setting.config(), datetime.now(UTC))
    if not found:
        raise InvalidSpec(
            "backup.notifications names no channel that is enabled: add email (smtp_server, recipients), slack (webhook_url) or urls"
        )
    answered(output.as_json(found) if setting.json else output.table(("CHANNEL", ""), list(found.items())))
    return 0 if set(found.values()) == {"sent"} else StorageUnavailable.exit_code


@notify.command()
@click.option("--once", is_flag=True, help="Try each channel once, instead of for a minute.")
@click.option("--stdin", is_flag=True, help="Deliver messages from standard input, instead: the state folder had no room for them.")
@common
def deliver(setting: Setting, once: bool, stdin: bool) -> int:
    """Deliver the messages that wait in the state folder. Runs of `execute`, `run` and `verify` start it by themselves."""
    from iot_backup.errors import StorageUnavailable
    from iot_backup.standalone import environment
    from iot_backup.standalone.notifying import delivering

    state, waits = environment.state_folder(setting.state_dir, os.environ), () if once else delivering.WAITS
    if stdin:
        lost = delivering.passed_on(setting.config(), state, _messages(sys.stdin.buffer.read()), waits)
        return StorageUnavailable.exit_code if lost else 0
    left = delivering.delivered(setting.config(), state, waits)
    if left:
        said(f"{left} messages wait for their channels: {state / 'notices' / 'problems.log'} says why")
    return StorageUnavailable.exit_code if left else 0


def _messages(text: bytes) -> list[Message]:
    """InvalidSpec for what is no JSON array of them."""
    from iot_backup.errors import InvalidSpec
    from iot_backup.standalone.notifying import spool

    try:
        return [spool.of_plain(fields) for fields in json.loads(text)]
    except (ValueError, KeyError, TypeError) as error:
        raise InvalidSpec(f"standard input has no messages: {type(error).__name__}: {error}") from error
