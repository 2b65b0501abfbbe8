"""The published schema of config/backup.yml is the one of the code, and takes what the code takes."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
import yaml

from iot_backup.standalone.schema import schema
from tests.packaging.rendering import ROOT

PUBLISHED = ROOT / "docs/reference/backup.schema.json"
FILES = ("examples/backup.yml", "config/backup.yml", "tests/unit/standalone/seed-config.yml")


def refusals(config: Any) -> list[str]:
    validator = jsonschema.Draft202012Validator(json.loads(PUBLISHED.read_text()))
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(config)]


def test_it_is_published_as_it_is() -> None:
    assert json.loads(PUBLISHED.read_text()) == schema(), "run: backup-manager config schema > docs/reference/backup.schema.json"
    jsonschema.Draft202012Validator.check_schema(schema())


@pytest.mark.parametrize("name", FILES)
def test_it_takes_every_config_that_we_ship(name: str) -> None:
    assert refusals(yaml.safe_load((ROOT / name).read_text())) == []


def config(**job: Any) -> dict[str, Any]:
    return {"backup": {"storage": {"local": {"path": "/backups"}}, "jobs": [{"id": "db", "source": "/data", **job}]}}


def test_a_reference_may_stand_for_a_number_and_one_storage_for_a_list() -> None:
    assert refusals(config(retention_days="${DAYS:-30}", enabled="${ON}", storage="local")) == []


@pytest.mark.parametrize("job", [{"sorce": "/data"}, {"type": "half"}, {"retention_days": 0}, {"compression": "yes"}, {"storage": []}])
def test_it_refuses_what_the_code_refuses(job: dict[str, Any]) -> None:
    assert refusals(config(**job))


def test_the_example_names_it() -> None:
    first = (ROOT / "examples/backup.yml").read_text().splitlines()[0]
    assert first == "# yaml-language-server: $schema=../docs/reference/backup.schema.json"
