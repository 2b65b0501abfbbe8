"""docs/backup-manager.md and examples/backup.yml say what the command and its config file have."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from iot_backup.cli import main
from iot_backup.standalone import checking, configfile
from iot_backup.standalone.config import Backup, Job, LocalStorage, S3Storage
from tests.packaging.rendering import ROOT

PAGE = (ROOT / "docs" / "backup-manager.md").read_text()
CLUSTER = {"operator", "worker"}


def commands() -> list[str]:
    found = []
    for name, command in main.commands.items():
        if isinstance(command, click.Group):
            found += [f"{name} {inner}" for inner in command.commands]
        elif name not in CLUSTER:
            found.append(name)
    return found


@pytest.mark.parametrize("command", commands())
def test_every_command_is_described(command: str) -> None:
    first, _, inner = command.partition(" ")
    assert re.search(rf"`{first} [^`]*\b{inner}\b" if inner else rf"`{first}[ `]", PAGE), command


@pytest.mark.parametrize(
    "option", sorted({option for command in main.commands.values() if command.name not in CLUSTER for p in command.params for option in p.opts if option.startswith("--")})
)  # fmt: skip
def test_every_option_is_described_there_or_in_the_help(option: str) -> None:
    helps = {o: p.help for c in main.commands.values() for p in c.params if isinstance(p, click.Option) for o in p.opts}
    assert option in PAGE or helps[option]


@pytest.mark.parametrize("key", [*Job.model_fields, *LocalStorage.model_fields, *S3Storage.model_fields, *Backup.model_fields])
def test_every_key_of_the_config_is_described(key: str) -> None:
    assert re.search(rf"[`.]{key}[`.\[]|`{key}`", PAGE), key


def test_the_readmes_config_is_sound(tmp_path: Path) -> None:
    found = re.search(r"```yaml\n(backup:\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found, "the README shows a config"
    file = tmp_path / "backup.yml"
    file.write_text(found[1])
    config, problems = configfile.examined(file, {})
    assert config is not None, problems
    assert [job.id for job in config.jobs] == ["historian", "historian-daily"], "as its commands call them"
    assert not checking.summary(config, {"BACKUP_ENCRYPTION_KEY": "x"}).warnings


def test_the_example_is_sound() -> None:
    config, problems = configfile.examined(ROOT / "examples" / "backup.yml", {})
    assert config is not None, problems
    assert {job.id: job.chain for job in checking.summary(config, {}).jobs} == {
        "historian": "historian",
        "historian-daily": "historian",
        "site-configuration": "site-configuration",
    }
