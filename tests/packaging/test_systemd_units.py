"""The systemd units are ones that systemd takes, and call commands that there are."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from iot_backup.cli import main
from tests.packaging.rendering import ROOT

UNITS = sorted((ROOT / "packaging/systemd").glob("*.service"))


def value(unit: Path, key: str) -> str:
    (found,) = [line.partition("=")[2] for line in unit.read_text().splitlines() if line.startswith(f"{key}=")]
    return found


@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_it_calls_a_command_that_there_is(unit: Path) -> None:
    program, command, *options = shlex.split(value(unit, "ExecStart"))
    known = {name for parameter in main.commands[command].params for name in parameter.opts}
    assert program == "backup-manager"
    assert {option for option in options if option.startswith("--")} <= known
    assert CliRunner().invoke(main, [command, *options, "--help"]).exit_code == 0
    assert (value(unit, "Type"), value(unit, "Restart")) == ("notify", "always")


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here")
@pytest.mark.parametrize("unit", UNITS, ids=lambda unit: unit.name)
def test_systemd_takes_it(unit: Path, tmp_path: Path) -> None:
    here = tmp_path / unit.name
    here.write_text(unit.read_text().replace("ExecStart=backup-manager", f"ExecStart={shutil.which('true')}"))
    answer = subprocess.run(["systemd-analyze", "verify", here], capture_output=True, text=True, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
