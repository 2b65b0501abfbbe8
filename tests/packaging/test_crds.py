"""The definitions keep the rules of structural schemas, and read like documentation."""

from __future__ import annotations

import re
from typing import Any

import pytest

from iot_backup import vocabulary
from tests.packaging.schemas import CRDS, KINDS, definitions, every_node, nodes, schema

NODES = every_node()
IDS = [path for path, _ in NODES]
FORBIDDEN = {"$ref", "$defs", "definitions", "const", "title", "discriminator", "oneOf", "allOf", "not", "nullable", "uniqueItems"}


def test_every_file_is_in_the_kustomization_and_defines_one_kind() -> None:
    import yaml

    listed = yaml.safe_load((CRDS / "kustomization.yaml").read_text())["resources"]
    assert sorted(listed) == sorted(path.name for path in CRDS.glob("*.yaml") if path.name != "kustomization.yaml")
    assert set(definitions()) == set(KINDS)


@pytest.mark.parametrize("kind", KINDS)
def test_a_kind_has_the_agreed_names_and_a_status_of_its_own(kind: str) -> None:
    spec = definitions()[kind]["spec"]
    (version,) = spec["versions"]
    short = {"BackupStorage": "ibs", "BackupJob": "ibj", "Backup": "ibk", "RestoreJob": "irj"}[kind]
    assert spec["group"] == vocabulary.GROUP
    assert spec["scope"] == "Namespaced"
    assert spec["names"]["shortNames"] == [short]
    assert spec["names"]["categories"] == [vocabulary.CATEGORY]
    assert (version["name"], version["served"], version["storage"]) == (vocabulary.VERSION, True, True)
    assert version["subresources"] == {"status": {}}


@pytest.mark.parametrize(("path", "node"), NODES, ids=IDS)
def test_every_field_is_described_typed_and_bounded(path: str, node: dict[str, Any]) -> None:
    assert len(node["description"]) >= 5
    assert not FORBIDDEN & set(node)
    if node.get("x-kubernetes-int-or-string"):
        assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}]
    else:
        assert "type" in node
        assert "anyOf" not in node
    if (
        node.get("type") == "string"
        and "enum" not in node
        and "format" not in node
        and path.rpartition(".")[2] not in ("apiVersion", "kind")
    ):
        assert "maxLength" in node
    if node.get("type") == "array":
        assert "maxItems" in node
        assert "x-kubernetes-list-type" in node
    if "additionalProperties" in node:
        assert isinstance(node["additionalProperties"], dict)
        assert "maxProperties" in node


@pytest.mark.parametrize(("path", "node"), [item for item in NODES if ".status" not in item[0] and "default" in item[1]])
def test_a_default_is_told_in_words(path: str, node: dict[str, Any]) -> None:
    default = node["default"]
    if isinstance(default, dict):
        return  # its parts tell theirs
    told = {False: "false", True: "true", "": "Default: none"}.get(default) if isinstance(default, (bool, str)) else None
    text = node["description"]
    assert "efault" in text or "(default)" in text
    assert str(told or default).strip("[]'") in text


@pytest.mark.parametrize(("path", "node"), [item for item in NODES if "x-kubernetes-validations" in item[1]])
def test_every_rule_says_how_to_mend_it_and_why_it_is_refused(path: str, node: dict[str, Any]) -> None:
    for rule in node["x-kubernetes-validations"]:
        assert len(rule["message"].split()) >= 6
        assert re.search(r"\b(use|give|create|remove|write|keep|set|name|for example|its)\b", rule["message"]) or ":" in rule["message"]
        assert rule["reason"] in {"FieldValueInvalid", "FieldValueForbidden", "FieldValueRequired"}


@pytest.mark.parametrize("kind", ["Backup", "RestoreJob"])
def test_immutability_leaves_out_no_field_but_cancel(kind: str) -> None:
    spec = schema(kind)["properties"]["spec"]
    (rule,) = [rule["rule"] for rule in spec["x-kubernetes-validations"] if "oldSelf" in rule["rule"]]
    held = set(re.findall(r"self\.(\w+) == oldSelf\.\1", rule))
    assert held == set(spec["properties"]) - {"cancel"}
    for name, field in spec["properties"].items():
        always_there = name in spec.get("required", []) or "default" in field
        assert always_there or name == "cancel" or f"has(self.{name}) == has(oldSelf.{name})" in rule


def test_what_two_kinds_share_is_the_same_in_both() -> None:
    job, restore = (schema(kind)["properties"]["spec"]["properties"] for kind in ("BackupJob", "RestoreJob"))
    for name in ("worker", "startDeadline", "timeout", "backoffLimit"):
        assert job[name] == restore[name]
    conditions = [dict(nodes(schema(kind)))["status.conditions"] for kind in KINDS]
    for one in conditions:
        one.pop("description")
        one["items"]["properties"]["type"].pop("description")
        assert one == conditions[0]


@pytest.mark.parametrize("kind", KINDS)
def test_every_column_shows_a_field_that_exists(kind: str) -> None:
    (version,) = definitions()[kind]["spec"]["versions"]
    known = dict(nodes(schema(kind)))
    for column in version["additionalPrinterColumns"]:
        path = column["jsonPath"].removeprefix(".")
        if match := re.fullmatch(r"status\.conditions\[\?\(@\.type==\"(\w+)\"\)\]\.(status|reason)", path):
            assert match[1] in known["status.conditions[].type"]["description"]
        elif path != "metadata.creationTimestamp":
            assert column["type"] in (known[path]["type"], known[path].get("format", "").partition("-")[0])
            assert column["description"]
    assert version["additionalPrinterColumns"][-1]["name"] == "Age"
