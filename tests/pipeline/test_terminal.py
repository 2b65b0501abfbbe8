"""On a terminal answers are tables with colour, and a run has a bar; elsewhere they are plain."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.manager import Manager
from tests.pipeline.worker_process import PATIENCE, ROOT

JOB = "historian"
GREEN = "\x1b[32m"


@pytest.fixture
def manager(tmp_path: Path) -> Manager:
    source = tmp_path / "source"
    source.mkdir()
    (source / "reading").write_text("21.5")
    made = Manager(tmp_path, f"{{local: {{path: {tmp_path / 'store'}}}}}", [{"id": JOB, "type": "full", "source": str(source)}])
    made.record(JOB)
    return made


def seen(manager: Manager, *arguments: str, **environ: str) -> str:
    """What a person sees on a terminal."""
    control, terminal = pty.openpty()
    places = ["--config", str(manager.base / "backup.yml"), "--state-dir", str(manager.base / manager.state)]
    wanted = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT / "operator"), "TERM": "xterm-256color", **manager.environ, **environ}
    process = subprocess.Popen(
        [sys.executable, "-m", "iot_backup", *arguments, *places], env=wanted, stdin=subprocess.DEVNULL, stdout=terminal, stderr=terminal
    )
    os.close(terminal)
    text = b""
    try:
        while piece := os.read(control, 65536):
            text += piece
    except OSError:  # the other end is closed
        pass
    os.close(control)
    assert process.wait(PATIENCE) == 0, text
    return text.decode()


def test_a_list_is_a_table_with_colour(manager: Manager) -> None:
    text = seen(manager, "list")
    assert f"{GREEN}completed" in text
    assert "─" in text
    (record,) = manager.run("list", "--output", "json").json
    assert record["id"] in text, "nothing is cut"


def test_no_color_is_obeyed(manager: Manager) -> None:
    text = seen(manager, "list", NO_COLOR="1")
    assert "completed" in text
    assert GREEN not in text


def test_a_dumb_terminal_and_a_pipe_get_plain_text(manager: Manager) -> None:
    for text in (seen(manager, "list", TERM="dumb"), manager.run("list").out):
        assert "\x1b[" not in text
        assert "─" not in text
        assert "completed" in text


def test_a_record_is_in_colour_too(manager: Manager) -> None:
    assert f"{GREEN}completed" in seen(manager, "execute", JOB)
