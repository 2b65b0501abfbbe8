"""What comes from the environment, and what is said where it does not come."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from iot_backup.errors import KeyMissing, SecretMissing
from iot_backup.standalone import environment
from iot_backup.standalone.machine import remembering
from iot_backup.storage import secret_values


def test_secrets_come_from_the_environment_and_from_files_it_names(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("pem")
    (tmp_path / "identity").write_text("AGE-SECRET-KEY-1\n")
    environ = {"AWS_ACCESS_KEY_ID": "id ", "BACKUP_ENCRYPTION_KEY": "caf\udce9", "AWS_CA_BUNDLE": str(tmp_path / "ca.pem")}
    held = environment.secrets(environ, writer=b"w" * 32, identity=tmp_path / "identity")
    assert secret_values.text(held, environment.ACCESS_KEY) == "id"
    assert held.value(environment.PASSPHRASE) == b"caf\xe9"
    assert held.value(environment.CA) == b"pem"
    assert held.value(environment.WRITER) == b"w" * 32
    assert held.value(environment.IDENTITY) == b"AGE-SECRET-KEY-1\n"
    assert "AGE-SECRET" not in repr(held)


@pytest.mark.parametrize("given", [{}, {"AWS_SECRET_ACCESS_KEY": ""}, {"AWS_SECRET_ACCESS_KEY": " \n"}])
def test_a_variable_that_is_missing_is_named(given: dict[str, str]) -> None:
    with pytest.raises(SecretMissing, match="environment variable AWS_SECRET_ACCESS_KEY is not set, or empty"):
        environment.secrets(given).value(environment.SECRET_KEY)


@pytest.mark.parametrize(("environ", "identity"), [({"AWS_CA_BUNDLE": "/nowhere/ca.pem"}, None), ({}, Path("/nowhere/ca.pem"))])
def test_a_file_that_is_named_and_not_there_is_said_so(environ: dict[str, str], identity: Path | None) -> None:
    with pytest.raises(SecretMissing, match=r"names the file /nowhere/ca.pem, which cannot be read: No such file"):
        environment.secrets(environ, identity=identity)


@pytest.mark.parametrize("given", [{}, {"BACKUP_ENCRYPTION_KEY": " "}])
def test_without_a_passphrase_nothing_is_encrypted_to_nobody(given: dict[str, str]) -> None:
    with pytest.raises(KeyMissing, match="job daily encrypts, and BACKUP_ENCRYPTION_KEY is not set"):
        environment.check_passphrase(given, "daily")


@pytest.mark.parametrize(
    ("option", "environ", "user", "expected"),
    [
        ("/a", {"STATE_DIR": "/b"}, 0, "/a"),
        (None, {"STATE_DIR": "/b"}, 0, "/b"),
        (None, {}, 0, "/var/lib/iot-backup"),
        (None, {"HOME": "/srv/x"}, 1000, "/srv/x/.local/state/iot-backup"),
        (None, {"HOME": "/srv/x", "XDG_STATE_HOME": "/s"}, 1000, "/s/iot-backup"),
    ],
)
def test_the_state_folder_is_where_it_was_asked_for_or_where_such_things_belong(
    monkeypatch: pytest.MonkeyPatch, option: str | None, environ: dict[str, str], user: int, expected: str
) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    assert environment.state_folder(Path(option) if option else None, environ) == Path(expected)


def test_where_nothing_can_be_remembered_a_run_says_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    (tmp_path / "file").write_text("")
    with remembering(None, {"XDG_STATE_HOME": str(tmp_path / "file")}) as (folder, warning):
        assert folder.is_dir()
        assert "nothing of this run is remembered" in (warning or "")
    assert not folder.exists()
    with remembering(None, {"XDG_STATE_HOME": str(tmp_path)}) as (folder, warning):
        assert (folder, warning) == (tmp_path / "iot-backup", None)
