"""The words of the command line stand for words that the engine really uses."""

from __future__ import annotations

from pathlib import Path

import pytest

import iot_backup
from iot_backup.standalone.wording import TERMS, spoken

SOURCES = Path(iot_backup.__file__).parent


def text_of(*packages: str) -> str:
    """String literals as they are put together: a sentence may be cut in two."""
    lines = (line.strip() for package in packages for file in (SOURCES / package).rglob("*.py") for line in file.read_text().splitlines())
    return "\n".join(lines).replace('"\nf"', "").replace('"\n"', "")


@pytest.mark.parametrize("theirs", [theirs for theirs, _ in TERMS])
def test_each_term_is_one_of_the_engines(theirs: str) -> None:
    assert theirs in text_of("worker", "repository", "storage", "crypto")


def test_a_longer_term_comes_before_one_that_it_holds() -> None:
    for number, (theirs, _) in enumerate(TERMS):
        assert not [later for later, _ in TERMS[number + 1 :] if theirs in later]


def test_a_message_is_put_into_the_words_of_the_command_line() -> None:
    message = "If it is yours, set spec.encryption.fingerprint of the BackupStorage."
    assert spoken(message) == "If it is yours, say --trust with its fingerprint."


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("if there may be nothing, set allowEmpty: true.", "if there may be nothing, set allow_empty: true."),
        ("accepted, set acceptNewest: true.", "accepted, say --accept-newest to `execute` or `restore`."),
    ],
)
def test_a_field_of_a_resource_is_a_key_of_the_config_or_an_option(theirs: str, ours: str) -> None:
    assert spoken(theirs) == ours
