"""`backup-manager key`, and what a machine notices because it remembers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from iot_backup.crypto.identity import Identity
from iot_backup.crypto.passphrase import Passphrase
from iot_backup.crypto.sealing import opened
from iot_backup.standalone.state import State
from tests.pipeline.manager import PASSPHRASE, Manager
from tests.pipeline.roundtrip import facts

JOB = "daily"


@pytest.fixture
def manager(tmp_path: Path, plant: Path) -> Manager:
    """With one backup."""
    made = Manager(tmp_path, json.dumps({"local": {"path": str(tmp_path / "store")}}), [{"id": JOB, "source": str(plant)}])
    made.record(JOB)
    return made


def ways(manager: Manager) -> list[str]:
    return list(manager.run("key", "list", "--output", "json").json["ways"])


def test_a_person_gets_a_way_in_of_their_own(manager: Manager, plant: Path, tmp_path: Path) -> None:
    person = Identity.generated()
    (tmp_path / "person").write_text(person.text)
    assert manager.run("key", "add", "--recipient", person.recipient, "--output", "json").json == {"added": "2.recipients"}
    assert ways(manager) == ["1.scrypt", "2.recipients"]
    theirs = ("--identity", str(tmp_path / "person"))
    assert manager.run("restore", JOB, "--target", str(tmp_path / "back"), *theirs, BACKUP_ENCRYPTION_KEY=None).code == 0
    assert facts(tmp_path / "back") == facts(plant)

    only = manager.run("key", "remove", "2.recipients", *theirs)
    assert (only.code, "opens no key file but 2.recipients" in only.err) == (64, True)
    assert manager.run("key", "remove", "1.scrypt", *theirs).code == 0
    assert ways(manager) == ["2.recipients"]
    assert manager.run("key", "remove", "7.scrypt", *theirs).code == 64


def test_a_passphrase_is_rotated_and_the_old_one_is_of_no_use(manager: Manager, tmp_path: Path) -> None:
    rotated = manager.run("key", "rotate", "--output", "json", BACKUP_ENCRYPTION_KEY_NEW="another")
    assert rotated.json == {"added": "2.scrypt", "removed": ["1.scrypt"]}, rotated
    assert manager.record(JOB, code=77)["error"].startswith("WrongKey: ")
    assert manager.run("restore", JOB, "--target", str(tmp_path / "back")).code == 77
    manager.environ["BACKUP_ENCRYPTION_KEY"] = "another"
    assert manager.record(JOB)["status"] == "completed"
    assert manager.run("restore", JOB, "--target", str(tmp_path / "back")).code == 0


def test_an_identity_that_others_know_is_renewed(manager: Manager, plant: Path, tmp_path: Path) -> None:
    first = manager.record(JOB)
    renewed = manager.run("key", "renew", "--output", "json")
    assert renewed.code == 0, renewed
    listed = manager.run("key", "list", "--output", "json").json
    assert listed["fingerprint"] == renewed.json["fingerprint"]
    second = manager.record(JOB)
    assert second["warnings"] == []
    for record in (first, second):
        assert manager.run("restore", record["id"], "--target", str(tmp_path / record["id"])).code == 0
        assert facts(tmp_path / record["id"]) == facts(plant)

    manager.state = "another machine"
    assert "--trust" in manager.record(JOB, code=77)["error"]
    assert manager.record(JOB, "--trust", renewed.json["fingerprint"])["status"] == "completed"


def test_a_fingerprint_of_before_a_renewal_does_not_undo_it(manager: Manager, tmp_path: Path) -> None:
    """As in a unit that has `run --trust` with the first one."""
    old = manager.run("key", "list", "--output", "json").json["fingerprint"]
    new = manager.run("key", "renew", "--output", "json").json["fingerprint"]
    answer = manager.run("execute", JOB, "--trust", old)
    assert (answer.code, "names an earlier identity" in answer.err) == (0, True), answer
    assert manager.run("key", "list", "--output", "json", "--trust", old).json["fingerprint"] == new
    assert manager.run("key", "list", "--output", "json").json["fingerprint"] == new
    newest = max((tmp_path / "store").rglob("*.manifest.json"), key=lambda path: json.loads(path.read_bytes())["seq"])
    assert json.loads(newest.read_bytes())["generation"] == 2


def test_a_passphrase_rotated_out_after_a_renewal_opens_nothing_of_before(manager: Manager, plant: Path, tmp_path: Path) -> None:
    assert manager.run("key", "renew").code == 0
    assert ways(manager) == ["1.scrypt", "1.scrypt@1"]
    rotated = manager.run("key", "rotate", "--output", "json", BACKUP_ENCRYPTION_KEY_NEW="another")
    assert rotated.json == {"added": "2.scrypt", "removed": ["1.scrypt@1", "1.scrypt"]}, rotated
    manager.state = "another machine"
    for command in (("list",), ("key", "list"), ("restore", JOB, "--target", str(tmp_path / "back"))):
        assert manager.run(*command).code == 77, command
    manager.environ["BACKUP_ENCRYPTION_KEY"] = "another"
    assert manager.run("restore", JOB, "--target", str(tmp_path / "back")).code == 0
    assert facts(tmp_path / "back") == facts(plant)


def _identity_of(manager: Manager) -> Identity:
    sealed = next((manager.base / "store").rglob("*-1.scrypt")).read_bytes()
    return Identity.parsed(opened(sealed, Passphrase(PASSPHRASE.encode())).decode())


def test_a_mistyped_passphrase_renews_nothing(manager: Manager, tmp_path: Path) -> None:
    (tmp_path / "identity").write_text(_identity_of(manager).text)
    before = sorted((tmp_path / "store").rglob("*"))
    theirs = ("--identity", str(tmp_path / "identity"))
    answer = manager.run("key", "renew", *theirs, BACKUP_ENCRYPTION_KEY="correct hoarse")
    assert (answer.code, "nothing was renewed" in answer.err) == (77, True), answer
    assert sorted((tmp_path / "store").rglob("*")) == before
    assert manager.run("key", "renew", *theirs).code == 0
    assert manager.record(JOB)["status"] == "completed"


def test_a_persons_own_key_in_their_file_is_told_to_nobody(manager: Manager, tmp_path: Path) -> None:
    own, friend = Identity.generated(), Identity.generated()
    (tmp_path / "ring").write_text(f"{own.text}\n{_identity_of(manager).text}\n")
    added = manager.run("key", "add", "--identity", str(tmp_path / "ring"), "--recipient", friend.recipient, BACKUP_ENCRYPTION_KEY=None)
    assert added.code == 0, added
    sealed = next((tmp_path / "store").rglob("*.recipients")).read_bytes()
    assert own.text.encode() not in opened(sealed, friend)


def test_two_do_not_change_the_keys_at_once(manager: Manager, tmp_path: Path) -> None:
    assert manager.run("key", "add", BACKUP_ENCRYPTION_KEY_NEW="another").code == 0
    (folder,) = (each for each in (tmp_path / "state").iterdir() if each.name.endswith("@local"))
    with State(tmp_path / "state", folder.name).changing_keys():
        for command in (("remove", "2.scrypt"), ("rotate",), ("renew",)):
            answer = manager.run("key", *command, BACKUP_ENCRYPTION_KEY_NEW="a third one")
            assert (answer.code, "another change of this repository's keys" in answer.err) == (75, True), answer
    assert ways(manager) == ["1.scrypt", "2.scrypt"]
    assert manager.run("key", "remove", "2.scrypt").code == 0


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("key", "rotate"), "BACKUP_ENCRYPTION_KEY_NEW is not set"),
        (("key", "add"), "BACKUP_ENCRYPTION_KEY_NEW is not set"),
        (("key", "add", "--recipient", "age1nobody"), "age1nobody"),
        (("key", "admit", "0123456789abcdef"), "did not ask to be admitted"),
        (("key", "list", "--storage", "s3"), "no job encrypts to storage 's3': there are local"),
    ],
)
def test_what_keys_cannot_do_is_said(manager: Manager, arguments: tuple[str, ...], words: str) -> None:
    answer = manager.run(*arguments)
    assert (answer.code in (64, 77), words in answer.err) == (True, True), answer


def _hide_newest(manager: Manager) -> None:
    newest = max((manager.base / "store").rglob("*.manifest.json"), key=lambda path: json.loads(path.read_bytes())["seq"])
    newest.rename(manager.base / "hidden")


def test_a_store_that_shows_less_than_before_is_found_out(manager: Manager, plant: Path, tmp_path: Path) -> None:
    manager.record(JOB)
    _hide_newest(manager)
    told = manager.run("list", "--output", "json")
    assert (told.code, len(told.json), told.err.startswith("RolledBack: the store shows number 1")) == (77, 1, True)
    assert manager.record(JOB, code=77)["error"].startswith("RolledBack: ")
    refused = manager.run("restore", JOB, "--target", str(tmp_path / "back"))
    assert (refused.code, (tmp_path / "back").exists()) == (77, False)
    assert manager.run("restore", JOB, "--target", str(tmp_path / "back"), "--accept-newest").code == 0
    assert facts(tmp_path / "back") == facts(plant)

    assert manager.record(JOB, "--accept-newest")["status"] == "completed"
    assert manager.record(JOB)["status"] == "completed"
    assert manager.run("list").code == 0


def test_another_machine_has_no_memory_of_what_is_hidden(manager: Manager, tmp_path: Path) -> None:
    manager.record(JOB)
    _hide_newest(manager)
    manager.state = "another machine"
    assert manager.run("restore", JOB, "--target", str(tmp_path / "back")).code == 0
