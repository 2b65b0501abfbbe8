"""Every example is complete, decodes, says what it shows, and names only what the others bring."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from iot_backup.api.backup import Backup
from iot_backup.api.backupjob import BackupJob
from iot_backup.api.backupstorage import BackupStorage
from iot_backup.api.resource import Resource
from iot_backup.api.restorejob import RestoreJob
from tests.packaging.manifests import problems
from tests.packaging.rendering import ROOT
from tests.packaging.schemas import Schema, schema

EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))
MODELS: dict[str, type[Resource]] = {model.KIND: model for model in (BackupStorage, BackupJob, Backup, RestoreJob)}
BROUGHT_BY_THE_READER = {("PersistentVolumeClaim", "historian-data"), ("Secret", "minio-ca")}


def objects(path: Path) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(path.read_text()))


EVERY = [body for path in EXAMPLES for body in objects(path)]


def test_there_is_one_for_each_thing_a_newcomer_does() -> None:
    assert {path.stem for path in EXAMPLES} >= {
        "namespace",
        "backup-secrets",
        "backupstorage-s3",
        "backupstorage-volume",
        "backupjob",
        "backupjob-ondemand",
        "backupjob-incremental",
        "backup",
        "restorejob",
        "restorejob-newclaim",
        "restorejob-selective",
        "restorejob-plan",
    }


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_says_what_it_shows_and_is_valid(path: Path) -> None:
    assert path.read_text().startswith("# ")
    for body in objects(path):
        if body["kind"] != "Namespace":
            assert body["metadata"]["namespace"] == "iot-system"
        if body["kind"] in MODELS:
            MODELS[body["kind"]].from_body(body)
            assert _unknown(body["spec"], schema(body["kind"])["properties"]["spec"]) == []
        else:
            assert problems(body) == []


def test_no_two_examples_claim_one_name() -> None:
    names = [(body["kind"], body["metadata"]["name"]) for body in EVERY]
    assert len(set(names)) == len(names)


def test_references_lead_to_another_example_or_to_what_the_reader_brings() -> None:
    known = {(body["kind"], body["metadata"]["name"]) for body in EVERY} | BROUGHT_BY_THE_READER
    keys = {key for body in EVERY if body["kind"] == "Secret" for key in body["stringData"]}
    wanted: set[tuple[str, str]] = set()
    for body in EVERY:
        if body["kind"] in MODELS:
            _references(body["spec"], wanted)
    assert wanted - known == set()
    assert keys == {"aws-access-key-id", "aws-secret-access-key", "encryption-passphrase"}


def test_no_example_holds_a_secret() -> None:
    values = [value for body in EVERY if body["kind"] == "Secret" for value in body["stringData"].values()]
    assert set(values) == {"REPLACE-ME"}


KINDS = {
    "storageRef": "BackupStorage",
    "jobRef": "BackupJob",
    "backupJobRef": "BackupJob",
    "backupRef": "Backup",
    "credentialsSecretRef": "Secret",
    "caBundleSecretRef": "Secret",
    "secretRef": "Secret",
}


def _references(node: dict[str, Any], wanted: set[tuple[str, str]]) -> None:
    for name, value in node.items():
        if name == "claimName":
            wanted.add(("PersistentVolumeClaim", value))
        elif name in KINDS:
            wanted.add((KINDS[name], value["name"]))
        elif isinstance(value, dict):
            _references(value, wanted)


def _unknown(value: Any, node: Schema, path: str = "spec") -> list[str]:
    """Fields of an object that its schema does not name: the server would drop them."""
    if isinstance(value, dict) and "properties" in node:
        missing = [f"{path}.{key}" for key in value if key not in node["properties"]]
        inner = [_unknown(child, node["properties"][key], f"{path}.{key}") for key, child in value.items() if key in node["properties"]]
        return missing + [name for names in inner for name in names]
    if isinstance(value, list):
        return [name for child in value for name in _unknown(child, node["items"], f"{path}[]")]
    return []
